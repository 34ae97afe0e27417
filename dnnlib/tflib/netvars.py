"""Operations on the variables of networks: copying, averaging."""

import tensorflow.compat.v1 as tf

from dnnlib.tflib import light, tfutil


def copy_values(source, target):
    """Copy values between {name: variable} dicts where both have the name."""
    names = [name for name in target if name in source]
    values = tfutil.run([source[name] for name in names])
    tfutil.set_vars({target[name]: value for name, value in zip(names, values)})


def moving_average(net, src_net, beta, beta_nontrainable):
    """Operation behind :meth:`dnnlib.tflib.Network.setup_as_moving_average_of`."""
    updates = []
    with tf.name_scope(net.name + "_MovingAvg"):
        rates = {}  # one tensor for all variables of a kind
        # After other operations, variables have to be read anew.
        read = tf.convert_to_tensor if tf.no_op().control_inputs else light.snapshot
        for name, variable in net.vars.items():
            is_trainable = name in net.trainables
            weight = beta if is_trainable else beta_nontrainable
            if name not in src_net.vars or weight is None:
                continue
            with tf.device(variable.device):
                source = src_net.vars[name]
                if not tfutil.is_tf_expression(weight) and weight == 0:
                    updates.append(variable.assign(source).op)
                    continue
                if is_trainable not in rates:
                    rates[is_trainable] = 1.0 - tf.convert_to_tensor(weight, tf.float32)
                updates.append(_step_towards(variable, source, rates[is_trainable], read))
    return tf.group(*updates)


def _step_towards(variable, source, rate, read):
    """Operation that makes a variable own - (own - source) * rate: a step down this "gradient"."""
    delta = tf.raw_ops.Sub(x=read(variable), y=read(source))
    given = [variable.handle, rate, delta]
    return light.operation("ResourceApplyGradientDescent", given, [], T=delta.dtype)


class NetworkVariables:
    """What a :class:`dnnlib.tflib.Network` does with its variables, after StyleGAN2's interface.

    Attributes:
      own_vars, vars, trainables: {local name: variable}.
      var_global_to_local: {name in the graph: local name}.
    """

    def reset_own_vars(self):
        """Initialize the variables of this network, without its sub-networks."""
        tfutil.run([variable.initializer for variable in self.own_vars.values()])

    def reset_vars(self):
        """Initialize all variables, those of sub-networks too."""
        tfutil.run([variable.initializer for variable in self.vars.values()])

    def reset_trainables(self):
        """Initialize all trainable variables."""
        tfutil.run([variable.initializer for variable in self.trainables.values()])

    def find_var(self, var_or_local_name):
        """The variable with a local name; a variable is returned as it is."""
        if isinstance(var_or_local_name, str):
            return self.vars[var_or_local_name]
        return var_or_local_name

    def get_var_local_name(self, var_or_global_name):
        """The local name of a variable, given itself or its name in the graph."""
        name = getattr(var_or_global_name, "name", var_or_global_name)
        return self.var_global_to_local[name.split(":")[0]]

    def get_var(self, var_or_local_name):
        """Value of a variable as an array."""
        return tfutil.run(self.find_var(var_or_local_name))

    def set_var(self, var_or_local_name, new_value):
        """Give a variable a new value: an array-like, or a tensor to be evaluated."""
        if tfutil.is_tf_expression(new_value):
            new_value = tfutil.run(new_value)
        tfutil.set_vars({self.find_var(var_or_local_name): new_value})

    def copy_own_vars_from(self, src_net):
        """Copy the variables that both networks have themselves, without sub-networks."""
        copy_values(src_net.own_vars, self.own_vars)

    def copy_vars_from(self, src_net):
        """Copy the variables that both networks have, those of sub-networks too."""
        copy_values(src_net.vars, self.vars)

    def copy_trainables_from(self, src_net):
        """Copy the trainable variables that both networks have."""
        copy_values(src_net.trainables, self.trainables)

    def setup_as_moving_average_of(self, src_net, beta=0.99, beta_nontrainable=0.0):
        """Build the operation that moves our variables towards those of another network.

        Every variable that both have becomes ``src + (own - src) * beta``.

        Args:
          src_net: network with the same variables.
          beta: number or scalar tensor for trainable variables.
          beta_nontrainable: the same for the others; 0 copies them, None leaves them alone.

        Returns:
          tf.Operation.
        """
        return moving_average(self, src_net, beta, beta_nontrainable)

    def setup_weight_histograms(self, title=None):
        """Add a histogram summary of every trainable variable; returns the list of summaries."""
        title = title or self.name
        with tf.name_scope(None), tf.device(None), tf.control_dependencies(None):
            return [tf.summary.histogram(f"{title}/{k}", v) for k, v in self.trainables.items()]
