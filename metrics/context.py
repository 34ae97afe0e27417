"""What a metric asks for: features of both sides, each computed once for all metrics."""

from __future__ import annotations

import sys

import numpy as np
from tqdm import tqdm

from metrics.features import IMAGE_ROLES
from metrics.frechet_inception_distance import RunningMoments, mean_and_cov
from metrics.randomness import random_of


class Reals:
    """Features and statistics of the images to compare with; what was computed once is kept.

    Args:
      images: DatasetImages or FolderImages.
      cache: ArrayCache.
      batch_size: images at a time through the feature network.
    """

    def __init__(self, images, cache, batch_size=32):
        self.images, self._cache, self._batch_size = images, cache, batch_size
        self._kept = {}  # what this process has computed or loaded
        self._wanted = set()  # features that some metric needs as such, not only their moments

    def count(self, num):
        """How many images a protocol gets that asks for ``num`` (None: all)."""
        return self.images.num_images if num is None else min(num, self.images.num_images)

    def want(self, network, head, num):
        """Say beforehand that the features themselves are going to be needed."""
        self._wanted.add((network.identity, head, self.count(num)))

    def features(self, network, head, num):
        """[N, D] float32."""
        num = self.count(num)

        def compute():
            parts = list(self._extract(network, head, num))
            return {"features": np.concatenate(parts)}

        return self._find("features", network, head, num, compute)["features"]

    def moments(self, network, head, num):
        """Mean [D] and covariance [D, D]."""
        num = self.count(num)

        def compute():
            if (network.identity, head, num) in self._wanted:
                mean, cov = mean_and_cov(self.features(network, head, num))
            else:
                moments = RunningMoments()
                for features in self._extract(network, head, num):
                    moments.add(features)
                mean, cov = moments.result()
            return {"mean": mean, "cov": cov}

        found = self._find("moments", network, head, num, compute)
        return found["mean"], found["cov"]

    def _find(self, what, network, head, num, compute):
        """Arrays from memory, from the cache, or computed."""
        key = {"what": what, "network": network.identity, "head": head, "num": num}
        key.update(self.images.key())
        place = self._cache.path(key)
        if place not in self._kept:
            arrays = self._cache.load(key)
            if arrays is None:
                arrays = compute()
                self._cache.save(key, arrays)
            self._kept[place] = arrays
        return self._kept[place]

    def _extract(self, network, head, num):
        """Yield features of the images, [N, D] each."""
        batches = self.images.batches(num, self._batch_size)
        for images in progress(batches, f"features of {self.images.name}", num):
            yield network.extract(images, [head])[head]


class Fakes:
    """Features of the images to be measured: one pass over the images for all networks and heads.

    Args:
      images: GeneratedImages or FolderImages.
      batch_size: images at a time through the feature networks, for a folder.
    """

    def __init__(self, images, batch_size=32):
        self.images, self._batch_size = images, batch_size
        self._wanted = {}  # (network, head) => how many
        self._features = {}

    def count(self, num):
        """How many images a protocol gets that asks for ``num``."""
        return num if self.images.num_images is None else min(num, self.images.num_images)

    def want(self, network, head, num):
        """Say beforehand what is going to be needed, so that it is computed along."""
        key = network, head
        self._wanted[key] = max(self._wanted.get(key, 0), self.count(num))

    def features(self, network, head, num):
        """[N, D] float32 of the first images."""
        num = self.count(num)
        if len(self._features.get((network, head), ())) < num:
            self.want(network, head, num)
            self._extract_all()
        return self._features[network, head][:num]

    def _extract_all(self):
        """Fill in everything that is wanted."""
        num = max(self._wanted.values())
        parts = {key: [] for key in self._wanted}
        done = 0
        for images in progress(self.images.batches(num, self._batch_size), "images", num):
            for network in {network for network, _ in self._wanted}:
                heads = [
                    head
                    for (other, head), count in self._wanted.items()
                    if other is network and done < count
                ]
                found = network.extract(images, heads) if heads else {}
                for head, features in found.items():
                    parts[network, head].append(features)
            done += len(images)
        self._features = {
            key: np.concatenate(features)[: self._wanted[key]] for key, features in parts.items()
        }


class Context:
    """The interface that measuring functions see; bound to one protocol.

    Args:
      protocol: registry.Protocol.
      features: metrics.features.Features.
      reals: Reals, or None.
      fakes: Fakes.
      seed: of everything random.
    """

    def __init__(self, protocol, features, reals, fakes, seed):
        self._kind, self._features = protocol.features, features
        self._reals, self._fakes, self._seed = reals, fakes, seed

    def _find(self, role):
        network, head, _ = self._features.find(role, self._kind)
        return network, head

    def real_features(self, role, num):
        """Features of the first ``num`` real images (None: all), [N, D]."""
        return self._reals.features(*self._find(role), num)

    def real_moments(self, role, num):
        """Their mean [D] and covariance [D, D]."""
        return self._reals.moments(*self._find(role), num)

    def fake_features(self, role, num):
        """Features of the first ``num`` generated images, [N, D]."""
        return self._fakes.features(*self._find(role), num)

    def fake_moments(self, role, num):
        """Their mean [D] and covariance [D, D]."""
        return mean_and_cov(self.fake_features(role, num))

    def sampler(self, stream):
        """The generator, with draws of its own: GeneratedImages."""
        return self._fakes.images.stream(stream)

    def distance(self, a, b):
        """Perceptual distances [N] of images [N, C, H, W] float, [-1, 1]."""
        return self._features.distance(a, b, self._kind)

    def classify(self, images):
        """Answers [N, A] of the attribute classifiers about images [N, C, H, W] float, [-1, 1]."""
        return self._features.classify(images)

    def rng(self, name):
        """np.random.RandomState that depends on the seed and a name only."""
        return random_of(f"{self._seed}/{name}")

    def progress(self, batches, what, num):
        """Pass batches on and show how far they are."""
        return progress(batches, what, num)


def announce(protocol, features, reals, fakes):
    """Tell both sides what a protocol is going to need, before anything is computed."""
    for role in protocol.roles:
        if role in IMAGE_ROLES:
            network, head, _ = features.find(role, protocol.features)
            fakes.want(network, head, protocol.options["num_fakes"])
            if protocol.needs_real_features:
                reals.want(network, head, protocol.options["num_reals"])


def progress(batches, what, num):
    """Pass batches on; a bar shows how far they are, on a terminal."""
    is_hidden = not sys.stderr.isatty()
    with tqdm(total=num, desc=what, unit="img", leave=False, disable=is_hidden) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch[0]) if isinstance(batch, tuple) else len(batch))
