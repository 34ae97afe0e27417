"""Variables of one published network: looked up in a snapshot, or made while the network runs."""

import numpy as np

# How random values are made, by kind: (standard deviation, offset). Everything that starts at
# zero or one in training is moved away from it, so that no term of a formula can hide.
KINDS = {
    "weight": (1.0, 0.0),
    "bias": (0.3, 0.0),
    "noise": (1.0, 0.0),
    "noise_strength": (0.15, 0.1),
    "average": (0.3, 0.0),
    "st_weights": (0.3, 1.0),
    "zero": (0.0, 0.0),
}


class Variables:
    """The variables of one network by local name.

    With `values` every access is checked (name and shape) and remembered; with `rng` variables are
    made at first use, so that `values` afterwards lists them in the published order of creation.
    """

    def __init__(self, values=None, rng=None):
        self.values = {} if values is None else dict(values)
        self.trainable = {}
        self.rng = rng

    def __call__(self, name, shape, kind="weight", scale=1.0, trainable=True):
        shape = tuple(int(size) for size in shape)
        if name not in self.values:
            if self.rng is None:
                raise KeyError(f"the snapshot has no variable {name} {list(shape)}")
            self.values[name] = self.make(shape, kind, scale)
        value = np.asarray(self.values[name])
        if value.shape != shape:
            raise ValueError(f"{name} is {list(value.shape)}, the formulas want {list(shape)}")
        self.trainable[name] = trainable
        return value.astype(np.float64)

    def make(self, shape, kind, scale):
        if kind == "uniform":
            value = self.rng.uniform(size=shape)
        else:
            std, offset = KINDS[kind]
            value = self.rng.randn(*shape) * std + offset
        return np.asarray(value * scale, np.float32)

    def scope(self, path):
        return Scope(self, path)

    def unused(self):
        """Names in the snapshot that no formula has asked for."""
        return [name for name in self.values if name not in self.trainable]


class Scope:
    """A view of `Variables` under a prefix."""

    def __init__(self, variables, path):
        self.variables, self.path = variables, path

    def __call__(self, name, *args, **kwargs):
        return self.variables(f"{self.path}/{name}", *args, **kwargs)

    def scope(self, path):
        return Scope(self.variables, f"{self.path}/{path}")
