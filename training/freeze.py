"""Freeze-D: fine-tune with the discriminator's first layers as they are.

Mo et al. 2020, arXiv:2002.10964: what these layers see, edges and textures, is the same in most
sets of images, and few images do not teach it better.
"""

from __future__ import annotations

import re

from dnnlib.errors import UserError


def trained_variables(trainables, freeze_d):
    """The discriminator's variables without those of its first layers.

    Layers are counted from the image on, as StyleGAN2-ADA does: FromRGB, Conv0, Conv1_down and Skip
    of the full resolution, then those of the next one. An attention layer belongs to the layer that
    it is in. The layers at 4x4 are always trained.

    Args:
      trainables: {name: variable} of D, in the order of its layers within a resolution.
      freeze_d: number of layers.

    Returns:
      {name: variable}.

    Raises:
      UserError: there are fewer layers.
    """
    if not freeze_d:
        return trainables
    layers = {}  # name => resolution
    for name in trainables:
        match = re.match(r"(\d+)x\1/[^/]+", name)
        if match and int(match.group(1)) > 4:
            layers[match.group(0)] = int(match.group(1))
    names = sorted(layers, key=lambda name: -layers[name])
    if freeze_d > len(names):
        raise UserError(
            f"--freeze-d={freeze_d}: the discriminator has {len(names)} layers before 4x4, use at "
            "most that"
        )
    frozen = tuple(f"{name}/" for name in names[:freeze_d])
    return {name: var for name, var in trainables.items() if not name.startswith(frozen)}
