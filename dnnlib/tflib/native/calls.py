"""Calls of the native ops: what they can do, and their arguments as TensorFlow wants them."""

from dnnlib.tflib import native
from dnnlib.tflib.compat import TF_VERSION, tf
from dnnlib.tflib.tfutil import shared_tensor

# TensorFlow 1.15 has hardly any operation for bfloat16 besides these.
CUDA_DTYPES = (tf.float32, tf.float16) + ((tf.bfloat16,) if TF_VERSION >= (2, 0) else ())
MAX_TAPS = 24  # kMaxTaps in src/upfirdn.h
MAX_SLOTS, MAX_CHANNELS = 64, 1024  # kCudaMaxSlots, kCudaMaxChannels in src/kernels_cuda.h
CONV_LANES = 16  # kConvLanes in src/winograd.h, kNarrowLanes in src/conv_narrow.h
MAX_NARROW = 7  # output channels of a convolution to few channels
# Of a map, for each form of the 3x3 convolution: for fewer, transforming the filter costs more than
# it saves.
MIN_CONV_POSITIONS = {"same": 256, "down": 256, "up": 64}
INTEGRATIONS = ("add", "mul", "both")


def is_native(x):
    """Whether there are native operations for the type of x: on CPUs for float32 alone."""
    if x.dtype not in CUDA_DTYPES or native.library() is None:
        return False
    return x.dtype == tf.float32 or native.has_cuda()


def can_upfirdn(x, fir):
    """Whether there is a native form of a filter."""
    return max(fir.kernel.shape) <= MAX_TAPS and is_native(x)


def upfirdn(x, fir):
    """[N, H, W, C] through a Fir."""
    factors = fir.separate()
    column, row, kernel = [], [], []
    if factors is None:
        kernel = fir.kernel[::-1, ::-1].ravel().tolist()
    else:
        column, row = (taps[::-1].tolist() for taps in factors)
    return native.library().gansformer_upfirdn(
        x,
        kernel=kernel,
        column=column,
        row=row,
        taps=list(fir.kernel.shape),
        rates=[fir.up_y, fir.up_x, fir.down_y, fir.down_x],
        pads=[*fir.pad_y, *fir.pad_x],
    )


def can_bias_act(x, act, alpha, gain):
    """Whether there is a native form of an activation along the last axis.

    The slope of "lrelu" is found from the sign of the result: it and the gain must not turn it.
    """
    turns = gain <= 0 or (act == "lrelu" and alpha < 0)
    return not turns and is_native(x)


def bias_act(x, b, scale, noise, act, alpha, gain, clamp):
    """See fused_bias_act()."""
    b, scale, noise = map(_beside_map, (b, scale, noise))
    clamp = -1.0 if clamp is None else clamp
    return native.library().gansformer_bias_act(
        x, b, scale, noise, act=act, alpha=alpha, gain=gain, clamp=clamp
    )


def can_attend(x, slots, alpha, gain):
    """Whether there is a native form of the attention; for alpha and gain see can_bias_act()."""
    limits = dict(slots=(slots, MAX_SLOTS), channels=(x.shape.as_list()[2], MAX_CHANNELS))
    return gain > 0 and alpha >= 0 and is_native(x) and native.is_within(limits)


def attend(x, tensors, attrs):
    """See dnnlib.tflib.ops.attend.

    Args:
      x: [N, P, C].
      tensors: dict of scale, keys, logits, keep, values, bias, noise, act_bias; None if absent.
      attrs: dict of heads, integration, normalise, alpha, gain.
    """
    tensors = {name: _beside_map(t) for name, t in tensors.items()}
    return native.library().gansformer_attend(x, **tensors, **attrs)


def _is_on_cpu(x):
    """Whether there are the operations that only CPUs have."""
    return x.dtype == tf.float32 and native.library() is not None and not native.has_cuda()


def can_conv3x3(x, num_out, form="same"):
    """Whether there is a native form of a 3x3 convolution, and it pays: on CPUs."""
    _, height, width, num_in = x.shape.as_list()
    return (
        None not in (height, width)
        and height * width >= MIN_CONV_POSITIONS[form]
        and (form != "down" or height % 2 == width % 2 == 1)
        and num_in % CONV_LANES == 0
        and num_out % CONV_LANES == 0
        and _is_on_cpu(x)
    )


def conv3x3(x, w, scale=None, form="same"):
    """3x3 convolution.

    Args:
      x: [N, H, W, I].
      w: [3, 3, I, O]; "up": [3, 3, O, I].
      scale: [N, I] factors of x, or None.
      form: "same": one zero around the map; "down": stride 2, no zeros, H and W odd; "up": the
        transpose of "down", [N, 2 H + 1, 2 W + 1, O].
    """
    scale = absent(x) if scale is None else scale
    return native.library().gansformer_conv3x3(x, scale, w, form=form, turned=False)


def can_conv_narrow(x, num_out):
    """Whether there is a native form of a 3x3 convolution to few channels: on CPUs."""
    return x.shape.as_list()[3] % CONV_LANES == 0 and num_out <= MAX_NARROW and _is_on_cpu(x)


def conv_narrow(x, w):
    """See dnnlib.tflib.ops.conv_narrow."""
    return native.library().gansformer_conv_narrow(x, w, result="y")


def absent(x=None):
    """What stands for an input that is not there: a map of the type of x, or None for any other."""
    dtype = tf.float32 if x is None else x.dtype
    return shared_tensor(("absent", dtype), lambda: tf.zeros([0], dtype))


def _beside_map(t):
    """An input that is no map: float32, with maps of any type; None: it is not there."""
    return absent() if t is None else tf.cast(t, tf.float32)
