"""Operations on the variables of networks: listing, copying, averaging."""

import tensorflow.compat.v1 as tf

from dnnlib.tflib import tfutil


def variables_below(scope):
    """Variables of a scope in the order of creation: {name within the scope: variable}."""
    start = scope + "/"
    found = [variable for variable in tf.global_variables() if variable.op.name.startswith(start)]
    return {variable.op.name[len(start) :]: variable for variable in found}


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
                # own - (own - source) * (1 - beta): a step down this "gradient".
                updates.append(
                    tf.raw_ops.ResourceApplyGradientDescent(
                        var=variable.handle, alpha=rates[is_trainable], delta=variable - source
                    )
                )
    return tf.group(*updates)


def forget_all_but(names):
    """Take the variables of a failed build out of the graph's lists, so nobody initializes them."""
    for key in (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES):
        collection = tf.get_collection_ref(key)
        collection[:] = [variable for variable in collection if variable.name in names]
