"""Measure images by a list of metrics; everything that metrics share is computed once."""

from __future__ import annotations

import datetime
import hashlib
import json
import time

from dnnlib.errors import UserError
from metrics.cache import ArrayCache
from metrics.checks import UnfitError
from metrics.context import Context, Fakes, Reals, announce


class Evaluator:
    """Measures generators and folders of images against one set of real images.

    Args:
      protocols: list of registry.Protocol, see ``registry.find``.
      features: metrics.features.Features.
      real_images: DatasetImages or FolderImages; may be None for metrics that need none.
      seed: of everything random.
      batch_size: images at a time.
      cache_dir: where statistics of real images are kept; the user's cache folder by default.
    """

    def __init__(
        self, protocols, features, real_images=None, seed=0, batch_size=32, cache_dir=None
    ):
        self.protocols, self._features = protocols, features
        self.seed, self.batch_size = seed, batch_size
        self.real_images = real_images
        self._reals = real_images and Reals(real_images, ArrayCache(cache_dir), batch_size)

    def check(self):
        """Open every feature network that is going to be needed.

        Returns:
          Names of the metrics, with the labels of their features.

        Raises:
          UserError: something cannot be had; says how to get it.
        """
        return [self._name(protocol) for protocol in self.protocols]

    def check_images(self, images):
        """Raise UserError if a metric needs more than these images."""
        fakes = Fakes(images, self.batch_size)
        for protocol in self.protocols:
            self._fit(protocol, fakes)

    def _name(self, protocol):
        return protocol.name + self._features.require(protocol)

    def evaluate(self, images, known=None, on_record=None, **facts):
        """Measure images.

        Args:
          images: GeneratedImages or FolderImages.
          known: function(record) => an earlier record of the very same measurement, or None.
          on_record: function(record), called as soon as one is there.
          **facts: go into the records, for instance snapshot="...", kimg=100.

        Returns:
          List of records, dicts of plain values: metric, results {name: float}, num_fakes,
          num_reals, reals, features, seed, seconds, time, key, and the facts.

        Raises:
          UserError: a feature network or the images are not fit for it.
        """
        fakes = Fakes(images, self.batch_size)
        protocols = [self._fit(protocol, fakes) for protocol in self.protocols]
        records = [self._describe(protocol, fakes, facts) for protocol in protocols]
        earlier = [known(record) if known else None for record in records]
        for protocol, found in zip(protocols, earlier):
            if found is None:
                announce(protocol, self._features, self._reals, fakes)
        done = []
        for protocol, record, found in zip(protocols, records, earlier):
            done.append(found or self._measure(protocol, record, fakes))
            if on_record and found is None:
                on_record(done[-1])
        return done

    def _fit(self, protocol, fakes):
        """The protocol for as many images as a folder has."""
        if protocol.needs_generator and not hasattr(fakes.images, "stream"):
            raise UserError(f"{protocol.name} needs a generator; a folder holds images alone")
        if protocol.options.get("num_reals", 0) != 0 and self._reals is None:
            raise UserError(f"{protocol.name} needs real images to compare with; give --dataset")
        return protocol.with_images(fakes.count(protocol.options["num_fakes"]))

    def _describe(self, protocol, fakes, facts):
        """The record of a measurement, without results."""
        options = dict(protocol.options)
        record = {
            "metric": self._name(protocol),
            "results": {},
            **facts,
            "num_fakes": options["num_fakes"],
            "features": self._features.describe(protocol),
            "seed": self.seed,
        }
        parts = [record, options, self.batch_size, fakes.images.ratio]
        label_source = getattr(fakes.images, "label_source", lambda: None)()
        if label_source is not None:
            parts.append(label_source)
        if "num_reals" in options:
            record["num_reals"] = self._reals.count(options["num_reals"])
            record["reals"] = self._reals.images.name
            parts.append(self._reals.images.key())
        record["key"] = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
        return record

    def _measure(self, protocol, record, fakes):
        """Fill a record in."""
        context = Context(protocol, self._features, self._reals, fakes, self.seed)
        started = time.time()
        try:
            results = protocol.measure(context, **protocol.options)
        except UnfitError as error:
            raise UserError(f"{record['metric']}: {error}") from error
        now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        results = {record["metric"] + ending: float(value) for ending, value in results.items()}
        seconds = round(time.time() - started, 1)
        return {**record, "results": results, "seconds": seconds, "time": now.isoformat()}
