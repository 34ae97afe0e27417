"""Useful floating-point operations of the networks, counted layer by layer from their variables.

One multiply-add counts as two operations. Counted are convolutions, dense layers and attention (in
its folded form); not FIR filters, biases, activations and normalisations, which are memory traffic.
So the utilisation that the benchmarks print is a lower bound.
"""

import re

MACS_TO_FLOPS = 2


def resolution_of(name):
    """'8x8/Conv0_up/weight' => 8; None for layers without an image."""
    found = re.search(r"(?:^|/)(\d+)x\1/", name)
    return int(found.group(1)) if found else None


def _conv_positions(name, resolution):
    """Positions at which a convolution's kernel is applied once."""
    half = "Conv0_up" in name or "Conv1_down" in name or "Skip" in name
    return (resolution // 2 if half else resolution) ** 2


def forward_flops(network, components_num=0):
    """Operations of one image's way through a network.

    Args:
      network: generator or discriminator (``tflib.Network``).
      components_num: K, latents that the image attends to; 0 without attention.

    Returns:
      Dict layer name => operations of the forward pass for one image.
    """
    flops = {}
    for name, var in network.vars.items():
        shape, resolution = var.shape.as_list(), resolution_of(name)
        if name.endswith("ToRGB/extraLayer/weight"):
            macs = 9 * 3 * shape[2] * resolution**2  # in one with the RGB filters, see layers.py
        elif len(shape) == 4 and name.endswith("/weight") and resolution:
            macs = shape[0] * shape[1] * shape[2] * shape[3] * _conv_positions(name, resolution)
        elif name.endswith("AttLayer_l2n/weight_query"):
            macs = 2 * resolution**2 * shape[0] * components_num  # scores, then weighted values
        elif len(shape) == 2 and "weight" in name and "AttLayer" not in name:
            rows = components_num if "mapping" in name and "global" not in name else 1
            macs = shape[0] * shape[1] * max(rows, 1)
        else:
            continue
        flops[name] = MACS_TO_FLOPS * macs
    return flops


def training_flops(g_flops, d_flops, d_reg_interval):
    """Operations per real image of one training step, R1 spread over its interval.

    G step: G forward and both backward products, D forward and its backward to the images (3 G +
    2 D). D step: G forward, then D forward and backward on fakes and on reals (G + 6 D).
    R1 every ``d_reg_interval`` steps: D forward, its gradient, and the gradient of both (6 D).

    Args:
      g_flops: operations of G's forward pass.
      d_flops: operations of D's forward pass.
      d_reg_interval: D steps per R1 step; 0 = no R1.

    Returns:
      Operations per image.
    """
    reg = 6.0 * d_flops / d_reg_interval if d_reg_interval else 0.0
    return 4.0 * g_flops + 8.0 * d_flops + reg
