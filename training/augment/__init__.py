"""Augmentation of what the discriminator sees, so that it cannot learn few images by heart.

geometry.py      pixel blitting and geometric transformations
color.py         color transformations
filters.py       the wavelets' filters, and amplification of frequency bands
corruptions.py   additive noise and cutout
diffaugment.py   the cheap form: color, translation, cutout
pipe.py          names of the parts, and all of it as one function of images
controller.py    the probability of each transformation, adapted or fixed

Images are [N, H, W, C] in [-1, 1] inside, everything is differentiable any number of times by the
images, and random numbers come from a :class:`dnnlib.tflib.random.RandomSource`. An image that no
transformation falls on passes to the bit.

Papers: ADA (Karras et al. 2020, arXiv:2006.06676), DiffAugment (Zhao et al. 2020,
arXiv:2006.10738).
"""

from training.augment.controller import adapt, probability
from training.augment.pipe import PIPES, augment

__all__ = ["PIPES", "adapt", "augment", "probability"]
