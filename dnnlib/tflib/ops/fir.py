"""Description of an up-FIR-down filter: its output size and its adjoint. No TensorFlow here.

Along one axis, with x upsampled by zero insertion, pad0 zeros before it and f the flipped kernel of
n taps, the output is

    y[o] = sum_i x[i] f[i * up + pad0 - o * down].

The adjoint (the gradient) is of the same form: up and down change places, the kernel is flipped
back, and its pad0 is n - 1 - pad0.
"""

from collections import namedtuple

import numpy as np


class Fir(namedtuple("Fir", "kernel up_y up_x down_y down_x pad_y pad_x")):
    """Filter [kh, kw], rates and (before, after) pads of both axes."""

    def out_size(self, height, width):
        """(H, W) of the output.

        Raises:
          ValueError: nothing is left.
        """
        sizes = []
        for size, up, down, pad, taps in (
            (height, self.up_y, self.down_y, self.pad_y, self.kernel.shape[0]),
            (width, self.up_x, self.down_x, self.pad_x, self.kernel.shape[1]),
        ):
            if up < 1 or down < 1:
                raise ValueError(f"up {up} and down {down} must be at least 1")
            left = size * up + sum(pad) - taps
            if left < 0:
                raise ValueError(f"a filter of {taps} taps is longer than the padded {left + taps}")
            sizes.append(left // down + 1)
        return tuple(sizes)

    def adjoint(self, height, width):
        """The filter that maps a gradient of the output to one of the input [H, W]."""
        out = self.out_size(height, width)
        return Fir(
            self.kernel[::-1, ::-1],
            self.down_y,
            self.down_x,
            self.up_y,
            self.up_x,
            _adjoint_pads(self.kernel.shape[0], height, out[0], self.up_y, self.down_y, self.pad_y),
            _adjoint_pads(self.kernel.shape[1], width, out[1], self.up_x, self.down_x, self.pad_x),
        )

    def separate(self):
        """(column [kh], row [kw]) whose outer product is the kernel, or None."""
        u, s, v = np.linalg.svd(self.kernel.astype(np.float64), full_matrices=False)
        if len(s) > 1 and s[1] > 1e-6 * s[0]:
            return None
        scale = np.sqrt(s[0]) * (np.sign(u[:, 0].sum()) or 1.0)
        return (u[:, 0] * scale).astype(np.float32), (v[0] * scale).astype(np.float32)


def _adjoint_pads(taps, size, out, up, down, pad):
    return taps - 1 - pad[0], size * up - out * down + pad[0] - up + 1
