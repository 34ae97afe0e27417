"""The activations of the networks."""

from collections import namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

Activation = namedtuple("Activation", "fn alpha gain")  # gain: keeps the second moment (He)

# The names are those of kActNames in native/src/bias_act.h.
# fmt: off
ACTIVATIONS = {
    "linear":   Activation(lambda x, alpha: x,                    alpha=0.0, gain=1.0),
    "relu":     Activation(lambda x, alpha: tf.nn.relu(x),        alpha=0.0, gain=np.sqrt(2)),
    "lrelu":    Activation(tf.nn.leaky_relu,                      alpha=0.2, gain=np.sqrt(2)),
    "tanh":     Activation(lambda x, alpha: tf.nn.tanh(x),        alpha=0.0, gain=1.0),
    "sigmoid":  Activation(lambda x, alpha: tf.nn.sigmoid(x),     alpha=0.0, gain=1.0),
    "elu":      Activation(lambda x, alpha: tf.nn.elu(x),         alpha=0.0, gain=1.0),
    "selu":     Activation(lambda x, alpha: tf.nn.selu(x),        alpha=0.0, gain=1.0),
    "softplus": Activation(lambda x, alpha: tf.nn.softplus(x),    alpha=0.0, gain=1.0),
    "swish":    Activation(lambda x, alpha: x * tf.nn.sigmoid(x), alpha=0.0, gain=np.sqrt(2)),
}
# fmt: on
