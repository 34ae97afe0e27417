"""What every algorithm demands of its arrays."""

from __future__ import annotations

import numpy as np


class UnfitError(ValueError):
    """These images have no such figure: too few of them, or values that are not finite."""


def check_features(features, least=2, what="features"):
    """Return ``features`` unchanged if they are [N, D], N large enough, and finite.

    Args:
      features: array.
      least: smallest N that the caller can work with.
      what: name for the message.

    Raises:
      ValueError: it is no [N, D].
      UnfitError: too few, or not finite. NaN would otherwise turn into a plausible number.
    """
    features = np.asarray(features)
    if features.ndim != 2 or features.shape[1] < 1:
        raise ValueError(f"{what} must be [N, D], got {list(features.shape)}")
    if len(features) < least:
        raise UnfitError(f"{what} of {len(features)} images are too few; it takes {least} or more")
    for start in range(0, len(features), 4096):
        finite = np.isfinite(features[start : start + 4096])
        if not finite.all():
            row = start + int(np.argmin(finite.all(axis=1)))
            raise UnfitError(f"{what} of image {row} are not finite; has training diverged?")
    return features


def check_pair(real, fake, least=2):
    """Both sets checked, and of one dimension."""
    real = check_features(real, least, "features of real images")
    fake = check_features(fake, least, "features of generated images")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"real features are [N, {real.shape[1]}], others [N, {fake.shape[1]}]")
    return real, fake
