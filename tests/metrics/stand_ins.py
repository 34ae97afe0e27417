"""Small things that take the place of feature networks, datasets and generators in tests."""

import numpy as np
from tiny_records import write_set

from training.dataset import Dataset


class ColourNetwork:
    """Features that are easy to know: moments of the colours."""

    name = "colours"

    def __init__(self, identity="colours-1"):
        self.identity = identity
        self.num_images = 0

    def extract(self, images, heads):
        self.num_images += len(images)
        x = images.astype("f4") / 255
        features = np.concatenate([x.mean(axis=(2, 3)), x.std(axis=(2, 3))], axis=1)
        probs = np.exp(5 * features)
        known = {"pool": features, "probs": probs / probs.sum(axis=1, keepdims=True)}
        return {head: known[head] for head in heads}

    def apply(self, a, b):
        return np.square(a - b).mean(axis=(1, 2, 3))

    def close(self):
        pass


class ColourFeatures:
    """In place of metrics.features.Features."""

    def __init__(self, network=None):
        self.network = network or ColourNetwork()

    def find(self, role, kind="standard"):
        return self.network, {"manifold": "pool"}.get(role, role), "-colours"

    def require(self, protocol):
        return "-colours"

    def describe(self, protocol):
        return f"{self.network.name}:{self.network.identity}"

    def distance(self, a, b, kind):
        return self.network.apply(a, b)

    def classify(self, images):
        return images.mean(axis=(2, 3))


def random_images(num, size=16, seed=0, low=0, high=256):
    return np.random.RandomState(seed).randint(low, high, [num, 3, size, size]).astype(np.uint8)


def make_dataset(folder, images, labels=None, **options):
    write_set(folder, images, labels=labels)
    return Dataset(folder, **options)
