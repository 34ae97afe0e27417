"""``run_network.py --eval``, and the metrics of a training run."""

from __future__ import annotations

import contextlib
import pathlib

from config.options import DataOptions, EvalOptions, LoopOptions, RunOptions
from config.resolve import find_dataset
from dnnlib import cli, fetch, tflib, util
from dnnlib.errors import UserError
from dnnlib.files import file_digest
from dnnlib.submission.run_dir import find_snapshots, open_log, snapshot_kimg
from dnnlib.tflib.autosummary import SummaryWriter
from dnnlib.tflib.compat import tf
from metrics import registry, report
from metrics.evaluate import Evaluator
from metrics.features import Features
from metrics.generated import GeneratedImages
from metrics.image_sources import DatasetImages, FolderImages
from training.dataset import Dataset
from vis.report.page import write_report

MAX_BATCH = 64  # images at a time; more is no faster
PIXELS = 4 * 256 * 256  # at a time, unless --batch-gpu says otherwise; as in training
SESSION = {"gpu_options.allow_growth": True, "allow_soft_placement": True}
FOLDER_RESOLUTION = 64  # as if: pictures of folders go through feature networks only


def batch_size_for(resolution, batch_gpu=None):
    """Images at a time for a generator of this resolution."""
    return batch_gpu or min(MAX_BATCH, max(4, PIXELS // resolution**2))


def _kind(options):
    return "standard" if options.features == "inception" else options.features


def _features(options):
    """The feature networks that the flags name."""
    files = [name for name in options.trust_snapshot.split(",") if name]
    return Features(options.inception, files)


# While training


class TrainingMetrics:
    """Measures the generator of a training run at its snapshots.

    Args:
      evaluator: metrics.evaluate.Evaluator.
      run_dir: of the run; gets the records and the best snapshots.
    """

    def __init__(self, evaluator, run_dir):
        self._evaluator, self._run_dir = evaluator, pathlib.Path(run_dir)
        self._names = evaluator.check()
        self._images = None

    def measure(self, Gs, snapshot):
        """Measure and record. What goes wrong with a metric is said, and training goes on.

        Args:
          Gs: the generator, always the same one.
          snapshot: path of the snapshot that holds it; its name tells the place in the training.

        Returns:
          {name: float} of the results.
        """
        evaluator = self._evaluator
        if self._images is None:
            self._images = GeneratedImages(
                Gs,
                evaluator.seed,
                evaluator.batch_size,
                evaluator.real_images,
                evaluator.real_images.ratio,
            )

        def keep(record):
            report.append_record(self._run_dir, record)
            util.log("  ".join(f"{k} {v:.6g}" for k, v in record["results"].items()))

        snapshot = pathlib.Path(snapshot)
        facts = dict(
            snapshot=snapshot.name, sha256=file_digest(snapshot)[:16], kimg=snapshot_kimg(snapshot)
        )
        try:
            records = evaluator.evaluate(self._images, on_record=keep, **facts)
        except UserError as error:
            util.log(f"Not measured: {error}")
            return {}
        report.keep_best(self._run_dir, evaluator.protocols, self._names)
        return {name: value for record in records for name, value in record["results"].items()}


def training_metrics(config, dataset, run_dir):
    """What a training run is to measure; opens the feature networks.

    A run that trains on part of a dataset is compared with all of it.

    A metric whose features cannot be had is left out, with a line that says how to get them.

    Args:
      config: resolved configuration, of which "eval", "data" and "loop" count.
      dataset: training.dataset.Dataset that is trained on.
      run_dir: of the run.

    Returns:
      TrainingMetrics, or None if there is nothing to measure.
    """
    options, loop = EvalOptions(**config["eval"]), LoopOptions(**config["loop"])
    features, protocols = _features(options), []
    wanted = registry.find(options.metrics or "none", options.images_num, _kind(options))
    for protocol in wanted:
        try:
            features.require(protocol)
            protocols.append(protocol)
        except UserError as error:
            util.log(f"Training goes on without {protocol.name}: {error}")
    if not protocols:
        return None
    batch_size = batch_size_for(dataset.resolution, loop.batch_gpu)
    whole = Dataset(dataset.path, dataset.resolution, mirror=dataset.mirror)
    images = DatasetImages(whole, config["data"]["ratio"])
    evaluator = Evaluator(protocols, features, images, loop.seed, batch_size)
    return TrainingMetrics(evaluator, run_dir)


# As a command


def evaluate(config, run_dir=None):
    """Measure snapshots of a run, another snapshot, or a folder of pictures.

    Args:
      config: resolved configuration, of which "eval", "run", "data" and "loop" count.
      run_dir: the run, unless the configuration names a snapshot or a folder.

    Raises:
      UserError: a flag, a file or a network does not fit.
    """
    options, run = EvalOptions(**config["eval"]), RunOptions(**config["run"])
    if options.folder and run.pretrained_pkl:
        raise UserError("--eval-folder and --pretrained-pkl exclude each other; leave out one")
    if options.all and run_dir is None:
        raise UserError("--eval-all measures the snapshots of a run; it has no effect on others")
    protocols = registry.find(options.metrics or "fid", options.images_num, _kind(options))
    if not protocols:
        raise UserError(f"--metrics={options.metrics} leaves nothing for --eval to measure")
    _, settings = cli.start_tensorflow(run.gpus, run.custom_ops, run.xla)
    with contextlib.closing(_features(options)) as features:
        command = _Command(config, protocols, features, {**SESSION, **settings})
        if run_dir is not None:
            command.evaluate_run(pathlib.Path(run_dir))
            return
        out_dir = pathlib.Path(run.result_dir, "evaluations")
        if options.folder:
            command.evaluate_folder(out_dir)
        else:
            command.evaluate_snapshot(out_dir)


class _Command:
    """One call of ``--eval``."""

    def __init__(self, config, protocols, features, settings):
        self.options, self.run = EvalOptions(**config["eval"]), RunOptions(**config["run"])
        self.data, self.loop = DataOptions(**config["data"]), LoopOptions(**config["loop"])
        self.protocols, self.features, self._settings = protocols, features, settings
        self._evaluators = {}  # resolution => Evaluator

    def evaluator(self, resolution=None):
        """The evaluator for images of a resolution; fails before anything is computed."""
        if resolution not in self._evaluators:
            batch_size = batch_size_for(resolution or FOLDER_RESOLUTION, self.loop.batch_gpu)
            reals = self._real_images(resolution)
            evaluator = Evaluator(self.protocols, self.features, reals, self.loop.seed, batch_size)
            evaluator.check()
            self._evaluators[resolution] = evaluator
        return self._evaluators[resolution]

    def _real_images(self, resolution):
        """What to compare with; None if the flags name nothing."""
        options, data = self.options, self.data
        if options.reference:
            return FolderImages(options.reference, data.ratio or 1.0)
        if not data.dataset:
            return None
        dataset = Dataset(
            find_dataset(data.data_dir, data.dataset),
            data.resolution or resolution,
            mirror=data.mirror_augment,
        )
        return DatasetImages(dataset, data.ratio)

    def evaluate_run(self, run_dir):
        """Measure the last snapshot of a run, or all; writes into the run directory."""
        snapshots = find_snapshots(run_dir)
        if not snapshots:
            raise UserError(f"{run_dir}: has no snapshots to evaluate yet")
        chosen = snapshots if self.options.all else snapshots[-1:]
        util.make_folder(run_dir, "--result-dir")
        with open_log(run_dir), contextlib.closing(SummaryWriter(run_dir)) as writer:
            for number, (kimg, path) in enumerate(chosen):
                util.log(f"{path} ({number + 1} of {len(chosen)})")
                records = self._evaluate_snapshot(path, run_dir, path.name, kimg)
                for record in records:
                    named = {f"metrics/{k}": v for k, v in record["results"].items()}
                    writer.write(named, int((kimg or 0) * 1000))
                self._show(records)
            names = [record["metric"] for record in records]
            report.keep_best(run_dir, self.protocols, names)
            util.log(f"Curves and samples: {write_report(run_dir)}")

    def evaluate_folder(self, out_dir):
        """Measure a folder of pictures; writes into a folder of evaluations."""
        images = FolderImages(self.options.folder)
        evaluator = self.evaluator()
        images.ratio = self._ratio(evaluator) or 1.0
        evaluator.check_images(images)
        util.make_folder(out_dir, "--result-dir")
        records = evaluator.evaluate(
            images,
            on_record=lambda record: report.append_record(out_dir, record),
            folder=self.options.folder,
        )
        self._show(records)
        util.log(f"Recorded in {out_dir}")

    def evaluate_snapshot(self, out_dir):
        """Measure a single snapshot; writes into a folder of evaluations."""
        name = self.run.pretrained_pkl
        self._show(self._evaluate_snapshot(fetch.fetch(name), out_dir, name))
        util.log(f"Recorded in {out_dir}")

    def _evaluate_snapshot(self, path, out_dir, name, kimg=None):
        """Measure a snapshot in a graph of its own, but for what is recorded already."""
        facts = dict(snapshot=name, sha256=file_digest(path)[:16], kimg=kimg)
        with tf.Graph().as_default(), tflib.create_session(self._settings):
            Gs = tflib.load_generator(path)
            evaluator = self.evaluator(max(Gs.output_shapes[0][2:]))
            reals = evaluator.real_images
            labels_of = reals if isinstance(reals, DatasetImages) else None
            ratio = self._ratio(evaluator)
            images = GeneratedImages(Gs, self.loop.seed, evaluator.batch_size, labels_of, ratio)
            evaluator.check_images(images)
            util.make_folder(out_dir, "--result-dir")
            return evaluator.evaluate(
                images,
                known=lambda record: report.find_record(out_dir, record),
                on_record=lambda record: report.append_record(out_dir, record),
                **facts,
            )

    def _ratio(self, evaluator):
        """The ratio of both sides; None if neither the flags nor the real images tell."""
        reals = evaluator.real_images
        return self.data.ratio or (reals.ratio if reals else None)

    def _show(self, records):
        for line in report.table(records):
            util.log(line)
