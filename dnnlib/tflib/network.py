"""A network: a builder, its options, its variables and its sub-networks, as one object."""

import copy

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import util
from dnnlib.errors import UserError
from dnnlib.tflib import builders, describe, running, tfutil, variables
from dnnlib.tflib.netvars import NetworkVariables
from dnnlib.tflib.options import check_options, framework_arguments, merge_options
from dnnlib.tflib.stored_network import OWN_VERSION, match_variables, read_state
from dnnlib.tflib.template import NetworkTemplate, is_building_template


class Network(NetworkTemplate, NetworkVariables):
    """A function of tensors with variables of its own, in the manner of StyleGAN2's ``Network``.

    The constructor builds the *template graph* once, with placeholders as inputs; that creates the
    variables. :meth:`get_output_for` applies the network to any tensors, :meth:`run` to arrays.
    Variables are float32 and live in a scope of their own; their local names are those of the
    published code.

    Args:
      name: the network's name, for instance "G". Need not be unique.
      func_name: a registered builder, for instance "generator", or the name of a published one.
      **static_kwargs: options of the builder. They are saved with the network.

    Attributes:
      name: as given.
      builder, static_kwargs: name of the build function; its options.
      components: EasyDict of sub-networks by role, for instance ``G.components.synthesis``.
      and those of :class:`dnnlib.tflib.template.NetworkTemplate`: inputs, outputs, variables.

    Raises:
      TypeError: an option that the builder does not take, or a missing one.
    """

    def __init__(self, name=None, func_name=None, **static_kwargs):
        self.builder, options = builders.resolve(func_name, static_kwargs)
        self.static_kwargs = util.EasyDict(options)
        self.name = name or self.builder
        self.components = util.EasyDict()
        self._build()
        # A sub-network leaves it to the network that is being built around it.
        if tfutil.gives_values() and _has_session() and not is_building_template():
            self.reset_vars()

    def _call_builder(self, inputs, is_template_graph, **dynamic_kwargs):
        """Build the graph once more; returns the list of outputs."""
        func = builders.find_builder(self.builder)
        options = merge_options(self._bound, self.static_kwargs, dynamic_kwargs)
        framework = framework_arguments(
            func,
            components=self.components,
            is_template_graph=is_template_graph,
            is_training=options.pop("is_training", False),
        )
        self._calls += 1
        try:
            outputs = func(*inputs, **dict(options, **framework))
        finally:
            self._calls -= 1
        return [outputs] if tfutil.is_tf_expression(outputs) else list(outputs)

    def bind(self, **tensors):
        """Give keyword tensors that are used whenever the caller does not give them.

        An outer network uses it for what its sub-networks need when they are run on their own.
        Bound tensors are not saved.
        """
        func = builders.find_builder(self.builder)
        check_options(self.builder, func, tensors)
        self._bound.update(tensors)

    def _let_owner_bind(self):
        """Before a cloned sub-network is used on its own, its owner has to bind tensors to it."""
        owner = self._owner
        if owner is not None and owner._templates is None and not owner._calls:
            owner._template_graph()

    def get_output_for(self, *in_expr, return_as_list=False, **dynamic_kwargs):
        """Apply the network to tensors.

        Args:
          *in_expr: the inputs, in order. Missing ones and None become zeros.
          return_as_list: return a list even if there is only one output.
          **dynamic_kwargs: options of the builder that replace the static ones in this call.

        Returns:
          The output, or a tuple of outputs.
        """
        func = builders.find_builder(self.builder)
        check_options(self.builder, func, dynamic_kwargs)
        self._let_owner_bind()
        given = running.pad_inputs(self, in_expr)
        if self.input_shapes is None and any(x is None for x in given):
            self._build_template()  # which says what is missing
        with self._variable_scope(), tf.name_scope(self.name):
            first = next(tf.convert_to_tensor(x) for x in given if x is not None)
            inputs = []
            for i, (x, name) in enumerate(zip(given, self.input_names)):
                filled = self._zeros(i, tf.shape(first)[0]) if x is None else x
                inputs.append(tf.identity(filled, name=name))
            outputs = self._call_builder(inputs, is_template_graph=False, **dynamic_kwargs)
        if self.input_shapes is None:
            self._end_building(inputs)
        if return_as_list:
            return outputs
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _zeros(self, index, num):
        """Zeros in the place of an input, for that number of samples."""
        return tf.zeros([num, *self.input_shapes[index][1:]])

    def run(
        self,
        *in_arrays,
        input_transform=None,
        output_transform=None,
        return_as_list=False,
        print_progress=False,
        verbose=False,
        batch_size=None,
        minibatch_size=None,
        num_gpus=1,
        assume_frozen=False,
        **dynamic_kwargs,
    ):
        """Apply the network to arrays, batch by batch.

        Args:
          *in_arrays: the inputs, [N, ...] each. Missing ones and None become zeros.
          input_transform: dict(func=..., **options): ``func(*inputs, **options)`` gives the
            network's inputs, as tensors.
          output_transform: the same for the outputs. A function with fewer positional parameters
            without default than there are outputs gets the first ones; the others stay as they are.
          return_as_list: return a list even if there is only one output.
          print_progress: show how far it is.
          verbose: another name of ``print_progress``.
          batch_size: samples at a time; default all.
          minibatch_size: another name of ``batch_size``.
          num_gpus: split each batch over this many GPUs.
          assume_frozen: give each GPU a copy of the variables, made once.
          **dynamic_kwargs: options of the builder that replace the static ones in this call.

        Returns:
          The output array, [N, ...], or a tuple of arrays.
        """
        self._let_owner_bind()
        spec = running.RunSpec(
            input_transform, output_transform, num_gpus, assume_frozen, dynamic_kwargs
        )
        outputs = running.run_batches(
            self, spec, in_arrays, batch_size or minibatch_size, print_progress or verbose
        )
        if return_as_list:
            return outputs
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    # --------------------------------------------------------------------------------- copies

    def clone(self, name=None, **new_static_kwargs):
        """A new network with the same builder, options and values.

        Args:
          name: the clone's name; default the same.
          **new_static_kwargs: options that differ.
        """
        if tfutil.gives_values():
            tfutil.assert_tf_initialized()
        if new_static_kwargs:
            options = merge_options(copy.deepcopy(self.static_kwargs), new_static_kwargs)
            return self.convert(self.builder, name, **options)
        net = Network.__new__(Network)
        net._copy_structure(self, name or self.name)
        if tfutil.gives_values():
            net.copy_vars_from(self)
        return net

    def convert(self, new_func_name=None, new_name=None, **new_static_kwargs):
        """A new network with another builder or other options, and our values where they fit.

        Args:
          new_func_name: builder of the new network; None: ours, with our options.
          new_name: its name; None: ours.
          **new_static_kwargs: options of the other builder.
        """
        tfutil.assert_tf_initialized()
        options = new_static_kwargs if new_func_name else self.static_kwargs
        net = Network(new_name or self.name, new_func_name or self.builder, **options)
        net.copy_vars_from(self)
        return net

    # ------------------------------------------------------------------- describing and saving

    def list_ops(self):
        """The operations of the template graph, those that make variables aside."""
        prefix, made = f"{self.scope}/", {f"{name}/" for name in self.var_global_to_local}
        ops = tf.get_default_graph().get_operations()
        return [
            op
            for op in ops
            if op.name.startswith(prefix)
            and op.name not in self.var_global_to_local
            and not any(op.name.startswith(name) for name in made)
        ]

    def list_layers(self):
        """Layers of the template graph: list of (name, output tensor or None, its variables)."""
        return describe.list_layers(self)

    def print_layers(self, title=None, hide_layers_with_no_params=False):
        """Log a table of the layers with parameter counts and output shapes."""
        for line in describe.layer_table(self, title, hide_layers_with_no_params):
            util.log(line)

    def __getstate__(self):
        values = tfutil.run(self.own_vars)
        return {
            "version": OWN_VERSION,
            "name": self.name,
            "builder": self.builder,
            "static_kwargs": dict(self.static_kwargs),
            "components": dict(self.components),
            "variables": [(name, np.asarray(value)) for name, value in values.items()],
        }

    def __setstate__(self, state):
        # Sub-networks are unpickled before the network that knows what they are, so nothing is
        # built before it is used; see __getattr__.
        self._pending_state = state

    def __getattr__(self, name):
        if name.startswith("__") or "_pending_state" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.restore(read_state(self.__dict__.pop("_pending_state")))
        return getattr(self, name)

    @classmethod
    def from_stored(cls, stored):
        """Build the network that a :class:`published.StoredNetwork` describes, with its values."""
        net = cls.__new__(cls)
        net.restore(stored)
        return net

    def restore(self, stored):
        """Become what a :class:`published.StoredNetwork` describes.

        Raises:
          UserError: the options are not the builder's; or the variables do not fit, with a list of
            all that are missing, unexpected or misshapen.
        """
        if not _has_session():
            tfutil.init_tf()
        self.name, self.builder = stored.name, stored.builder
        self.static_kwargs = util.EasyDict(stored.static_kwargs)
        self.components = util.EasyDict()
        before = {variable.name for variable in tf.global_variables()}
        try:
            self._build()
            values = match_variables(self, stored)
        except BaseException as error:
            variables.forget_all_but(before)
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            # Options that the builder refuses, in whatever way.
            reason = error if isinstance(error, (TypeError, ValueError)) else repr(error)
            text = " ".join(str(reason).split())
            raise UserError(f"network {self.name!r} cannot be built: {text}") from error
        tfutil.set_vars(values)


def _has_session():
    """Whether the default session belongs to the default graph."""
    session = tf.get_default_session()
    return session is not None and session.graph is tf.get_default_graph()
