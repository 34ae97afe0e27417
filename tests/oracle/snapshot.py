"""Published snapshots: read without running anything, written as the published code writes them."""

import io
import pathlib
import pickle

import numpy as np

from .discriminator import discriminator
from .generator import generator
from .options import published_options
from .variables import Variables

# Stands in for the 40 to 90 kB of source text in a published file. Whoever executes it is caught.
SOURCE = (
    "# \xe9 source text that a reader has to ignore\n"
    "raise AssertionError('the embedded source was executed')\n"
)
ROLES = ("synthesis", "mapping")


class PublishedNetwork:
    """The state of one pickled network, as plain data."""

    def __init__(self, state=None):
        self.state = state

    def __setstate__(self, state):
        self.state = state

    def __getstate__(self):
        return self.state

    @property
    def func_name(self):
        return self.state["build_func_name"]

    @property
    def kwargs(self):
        return self.state["static_kwargs"]

    def variables(self):
        """=> dict(own=..., synthesis=..., mapping=...) of `Variables`."""
        found = {"own": Variables(dict(self.state["variables"]))}
        for role, net in self.state["components"].items():
            found[role] = Variables(dict(net.state["variables"]))
        return found

    def generate(self, z, labels=None, **dynamic):
        return generator(self.func_name, self.kwargs, self.variables(), z, labels, **dynamic)

    def judge(self, images, labels=None):
        return discriminator(self.func_name, self.kwargs, self.variables(), images, labels)


# ------------------------------------------------------------------------------------ files


class _Reader(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("dnnlib.tflib.network", "Network"):
            return PublishedNetwork
        if module.split(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def read(path):
    with pathlib.Path(path).open("rb") as f:
        return _Reader(f, encoding="latin1").load()


# All names that occur in a published file.
GLOBALS = (
    ("dnnlib.tflib.network", "Network"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
)


class _Writer(pickle._Pickler):
    """Names classes as a published file does, whatever they are called here."""

    def save_global(self, obj, name=None):
        module = getattr(obj, "__module__", None) or ""
        name = name or obj.__qualname__
        if obj is PublishedNetwork:
            module, name = "dnnlib.tflib.network", "Network"
        module = module.replace("numpy._core", "numpy.core")  # NumPy 2 moved it
        if (module, name) not in GLOBALS:
            raise pickle.PicklingError(f"{module}.{name} has no place in a snapshot")
        self.save(module)
        self.save(name)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    dispatch = dict(pickle._Pickler.dispatch)
    dispatch[type(lambda: 0)] = save_global
    dispatch[type] = save_global


def write(networks, path):
    """Writes one network or a tuple of networks in the published layout (protocol 4)."""
    buffer = io.BytesIO()
    _Writer(buffer, protocol=4).dump(networks)
    pathlib.Path(path).write_bytes(buffer.getvalue())


# ------------------------------------------------------------------------------ fabrication


def _state(name, func_name, kwargs, variables, components=()):
    values = [
        (key, np.float32(value) if np.ndim(value) == 0 else value)
        for key, value in variables.values.items()
    ]
    return PublishedNetwork(
        dict(
            version=4,
            name=name,
            static_kwargs=dict(kwargs),
            components=dict(components),
            build_module_src=SOURCE,
            build_func_name=func_name,
            variables=values,
        )
    )


def _latent_shape(opt, N):
    return (N, opt.k, opt.z_dim) if opt.is_gansformer else (N, opt.z_dim)


def random_latents(net, N, seed):
    """=> (z, labels) for a generator."""
    opt, rng = published_options(net.func_name, net.kwargs), np.random.RandomState(seed)
    z = rng.randn(*_latent_shape(opt, N)).astype(np.float32)
    return z, random_labels(net, N, seed)


def random_labels(net, N, seed):
    """One-hot [N, c_dim]; c_dim may be 0."""
    opt = published_options(net.func_name, net.kwargs)
    if not opt.c_dim:
        return np.zeros((N, 0), np.float32)
    return np.eye(opt.c_dim, dtype=np.float32)[(np.arange(N) + seed) % opt.c_dim]


def _scale_images(variables, factor):
    for name in list(variables.values):
        head, leaf = name.rsplit("/", 1) if "/" in name else ("", name)
        if head.split("/")[-1].startswith("ToRGB") and leaf in ("weight", "bias"):
            variables.values[name] = variables.values[name] * np.float32(factor)


def make_generator(func_name, kwargs, seed, name="G"):
    """A published generator with random variables whose images have a standard deviation of 1."""
    opt = published_options(func_name, kwargs)
    rng = np.random.RandomState(seed)
    variables = {role: Variables(rng=rng) for role in ("own", *ROLES)}
    z = rng.randn(*_latent_shape(opt, 2)).astype(np.float32)
    labels = np.eye(2, opt.c_dim) if opt.c_dim else None
    dynamic = dict(noise_mode="const", truncation_psi=None)
    result = generator(func_name, kwargs, variables, z, labels, **dynamic)
    _scale_images(variables["synthesis"], 1 / result.images.std())

    passed = {k: v for k, v in kwargs.items() if k not in OUTER_ONLY}
    functions, first = {"mapping": "G_mapping", "synthesis": "G_synthesis"}, {}
    first["mapping"] = {"num_broadcast" if opt.family == "head" else "dlatent_broadcast": opt.L}
    if opt.family == "stylegan2":
        functions["synthesis"] = opt.synthesis_func
        passed = {k: v for k, v in passed.items() if not k.endswith("_func")}
    else:
        passed["attention_dropout"] = 0.0
    components = {
        role: _state(
            f"G_{role}", functions[role], {**first.get(role, {}), **passed}, variables[role]
        )
        for role in ROLES
    }
    return _state(name, func_name, kwargs, variables["own"], components)


# Keywords of the outer generator's own signature, which it does not hand down.
OUTER_ONLY = (
    "truncation_psi",
    "truncation_cutoff",
    "truncation_psi_val",
    "truncation_cutoff_val",
    "w_avg_beta",
    "dlatent_avg_beta",
    "style_mixing",
    "component_mixing",
    "component_dropout",
)


def make_discriminator(func_name, kwargs, seed, name="D"):
    """A published discriminator with random variables."""
    opt = published_options(func_name, kwargs)
    rng = np.random.RandomState(seed)
    variables = {"own": Variables(rng=rng)}
    images = rng.randn(2, opt.num_channels, opt.resolution, opt.resolution)
    discriminator(func_name, kwargs, variables, images, np.eye(2, opt.c_dim))
    return _state(name, func_name, kwargs, variables["own"])
