"""The CUDA launchers through ctypes; what they should compute is in dnnlib/numpy_ops.py.

Needs neither TensorFlow nor a GPU: the tests call the same functions on a build for the CPU.
"""

import ctypes
import re
from pathlib import Path

import numpy as np

SOURCES = Path(__file__).resolve().parent.parent / "dnnlib" / "tflib" / "native" / "src"


def _names(header, array):
    """The names of an enumeration in a header, in its order."""
    text = (SOURCES / header).read_text(encoding="utf-8")
    return re.findall(r'"(\w+)"', re.search(rf"{array}\[\] = {{([^}}]*)}}", text).group(1))


ACTS = _names("bias_act.h", "kActNames")
INTEGRATIONS = _names("attend.h", "kIntegrationNames")
BIAS_BLOCK, ATTEND_BLOCK = 64, 128  # kCudaBiasBlock, kCudaAttendBlock

LONG, INT, FLOAT, POINTER = ctypes.c_int64, ctypes.c_int, ctypes.c_float, ctypes.c_void_p


class Axis(ctypes.Structure):
    """As in upfirdn.h."""

    _fields_ = [(name, LONG) for name in ("in_", "out")] + [
        (name, INT) for name in ("up", "down", "pad", "taps")
    ]


class Upfirdn(ctypes.Structure):
    """As in upfirdn.h."""

    _fields_ = [("samples", LONG), ("channels", LONG), ("y", Axis), ("x", Axis)] + [
        (name, POINTER) for name in ("column", "row", "kernel")
    ]


class BiasAct(ctypes.Structure):
    """As in bias_act.h."""

    _fields_ = [(name, LONG) for name in ("samples", "positions", "channels")] + [
        ("act", INT),
        ("alpha", FLOAT),
        ("gain", FLOAT),
        ("clamp", FLOAT),
    ]


class Attend(ctypes.Structure):
    """As in attend.h."""

    _fields_ = (
        [(name, LONG) for name in ("samples", "positions", "channels")]
        + [(name, INT) for name in ("heads", "head_slots", "integration")]
        + [
            (name, ctypes.c_bool)
            for name in (
                "normalise",
                "shared_keys",
                "shared_logits",
                "flat_logits",
                "shared_values",
            )
        ]
        + [("alpha", FLOAT), ("gain", FLOAT)]
    )


class Kernels:
    """The launchers of a library.

    Args:
      path: of the shared library.
      memory: object with ``put(array, type)``; see HostMemory.
    """

    def __init__(self, path, memory):
        self.memory = memory
        self.library = ctypes.CDLL(str(path))
        for name in ("upfirdn", "bias_act", "bias_act_grad", "attend", "attend_grad"):
            getattr(self.library, f"gansformer_{name}_cuda").restype = ctypes.c_char_p

    def call(self, name, *arguments):
        """Call a launcher on the default stream; RuntimeError with what it says."""
        arguments = [
            ctypes.byref(value) if isinstance(value, ctypes.Structure) else value
            for value in arguments
        ]
        error = getattr(self.library, f"gansformer_{name}_cuda")(POINTER(None), *arguments)
        if error:
            raise RuntimeError(f"{name}: {error.decode()}")

    def upfirdn(self, x, y, kernel, up, down, pad, separable=None):
        """Filter x [N, H, W, C] into y.

        Args:
          x: device array (see ``put``).
          y: likewise.
          kernel: [kh, kw] float32, not flipped; None with ``separable``.
          up: (y, x).
          down: (y, x).
          pad: (y, x), before the first sample.
          separable: (column, row) or None.
        """
        taps = [len(t) for t in separable] if separable else kernel.shape
        axes = [
            Axis(x.shape[i + 1], y.shape[i + 1], up[i], down[i], pad[i], taps[i]) for i in range(2)
        ]
        pointers, kept = [None, None, None], []
        parts = [*(t[::-1] for t in separable)] if separable else [None, None, kernel[::-1, ::-1]]
        for i, part in enumerate(parts):
            if part is not None:
                kept.append(np.ascontiguousarray(part, np.float32))
                pointers[i] = kept[-1].ctypes.data
        params = Upfirdn(x.shape[0], x.shape[3], *axes, *pointers)
        self.call("upfirdn", x.type, x.pointer, y.pointer, params)

    def bias_act(self, params, inputs, y):
        """Inputs: dict of device arrays x, scale, noise, bias, or None."""
        self.call("bias_act", y.type, params, _pointers(inputs, "x scale noise bias"), y.pointer)

    def bias_act_grad(self, params, inputs, dy, y, results, sums):
        """Results: dict of device arrays dx, dnoise, dbias, dscale, or None."""
        found = dict(results, dy=dy, y=y)
        self.call(
            "bias_act_grad",
            dy.type,
            params,
            _pointers(inputs, "x scale noise bias"),
            _pointers(found, "dy y dx dnoise"),
            _pointer(results.get("dbias")),
            _pointer(results.get("dscale")),
            sums.pointer,
        )

    def attend(self, params, inputs, y):
        """Inputs: dict of device arrays; see ATTEND_INPUTS."""
        self.call("attend", y.type, params, _pointers(inputs, ATTEND_INPUTS), y.pointer)

    def attend_grad(self, params, inputs, dy, y, results, rows, sums):
        """Results: dict of device arrays, named as the inputs."""
        order = "x scale keys logits keep values bias noise act_bias"
        self.call(
            "attend_grad",
            dy.type,
            params,
            _pointers(inputs, ATTEND_INPUTS),
            dy.pointer,
            y.pointer,
            _pointers(results, order),
            rows.pointer,
            sums.pointer,
        )


ATTEND_INPUTS = "x scale keys logits keep values bias noise act_bias"


def _pointer(array):
    return None if array is None else array.pointer


def _pointers(arrays, names):
    """A struct of pointers is laid out as an array of them."""
    names = names.split()
    return (POINTER * len(names))(*(_pointer(arrays.get(name)) for name in names))


class HostMemory:
    """Arrays in the CPU's memory, with guards around them."""

    GUARD = 64  # bytes, a multiple of every pack

    def put(self, array, type_=0):
        """Copy an array; ``type_``: 0 float32, 1 float16, 2 bfloat16 (as uint16)."""
        return HostArray(array, type_)


class HostArray:
    """See HostMemory."""

    def __init__(self, array, type_):
        self.shape, self.dtype, self.type = array.shape, array.dtype, type_
        self.nbytes = array.nbytes
        guard = HostMemory.GUARD
        self.bytes = np.full([array.nbytes + 3 * guard], 0xA5, np.uint8)
        start = -self.bytes.ctypes.data % guard + guard
        self.inside = slice(start, start + array.nbytes)
        self.bytes[self.inside] = np.ascontiguousarray(array).view(np.uint8).ravel()
        self.pointer = POINTER(self.bytes.ctypes.data + start)

    def get(self):
        """A copy; AssertionError if somebody wrote beside the array."""
        outside = np.delete(self.bytes, np.arange(self.inside.start, self.inside.stop))
        assert (outside == 0xA5).all(), "written outside of an array"
        return self.bytes[self.inside].view(self.dtype).reshape(self.shape).copy()

    def get_guarded(self):
        """Check the guards alone."""
        self.get()


def to_bfloat16(x):
    """Float32 => the upper halves, rounded, as uint16."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(x):
    """Uint16 => float32."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def to_type(x, type_):
    """An array as the kernels want it."""
    if type_ == 2:
        return to_bfloat16(x)
    return np.asarray(x, [np.float32, np.float16][type_])


def from_type(x, type_):
    """Back to float64."""
    return np.asarray(from_bfloat16(x) if type_ == 2 else x, np.float64)
