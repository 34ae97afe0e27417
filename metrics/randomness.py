"""Independent random numbers for each purpose."""

from __future__ import annotations

import hashlib

import numpy as np


def random_of(purpose: str) -> np.random.RandomState:
    """A generator of random numbers that depends on this text only."""
    digest = hashlib.sha256(purpose.encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, "<u4"))
