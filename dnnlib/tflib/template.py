"""The template of a network: the graph that makes its variables and says what its outputs are."""

import contextlib
import copy

import tensorflow.compat.v1 as tf

from dnnlib import util
from dnnlib.tflib import builders, tfutil, variables
from dnnlib.tflib.options import check_options, check_required, input_names


class NetworkTemplate:
    """What a :class:`dnnlib.tflib.Network` knows about itself from its template graph.

    The template graph is the network on placeholders. Where another graph makes the variables, it
    is built only when it is asked for: a clone copies its original's variables, and a sub-network
    gets its own from its first use by the network around it.

    Attributes:
      scope: unique variable and name scope in the graph.
      num_inputs, input_names, input_shapes, input_templates: the inputs; axis 0 is the batch.
      num_outputs, output_names, output_shapes, output_templates: the outputs.
      own_vars, vars, trainables: {local name: variable}; ``vars`` and ``trainables`` include those
        of sub-networks, with the sub-network's name in front.
      var_global_to_local: {name in the graph: local name}.
    """

    def _build(self):
        """Make the variables and missing sub-networks: by the template, or later in another's."""
        func = builders.find_builder(self.builder)
        check_options(self.builder, func, self.static_kwargs, is_static=True)
        check_required(self.builder, func, self.static_kwargs)
        self._begin(input_names(func))
        if not is_building_template():
            self._build_template()

    def _begin(self, names):
        """What a network has before anything of it is built."""
        self.input_names, self._bound, self._run_cache = names, {}, {}
        self.input_shapes, self._outputs = None, None
        self._templates, self._calls, self._owner = None, 0, None
        with tf.name_scope(None):
            self.scope = tf.get_default_graph().unique_name(self.name.replace("/", "_"))

    def _build_template(self):
        """Call the builder with placeholders, which makes the variables if they do not exist."""
        names, is_new = tfutil.absolute_name_scope(self.scope), self.input_shapes is None
        with tf.control_dependencies(None), self._variable_scope(), names, _mark_building():
            inputs = [tf.placeholder(tf.float32, name=name) for name in self.input_names]
            self._templates = inputs, self._call_builder(inputs, is_template_graph=True)
        if is_new:
            self._end_building(inputs)

    def _variable_scope(self):
        """Context in which the builder makes the variables, or finds them."""
        is_built = self.input_shapes is not None
        return tfutil.absolute_variable_scope(self.scope, is_built, variables.find_or_create)

    def _end_building(self, inputs):
        """Note what the builder has made of these inputs, once it has been called."""
        self.input_shapes = [_batch_shape(tensor) for tensor in inputs]
        for component in self.components.values():
            if component.input_shapes is None:  # never used by the network around it
                component._build_template()
        self._list_variables()

    def _copy_structure(self, source, name, owner=None):
        """Become another network with variables like ``source``'s, but build nothing yet."""
        self.name, self.builder = name, source.builder
        self.static_kwargs = copy.deepcopy(source.static_kwargs)
        self._begin(source.input_names)
        self._owner, self._outputs = owner, source._outputs
        self.input_shapes = source.input_shapes
        variables.create_like(source.own_vars, self.scope)
        self.components = util.EasyDict()
        for role, component in source.components.items():
            self.components[role] = type(self).__new__(type(self))
            self.components[role]._copy_structure(component, component.name, owner=self)
        self._list_variables()

    def _list_variables(self):
        """Find the variables that the builder has made."""
        self.own_vars = variables.below(self.scope)
        self.vars = dict(self.own_vars)
        for component in self.components.values():
            self.vars.update({f"{component.name}/{k}": v for k, v in component.vars.items()})
        trainable = {variable.name for variable in tf.trainable_variables()}
        self.trainables = {k: v for k, v in self.vars.items() if v.name in trainable}
        self.var_global_to_local = {v.op.name: k for k, v in self.vars.items()}

    def _template_graph(self):
        """Inputs and outputs of the template graph, which is built if it is not there."""
        if self._templates is None:
            self._build_template()
        return self._templates

    def _describe_outputs(self):
        """(name, shape) of each output."""
        if self._outputs is None:
            outputs = self._template_graph()[1]
            self._outputs = [(x.op.name.split("/")[-1], _batch_shape(x)) for x in outputs]
        return self._outputs

    @property
    def input_templates(self):
        """Placeholders of the template graph."""
        return self._template_graph()[0]

    @property
    def output_templates(self):
        """Outputs of the template graph."""
        return self._template_graph()[1]

    @property
    def num_inputs(self):
        """Number of inputs."""
        return len(self.input_names)

    @property
    def num_outputs(self):
        """Number of outputs."""
        return len(self._describe_outputs())

    @property
    def input_shape(self):
        """Shape of the first input."""
        return self.input_shapes[0]

    @property
    def output_names(self):
        """Names of the outputs."""
        return [name for name, _ in self._describe_outputs()]

    @property
    def output_shapes(self):
        """Shapes of the outputs."""
        return [shape for _, shape in self._describe_outputs()]

    @property
    def output_shape(self):
        """Shape of the first output."""
        return self.output_shapes[0]


def is_building_template():
    """Whether a template graph is being built right now."""
    return tfutil.graph_cache().get("nesting", 0) > 0


@contextlib.contextmanager
def _mark_building():
    """Count in the graph how many templates are being built around each other."""
    cache = tfutil.graph_cache()
    cache["nesting"] = cache.get("nesting", 0) + 1
    try:
        yield
    finally:
        cache["nesting"] -= 1


def _batch_shape(tensor):
    """Static shape, [None, ...]; the builder has to say all but the batch axis."""
    if tensor.shape.ndims is None:
        raise ValueError(f"the builder does not set the shape of {tensor.op.name}; use set_shape()")
    shape = tensor.shape.as_list()
    return [None, *shape[1:]] if shape else []
