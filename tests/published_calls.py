"""Calls of published networks in the words of the code that wrote them."""

from types import SimpleNamespace

import numpy as np

# Recorded networks (tests/data/conformance/networks), and what of each record is no output.
NETWORKS = (
    "head__01_gansformer_clevr_r32",
    "head__02_gansformer_ffhq_r32",
    "head__08b_simplex_gates_r32",
    "head__24_kgan_resnet_r64",
    "legacy__03_stylegan2_r32",
    "stylegan2__config_f_r32",
)
INPUTS = {"z", "labels", "take_ws_in", "synthesis_ws_in", "D_images_in", "D_labels_in", "meta"}

HEAD, LEGACY, STYLEGAN2 = "head", "legacy", "stylegan2"

# (constant noise, ask for ws, give ws) as keywords of each code base
_KEYWORDS = {
    HEAD: (dict(noise_mode="const"), "return_ws", "take_ws"),
    LEGACY: (dict(randomize_noise=False), "return_dlatents", "take_dlatents"),
    STYLEGAN2: (dict(randomize_noise=False), "return_dlatents", None),
}


def family(func_name):
    """Which code base a build function belongs to."""
    if func_name in ("Generator", "Discriminator"):
        return HEAD
    return LEGACY if "GAN" in func_name else STYLEGAN2


def run_generator(net, code, z, labels=None, **options):
    """net.run => namespace of images, maps (or None), ws (or None if not asked for).

    Args:
      net: A loaded generator.
      code: HEAD, LEGACY or STYLEGAN2: whose keywords to use.
      z: Latents, or ws with take_ws.
      labels: [N, c_dim] or None.
      options: truncation_psi and the like; want_ws, take_ws; noise_mode "const" (the default)
        or "none".
    """
    noise, return_ws, take_ws = _KEYWORDS[code]
    options = dict(noise, **options)
    want_ws = options.pop("want_ws", False)
    if want_ws:
        options[return_ws] = True
    if options.pop("take_ws", False):
        options[take_ws] = True
    outputs = net.run(z, labels, **options)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    images, ws = outputs.pop(0), outputs.pop() if want_ws else None
    maps = outputs[0] if outputs and np.ndim(outputs[0]) == 6 else None
    return SimpleNamespace(images=images, maps=maps, ws=ws)


def run_discriminator(net, code, images, labels=None, batch_size=None):
    """net.run => scores [N, 1], without the dropout that published aggregators leave on."""
    options = {} if code == STYLEGAN2 else dict(attention_dropout=0.0)
    if batch_size is not None:
        options["batch_size" if code == HEAD else "minibatch_size"] = batch_size
    return net.run(images, labels, **options)
