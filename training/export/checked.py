"""Exports and their check: what a written file gives is compared with what the model gives here."""

import numpy as np

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.snapshot import read_snapshot, to_stored, write_safetensors
from dnnlib.util import log
from training.export import ada_numpy, ada_torch, frozen, onnx_file, torch_file
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


def export_saved_model(stored, path):
    """A generator as a SavedModel."""
    frozen.save_saved_model(stored, path)
    picture = Picture(stored)
    compare(path, IMAGE, frozen.run_saved_model(path, picture.feeds), picture.image)


def export_onnx(stored, path):
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


def export_torch(stored, path):
    """A network of StyleGAN2's family as a state dict for StyleGAN2-ADA PyTorch."""
    if is_generator(stored):
        kind, picture = "Generator", Picture(stored)
        network = _write_torch(picture.net, path)
        z, labels, psi = picture.feeds.values()
        found = ada_numpy.generate(*network, z.reshape(1, -1), labels, psi)
        compare(path, IMAGE, found, picture.image)
    else:
        kind, net = "Discriminator", tflib.Network.from_stored(stored)
        network = _write_torch(net, path)
        shapes = [[4, *shape[1:]] for shape in net.input_shapes]
        noise = [np.random.RandomState(SEED).uniform(-1, 1, shape) for shape in shapes]
        compare(path, "its scores of noise", ada_numpy.score(*network, *noise), net.run(*noise))
    arguments = ", ".join(f"{name}={value!r}" for name, value in network.kwargs.items())
    log(f"It loads into training.networks.{kind}({arguments})")


def _write_torch(net, path):
    """Write the TorchNetwork of a Network; returns it as it was written."""
    network = ada_torch.to_torch(to_stored(net))
    torch_file.write_torch(path, network.tensors)
    return network._replace(tensors=torch_file.read_torch(path))


# fmt: off
EXPORTS = {  # but for safetensors, which holds several networks
    "savedmodel": export_saved_model,
    "onnx":       export_onnx,
    "torch":      export_torch,
}
# fmt: on
