"""Metrics with StyleGAN2's interface; :mod:`metrics.evaluate` does the work.

group = metric_base.MetricGroup([metric_defaults["fid50k"]])
group.run("network-final.pkl", data_dir="datasets", dataset_args=dict(tfrecord_dir="clevr"))
print(group.get_result_str())
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import time

from dnnlib import tflib, util
from dnnlib.errors import UserError
from metrics import registry, report
from metrics.evaluate import Evaluator
from metrics.features import Features
from metrics.generated import GeneratedImages
from metrics.image_sources import DatasetImages
from training.dataset import Dataset

MAX_BATCH = 64


class MetricBase:
    """One metric of a snapshot.

    Args:
      name: name of a protocol, for instance "fid50k".
      num_images: number of images, if not the protocol's own.
      features: see ``--features``.
      inception: file of the Inception graph; None: download it once.
      trust_snapshot: feature networks whose code may run, comma-separated.
      seed: of everything random.

    Attributes:
      results: {name: float} of the last run.
    """

    def __init__(
        self,
        name,
        num_images=None,
        features="inception",
        inception=None,
        trust_snapshot="",
        seed=0,
    ):
        kind = "standard" if features == "inception" else features
        (self._protocol,) = registry.find(name, num_images, kind)
        self.name, self.results = name, {}
        self._features = Features(inception, [f for f in trust_snapshot.split(",") if f])
        self._seed, self._network_pkl, self._seconds = seed, "", 0.0

    def close(self):
        """Free the feature networks."""
        self._features.close()

    def run(
        self,
        network_pkl,
        run_dir=None,
        data_dir=None,
        dataset_args=None,
        mirror_augment=None,
        num_gpus=1,
        log_results=True,
    ):
        """Measure a snapshot.

        Args:
          network_pkl: path, URL or name of a snapshot, whose last network is measured.
          run_dir: folder that gets the record, or None.
          data_dir: folder of all datasets; None: "datasets".
          dataset_args: dict with ``tfrecord_dir``, the dataset's name, and perhaps ``resolution``
            and ``max_images``; None: no real images.
          mirror_augment: whether training mirrored the images.
          num_gpus: must be 1: a metric is measured on one device.
          log_results: write the result as one line.
        """
        if num_gpus != 1:
            raise UserError(f"num_gpus={num_gpus}: a metric is measured on one device; use 1")
        started, self._network_pkl = time.time(), str(network_pkl)
        tflib.init_tf()
        Gs = tflib.load_generator(network_pkl)
        reals = _real_images(data_dir, dataset_args, mirror_augment, max(Gs.output_shapes[0][2:]))
        batch_size = min(MAX_BATCH, max(4, 4 * 256**2 // Gs.output_shapes[0][-1] ** 2))
        evaluator = Evaluator([self._protocol], self._features, reals, self._seed, batch_size)
        images = GeneratedImages(Gs, self._seed, batch_size, reals, reals.ratio if reals else 1.0)
        digest = hashlib.sha256(self._network_pkl.encode()).hexdigest()[:16]
        (record,) = evaluator.evaluate(images, snapshot=self._network_pkl, sha256=digest)
        self.results, self._seconds = record["results"], time.time() - started
        if run_dir is not None:
            report.append_record(pathlib.Path(run_dir), record)
        if log_results:
            util.log(self.get_result_str())

    def get_result_str(self):
        """The result as one line: snapshot, time, values."""
        name = os.path.splitext(os.path.basename(self._network_pkl))[0]
        name = name if len(name) <= 29 else f"...{name[-26:]}"
        values = "  ".join(f"{key} {value:.4f}" for key, value in self.results.items())
        return f"{name:<30} time {util.format_time(self._seconds):<12} {values}"

    def update_autosummaries(self):
        """Add the values to the running averages that TensorBoard shows."""
        for name, value in self.results.items():
            tflib.autosummary(f"Metrics/{name}", value)


Metric = MetricBase  # what metric_defaults name


class MetricGroup:
    """Several metrics of one snapshot.

    Args:
      metric_kwarg_list: dicts with ``func_name`` and keyword arguments of that class.
    """

    def __init__(self, metric_kwarg_list):
        self.metrics = [util.call_func_by_name(**kwargs) for kwargs in metric_kwarg_list]

    def run(self, *args, **kwargs):
        """:meth:`MetricBase.run` of all."""
        for metric in self.metrics:
            metric.run(*args, **kwargs)

    def get_result_str(self):
        """One line with the results of all."""
        return " ".join(metric.get_result_str() for metric in self.metrics)

    def update_autosummaries(self):
        """:meth:`MetricBase.update_autosummaries` of all."""
        for metric in self.metrics:
            metric.update_autosummaries()


def _real_images(data_dir, dataset_args, mirror_augment, resolution):
    """The dataset that a script names, as DatasetImages; None without."""
    if not dataset_args:
        return None
    known = {"tfrecord_dir", "resolution", "max_images", "verbose", "shuffle_mb", "repeat"}
    unknown = sorted(set(dataset_args) - known)
    if unknown or "tfrecord_dir" not in dataset_args:
        found = ", ".join(unknown) or "tfrecord_dir is missing"
        raise UserError(
            f"dataset_args: {found}; must be tfrecord_dir and, if wanted, resolution and max_images"
        )
    dataset = Dataset(
        os.path.join(data_dir or "datasets", dataset_args["tfrecord_dir"]),
        dataset_args.get("resolution") or resolution,
        dataset_args.get("max_images"),
        mirror=bool(mirror_augment),
    )
    return DatasetImages(dataset)
