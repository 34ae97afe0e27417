"""Exports and their check: what a written file gives is compared with what the model gives here."""

import numpy as np

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.snapshot import read_snapshot, to_stored, write_safetensors
from dnnlib.util import log
from training.export import (
    ada_numpy,
    ada_torch,
    frozen,
    gansformer_torch,
    onnx_file,
    torch_file,
)
from vis.latents import draw_z
from vis.sampler import Sampler

SEED, PSI = 0, 0.7  # of the picture that is compared
LARGEST_DIFFERENCE = 1e-2  # of images in [-1, 1]; rounding gives 1e-5
IMAGE = f"its image of seed {SEED}"


class Picture:
    """Our picture of one seed, and what goes into it.

    Args:
      stored: StoredNetwork of a generator.

    Attributes:
      net: Network of it.
      image: [1, C, H, W], about [-1, 1].
      feeds: {"z", "labels", "truncation_psi": array}.
    """

    def __init__(self, stored):
        self.net = tflib.Network.from_stored(stored)
        sampler = Sampler(self.net)
        self.image = sampler.images(sampler.ws_of_seeds([SEED], PSI))
        self.feeds = {
            "z": draw_z([SEED], sampler.z_shape),
            "labels": sampler.labels([SEED]),
            "truncation_psi": np.asarray(PSI, np.float32),
        }


def compare(path, what, found, ours):
    """Log how far what a file gives is from ours.

    Raises:
      UserError: further than rounding brings it.
    """
    difference = float(np.abs(found - ours).max())
    log(
        f"{path}: {what} and ours differ by {difference:.1e} at most "
        f"(standard deviation of ours: {ours.std():.2f})"
    )
    if not difference <= LARGEST_DIFFERENCE:
        raise UserError(f"{path}: that is more than rounding explains; do not rely on this file")


def is_generator(stored):
    """Whether a StoredNetwork makes pictures from latents."""
    return {"mapping", "synthesis"} <= set(stored.components)


def export_saved_model(stored, path, _):
    """A generator as a SavedModel."""
    frozen.save_saved_model(stored, path)
    picture = Picture(stored)
    compare(path, IMAGE, frozen.run_saved_model(path, picture.feeds), picture.image)


def export_onnx(stored, path, _):
    """A generator as an ONNX file."""
    onnx_file.save_onnx(stored, path)
    picture = Picture(stored)
    image = onnx_file.run_onnx(path, picture.feeds)
    if image is None:
        log(f"{path}: not compared with our picture, which needs onnxruntime: pip install it")
    else:
        compare(path, IMAGE, image, picture.image)


def export_safetensors(networks, is_single, path):
    """Networks as a safetensors file."""
    write_safetensors(path, networks, is_single)
    again, _ = read_snapshot(path)
    if is_generator(networks[-1]):
        compare(path, IMAGE, Picture(again[-1]).image, Picture(networks[-1]).image)
    else:
        log(f"{path}: holds no generator to make a picture with")


def export_torch(stored, path, networks):
    """A network as a state dict for StyleGAN2-ADA PyTorch, or for GANsformer's PyTorch version.

    Raises:
      UserError: that code has no such network.
    """
    if "start" in stored.static_kwargs:
        raise UserError("PyTorch's code bases know squares only, this network makes rectangles")
    is_gansformer = any(gansformer_torch.is_gansformer(network) for network in networks)
    code = gansformer_torch if is_gansformer else ada_torch
    kind = "Generator" if is_generator(stored) else "Discriminator"
    ours = tflib.Network.from_stored(stored)
    network = (code.generator if is_generator(stored) else code.discriminator)(to_stored(ours))
    torch_file.write_torch(path, network.tensors)
    written = network._replace(tensors=torch_file.read_torch(path))
    if is_generator(stored):
        picture = Picture(stored)
        compare(path, IMAGE, _image_of(written, to_stored(ours), picture, code), picture.image)
    else:
        shapes = [[4, *shape[1:]] for shape in ours.input_shapes]
        noise = [np.random.RandomState(SEED).uniform(-1, 1, shape) for shape in shapes]
        tensors = {name.replace(".biasAct.", "."): x for name, x in written.tensors.items()}
        scores = ada_numpy.score(tensors, network.kwargs, *noise)
        compare(path, "its scores of noise", scores, ours.run(*noise))
    arguments = ", ".join(f"{name}={value!r}" for name, value in network.kwargs.items())
    log(f"It loads into {code.CODE}, training.networks.{kind}({arguments})")


def _image_of(written, stored, picture, code):
    """The image of a generator's state dict.

    StyleGAN2's in NumPy, independently; GANsformer's by our network with the values as they are
    imported.
    """
    if code is gansformer_torch:
        return Picture(gansformer_torch.with_tensors(stored, written.tensors)).image
    z, labels, psi = picture.feeds.values()
    return ada_numpy.generate(*written, z.reshape(1, -1), labels, psi)


# fmt: off
EXPORTS = {  # of a network, a path and all networks of the model; safetensors takes them all
    "savedmodel": export_saved_model,
    "onnx":       export_onnx,
    "torch":      export_torch,
}
# fmt: on
