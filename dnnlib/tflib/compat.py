"""The differences between TensorFlow 1.15 and TensorFlow 2.x, in one place.

The rest of the project says ``import tensorflow.compat.v1 as tf`` and writes graph-mode code that
both understand. This module silences TensorFlow's start-up chatter, which has to happen before the
first import, and switches a current TensorFlow to graph mode.
"""

import contextlib
import os
import sys
import tempfile
import warnings

from dnnlib.errors import UserError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # 2 = errors only; read when TensorFlow loads

# What a current TensorFlow prints while it loads, whatever the log level.
_CHATTER = (b"oneDNN custom operations", b"absl::InitializeLog", b"cpu_feature_guard", b"To enable")


@contextlib.contextmanager
def _without_chatter():
    """Hold back standard error, native code's too, and pass it on without the known chatter."""
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":  # somebody wants to see everything
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not any(words in line for words in _CHATTER):
                    os.write(2, line)


with _without_chatter(), warnings.catch_warnings():
    # TensorFlow 1.15 meets deprecations of NumPy; none concerns the user.
    warnings.simplefilter("ignore", FutureWarning)
    import tensorflow.compat.v1 as tf

TF_VERSION = tuple(int(part) for part in tf.__version__.split(".")[:2])


_configured = False


def configure():
    """Choose graph mode with resource variables. May be called any number of times."""
    global _configured  # noqa: PLW0603 - of the process, as what it stands for
    tf.logging.set_verbosity(tf.logging.ERROR)
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    if not _configured:
        allow_tf32(False)  # "float32" has to mean it
        _create_operations_directly()
    _configured = True


def _create_operations_directly():
    """Take the search for a deprecated argument out of every operation's creation.

    TensorFlow 1.15 inspects the signature of its own function each time: a fifth of the time that
    building a graph takes. The argument has no effect; nothing here passes it.
    """
    if TF_VERSION < (2, 0):
        tf.Graph.create_op = getattr(tf.Graph.create_op, "__wrapped__", tf.Graph.create_op)


def allow_tf32(allowed):
    """Whether GPUs may round the factors of float32 products to 10 bits of mantissa.

    TensorFlow's own default, from 2.4 on, is that they may. Without effect on CPUs.
    """
    if TF_VERSION >= (2, 4):
        tf.config.experimental.enable_tensor_float_32_execution(allowed)


def _has_xla():
    if TF_VERSION >= (2, 0):
        return tf.test.is_built_with_xla()
    return bool(tf.config.experimental.list_physical_devices("XLA_CPU"))


def xla_settings():
    """Settings of a session (see ``init_tf``) in which XLA compiles what it can, on CPUs too.

    Native operations are not known to XLA; they stay between its clusters.

    Raises:
      UserError: this TensorFlow was built without XLA.
    """
    if not _has_xla():
        raise UserError(f"--xla: TensorFlow {tf.__version__} was built without XLA; leave it out")
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "tf_xla_cpu_global_jit" not in flags:  # read once, by the first session
        os.environ["TF_XLA_FLAGS"] = f"{flags} --tf_xla_cpu_global_jit".strip()
    level = tf.OptimizerOptions.ON_1
    return {"graph_options.optimizer_options.global_jit_level": level}


def local_gpu_names():
    """Names of the GPUs that this process sees, ``["/gpu:0", ...]``; empty without a GPU."""
    if TF_VERSION >= (2, 0):
        count = len(tf.config.list_physical_devices("GPU"))
    else:
        count = len(tf.config.experimental.list_physical_devices("GPU"))
    return [f"/gpu:{index}" for index in range(count)]


def all_sum(tensors):
    """Sum tensors that live on different devices and leave the sum on each of them.

    Uses NCCL if each tensor sits on a GPU of its own and this TensorFlow has NCCL; otherwise adds
    on the first device.

    Args:
      tensors: list of tensors of one shape, one for each replica.

    Returns:
      List of as many tensors, all equal to the sum.
    """
    if len(tensors) == 1:
        return list(tensors)
    devices = [tf.DeviceSpec.from_string(tensor.device or "") for tensor in tensors]
    on_gpus = all(device.device_type == "GPU" for device in devices)
    if on_gpus and len({device.device_index for device in devices}) == len(devices):
        try:
            from tensorflow.python.ops import nccl_ops  # noqa: PLC0415 - exists in GPU builds only
        except ImportError:
            pass
        else:
            return nccl_ops.all_sum(tensors)
    with tf.device(tensors[0].device):
        total = tf.add_n(tensors)
    sums = []
    for tensor in tensors:
        with tf.device(tensor.device):
            sums.append(tf.identity(total))
    return sums
