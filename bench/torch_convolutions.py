"""Yardstick: the convolutions of one training step at 256x256 in plain PyTorch, channels last.

Those of the published presets of StyleGAN2 and GANsformer alike: two 3x3 convolutions for each
resolution of G and of D, one of which doubles or halves it. Forward and both backward products.
"""

import time

Convolution = tuple  # (channels in, out, side of the input, "same", "up" or "down")


def convolutions(network, resolution, base, most):
    """Yield the convolutions of "G" or "D".

    Args:
      network: "G" or "D".
      resolution: side of the images.
      base: channels are 2 * base / side, ...
      most: ... and at most this.
    """

    def channels(side):
        return min(2 * base // side, most)

    side = 4
    while side < resolution:
        low, high = channels(side), channels(2 * side)
        if network == "G":
            yield low, high, side, "up"
            yield high, high, 2 * side, "same"
        else:
            yield high, high, 2 * side, "same"
            yield high, low, 2 * side, "down"
        side *= 2


def measure(small, precision):
    """Seconds of the convolutions of one training step, per image; None without PyTorch.

    A step has G's forward pass twice and its backward pass once, D's forward pass three times and
    its backward pass as often, for one of them without the filters: see flops.training_flops.

    Args:
      small: small sizes.
      precision: "float32", "tf32" or "bfloat16".
    """
    try:
        import torch  # noqa: PLC0415 - optional
    except ImportError:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    batch, resolution, base, most = (1, 16, 64, 16) if small else (32, 256, 16384, 512)
    seconds = {}
    for network in "GD":
        total = 0.0
        for convolution in convolutions(network, resolution, base, most):
            total += _seconds(torch, convolution, batch, device, dtype)
        seconds[network] = total / batch
    step = seconds["G"] * 4 / 3 + seconds["D"] * 8 / 3  # of the three products that were timed
    return dict(device=device, batch_size=batch, resolution=resolution, seconds_per_image=step)


def _seconds(torch, convolution, batch, device, dtype):
    """Of one convolution, forward and both backward products: the fastest of some."""
    num_in, num_out, side, form = convolution
    layout = dict(device=device, dtype=dtype)
    x = torch.randn(batch, num_in, side, side, **layout)
    shape = (num_in, num_out) if form == "up" else (num_out, num_in)
    w = torch.randn(*shape, 3, 3, **layout)
    x, w = (t.to(memory_format=torch.channels_last).requires_grad_() for t in (x, w))
    functional, dy = torch.nn.functional, None

    def run():
        nonlocal dy
        if form == "up":
            y = functional.conv_transpose2d(x, w, stride=2)
        elif form == "down":
            y = functional.conv2d(x, w, stride=2, padding=1)
        else:
            y = functional.conv2d(x, w, padding=1)
        dy = torch.randn_like(y) if dy is None else dy
        torch.autograd.grad(y, (x, w), dy)
        if device == "cuda":
            torch.cuda.synchronize()

    run()
    best = float("inf")
    for _ in range(2 if device == "cpu" else 8):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best
