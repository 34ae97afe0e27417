"""PyTorch networks from snapshots, as what they are: layers, with attributes and tensors, by path.

All of it comes from a file and is checked here, when it is read.
"""

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib.snapshot.machine import PickledModule, PickledTensor

MAX_DEPTH = 12  # of layers inside layers
MAX_LAYERS = 10000
DEFAULT_KERNEL = [1, 3, 3, 1]


class Layers:
    """The layers of one network.

    Args:
      network: PickledModule.

    Attributes:
      classes: {path: name of the class}; the network itself has the path "".
      tensors: {path: float32 array}, parameters and buffers alike.

    Raises:
      UserError: it is damaged.
    """

    def __init__(self, network):
        self.classes, self.tensors = {}, {}
        self._states = {}
        self._add(network, "", 0)

    def _add(self, module, path, depth):
        """Take in a layer and what is inside it."""
        is_layer = isinstance(module, PickledModule) and type(module.state) is dict
        if not is_layer or depth > MAX_DEPTH or len(self.classes) > MAX_LAYERS:
            raise UserError(f"a damaged PyTorch network: no layer {path[:100]!r}")
        self.classes[path] = module.class_name
        self._states[path] = module.state
        for kind in ("_parameters", "_buffers"):
            for name, tensor in self._entries(module, kind, PickledTensor, path):
                value = np.asarray(tensor.value)
                if value.dtype != np.float32:
                    value = value.astype(np.float32)
                self.tensors[join(path, name)] = value
        for name, layer in self._entries(module, "_modules", PickledModule, path):
            self._add(layer, join(path, name), depth + 1)

    @staticmethod
    def _entries(module, kind, wanted, path):
        """[(name, object)] of a dict in a layer's state, those that are None left out."""
        entries = module.state.get(kind, {})
        is_dict = type(entries) is dict and all(isinstance(name, str) for name in entries)
        found = [(k, x) for k, x in entries.items() if x is not None] if is_dict else []
        if not is_dict or not all(isinstance(x, wanted) for _, x in found):
            raise UserError(f"a damaged PyTorch network: {kind} of layer {path[:100]!r}")
        return found

    def get(self, path, name, default=None):
        """An attribute of a layer, a plain value; the default if it is not there."""
        value = self._states.get(path, {}).get(name, default)
        value = value.item() if isinstance(value, np.generic) else value
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise UserError(f"a damaged PyTorch network: {name} of layer {path[:100]!r}")
        return value

    def option(self, path, name, default=None):
        """A keyword that a layer was made with."""
        options = self._states.get(path, {}).get("_init_kwargs")
        value = options.get(name, default) if type(options) is dict else default
        return value.item() if isinstance(value, np.generic) else value

    def number(self, path, name):
        """An attribute that is a positive integer or 0.

        Raises:
          UserError: it is none.
        """
        value = self.get(path, name)
        if type(value) is not int or value < 0:
            raise UserError(f"a PyTorch network without {name} in layer {path[:100]!r}")
        return value

    def paths(self, *class_names):
        """Paths of the layers of these classes."""
        return [path for path, name in self.classes.items() if name in class_names]

    def common(self, paths, name, default=None):
        """An attribute that all of these layers share.

        Raises:
          UserError: they differ, which our networks cannot.
        """
        values = {self.get(path, name, default) for path in paths}
        if len(values) > 1:
            found = ", ".join(sorted(str(value) for value in values))
            raise UserError(f"a PyTorch network whose layers differ in {name} ({found[:100]})")
        return values.pop() if values else default

    def shape(self, path):
        """Shape of a tensor; () if there is none."""
        return self.tensors[path].shape if path in self.tensors else ()

    def kernel(self, name):
        """The FIR filter, a list, of all layers that change the resolution.

        Args:
          name: of the buffer, which holds the filter or its outer product, both with the sum 1.
        """
        kernels = set()
        for path in self.classes:
            is_block = self.classes[path] in ("SynthesisBlock", "DiscriminatorBlock")
            resamples = any(self.get(path, way, 1) == 2 for way in ("up", "down"))
            if join(path, name) in self.tensors and (resamples or is_block):
                kernels.add(tuple(_line(self.tensors[join(path, name)])))
        if len(kernels) > 1:
            raise UserError("a PyTorch network with several filters for up- and down-sampling")
        return list(kernels.pop()) if kernels else DEFAULT_KERNEL


def join(path, name):
    """Path of something inside a layer."""
    return f"{path}.{name}" if path else name


def _line(kernel):
    """A filter of one dimension, whose outer product may be given."""
    line = kernel if kernel.ndim == 1 else kernel.sum(axis=1)
    if kernel.ndim == 2 and not np.allclose(np.outer(line, line), kernel, atol=1e-6):
        raise UserError("a PyTorch network with a filter that is no product of two lines")
    if line.shape == (4,) and np.allclose(line * 8, DEFAULT_KERNEL, atol=1e-6):
        return DEFAULT_KERNEL
    return [float(x) for x in line]


def channel_options(channels):
    """The options of our builders that give these channels.

    Args:
      channels: {log2 of a resolution: channels there}.

    Returns:
      dict(channel_base, channel_max): min(floor(channel_base / 2^(r - 1)), channel_max) at r.

    Raises:
      UserError: there are no such options.
    """
    most = max(channels.values())
    base = max(num << (r - 1) for r, num in channels.items())
    if any(min(base >> (r - 1), most) != num for r, num in channels.items()):
        raise UserError(f"a PyTorch network with an unusual series of channels: {channels}")
    return dict(channel_base=base, channel_max=most)


def dense(x):
    """Weight of a dense layer: [O, I] => [I, O]; a bias stays."""
    return x.T


def conv(x):
    """Filters: [O, I, k, k] => [k, k, I, O]."""
    return _with_dims(x, 4).transpose(2, 3, 1, 0)


def flipped_conv(x):
    """Filters of a convolution that up-samples, which turns them around."""
    return conv(x)[::-1, ::-1]


def same(x):
    """The tensor as it is."""
    return x


def offset(x):
    """A bias around 1; ours is around 0."""
    return x - np.float32(1.0)


def with_axes(num):
    """Put axes of size 1 in front."""
    return lambda x: x.reshape((1,) * num + x.shape)


def _with_dims(x, num):
    if x.ndim != num:
        raise UserError(f"a PyTorch network with a filter of shape {list(x.shape)}")
    return x
