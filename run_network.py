"""Train a GANsformer or one of its baselines, look at one or measure one; see ``--help``."""

import contextlib
import json
import os
import sys

from config.flags import GROUPS
from config.options import RunOptions, VisOptions
from config.resolve import build_parser, flags_of_run, parse, reloaded_flags, resolve
from dnnlib import EasyDict, RunContext, cli, doctor, util
from dnnlib.cluster import find_cluster
from dnnlib.errors import OptionError, UserError
from dnnlib.submission import jobs
from dnnlib.submission.describe import describe_run, note_facts
from dnnlib.submission.internal import slurm
from dnnlib.submission.run_context import FINISHED_NAME
from dnnlib.submission.run_dir import (
    CONFIG_NAME,
    create_run,
    discard_unused,
    find_snapshots,
    newest_snapshot,
    open_log,
    save_config,
)
from metrics import registry
from training.configure import resolve_training
from vis.kinds import check_animation, chosen_kinds, save_visuals

VIS_BATCH_SIZE = 8  # pictures at a time, unless --batch-gpu says otherwise


def main(argv=None):
    """Parse, resolve, check, run. What needs TensorFlow is imported after the quick checks."""
    given = parse(argv)
    if given.pop("help", False):
        print(build_parser(with_defaults=True).format_help())
        return
    cli.choose_gpus(given.get("gpus"))
    cli.refuse_missing_gpus(given.get("gpus"))
    if look_elsewhere(given):
        return
    if not given.get("train") and (given.get("vis") or given.get("eval")):
        look(given)
        return
    reloaded = reloaded_flags(given) if given.get("reload") else architecture_flags(given)
    config, dataset = resolve_training(given, reloaded)
    if config["run"]["dry_run"]:
        print(json.dumps(config, indent=2))
        return
    registry.find(config["eval"]["metrics"] or "none", config["eval"]["images_num"])
    if not config["run"]["train"]:
        print_networks(config)
        return
    if config["run"]["vis"]:
        check_animation(config["vis"]["animation"])
    if config["run"]["submit"]:
        submit({**reloaded, **given} if given.get("reload") else given, config)
    elif train(config, dataset):
        given.pop("pretrained-pkl", None)  # what it began with is no longer what to look at
        look(given)


def architecture_flags(given):
    """The flags that build networks, of the snapshot that a training begins with, if any."""
    if not given.get("train") or given.get("pretrained-pkl") is None:
        return {}
    from training import pretrained  # noqa: PLC0415 - needs TensorFlow

    return pretrained.architecture_flags(given)


def look_elsewhere(given):
    """Look at the machine, or at a run that goes on elsewhere; returns whether that was wanted."""
    defaults = RunOptions()
    if given.get("doctor"):
        doctor.examine(given.get("gpus"), given.get("custom-ops", defaults.custom_ops))
        return True
    for name, follow in WATCHING.items():
        if name in given:
            follow(jobs.find_run(given.get("result-dir", defaults.result_dir), given[name]))
            return True
    return False


def look(given):
    """Show or measure what there is already."""
    modes = [function for name, function in MODES.items() if given.get(name)]
    for function in modes[:1] if given.get("dry-run") else modes:
        function(given)


def start_tensorflow(config):
    """Open a session."""
    run = config["run"]
    _, settings = cli.start_tensorflow(run["gpus"], run["custom_ops"], run["xla"])
    from dnnlib import tflib  # noqa: PLC0415 - needs TensorFlow

    tflib.init_tf({"rnd.tf_random_seed": config["loop"]["seed"], **settings})


def start_training(config):
    """Open a session, together with the other workers if there are any.

    Returns:
      Names of the devices to train on, and training.distributed.Workers or Alone.
    """
    run, loop = config["run"], config["loop"]
    chosen = (run["gpus"], run["custom_ops"], run["xla"], loop["precision"], loop["bf16_res"])
    devices, settings = cli.start_tensorflow(*chosen)
    from dnnlib.tflib import selftest  # noqa: PLC0415 - needs TensorFlow
    from training import distributed  # noqa: PLC0415 - needs TensorFlow

    selftest.refuse_wrong(devices)
    settings["rnd.tf_random_seed"] = loop["seed"]
    return devices, distributed.join(find_cluster(), settings, run["worker_timeout"])


def train(config, dataset, is_submitted=False):
    """Train in a new run directory, or continue an unfinished run.

    Args:
      config: resolved configuration, with "facts".
      dataset: training.dataset.Dataset.
      is_submitted: the run directory, which ``run.run_dir`` names, is described and logged to.

    Returns:
      Whether this process has the run directory: of several workers, the first one.
    """
    from training import resume  # noqa: PLC0415 - needs TensorFlow

    devices, workers = start_training(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(workers.watched())
        run_dir = resume.choose_run(config) if workers.is_first else None
        if workers.share(run_dir is None):
            return workers.is_first
        if not workers.is_first:
            train_in(None, config, dataset, devices, workers)
            return False
        stack.enter_context(resume.locked(run_dir))
        try:
            if not is_submitted:
                stack.enter_context(open_log(run_dir))
                describe_run(run_dir)
            train_in(run_dir, config, dataset, devices, workers)
        except UserError:
            discard_unused(run_dir)
            raise
    return True


def submit(given, config):
    """Train elsewhere: in a process of its own, or as a job of a cluster.

    Args:
      given: flags, {name: value}.
      config: resolved configuration, with "facts" about the dataset.
    """
    from training import resume  # noqa: PLC0415 - needs TensorFlow

    if config["run"]["submit"] == "slurm":
        slurm.check()
    run_dir = resume.choose_run(config)
    if run_dir is None:
        return
    left_out = {flag.name for flag in GROUPS["Submitting"]} | {"restart", "reload"}
    kept = {name: v for name, v in given.items() if name not in left_out and v is not None}
    flags = [f"--{name}={value}" for name, value in kept.items()]
    command = [sys.executable, os.path.abspath(__file__), *flags, f"--run-dir={run_dir.resolve()}"]
    options = slurm.TargetOptions(**config["slurm"])
    try:
        started = jobs.submit(config["run"]["submit"], command, run_dir, options)
    except UserError:
        discard_unused(run_dir)
        raise
    util.log(f"Submitted {run_dir} ({started}); --status, --tail and --stop take its name")


def train_submitted(submit_config, flags):
    """Train in the directory of a submitted run; for ``dnnlib.submit_run``.

        dnnlib.submit_run(submit_config, "run_network.train_submitted",
                          flags={"dataset": "scenes", "gansformer-default": True})

    To continue the run, submit it again with ``submit_config.run_dir`` set to its directory.

    Args:
      submit_config: dnnlib.SubmitConfig, with ``run_dir``.
      flags: {name of a flag: value}, as on the command line.
    """
    given = parse([f"--{name}={value}" for name, value in flags.items()])
    given = {**given, "train": True, "run-dir": submit_config.run_dir}
    config, dataset = resolve_training(given, {})
    train(config, dataset, is_submitted=True)


def train_in(run_dir, config, dataset, devices, workers):
    """Train in a run directory that we hold; it may have an unfinished run of the configuration.

    Args:
      run_dir: path; None for workers but the first.
      config: resolved configuration, with "facts".
      dataset: training.dataset.Dataset.
      devices: TensorFlow's names.
      workers: training.distributed.Workers, or Alone.
    """
    from metrics.command import training_metrics  # noqa: PLC0415 - needs TensorFlow
    from training import checkpoint, distributed, pretrained  # noqa: PLC0415 - needs TensorFlow
    from training.training_loop import training_loop  # noqa: PLC0415 - needs TensorFlow

    with RunContext(EasyDict(run_dir=run_dir)):
        source = metrics = None
        if workers.is_first:
            note_facts(run_dir, devices=doctor.device_names(devices), workers=workers.count)
            source = pretrained.prepare(run_dir, config)
            save_config(run_dir, config)
            metrics = training_metrics(config, dataset, run_dir)
            places = f"{', '.join(devices)} of {workers.count} worker(s)"
            util.log(f"Training in {run_dir} on {places}: {dataset.num_images:,} images")
        distributed.agree(workers, config, dataset)
        try:
            is_done = training_loop(run_dir, config, dataset, devices, metrics, source, workers)
        except (OptionError, pretrained.NothingFitsError):
            if workers.is_first and not checkpoint.find_states(run_dir):
                (run_dir / CONFIG_NAME).unlink()  # other flags may be tried in this folder
            raise
        if not (is_done and workers.is_first):
            return
        (run_dir / FINISHED_NAME).touch()
        final = run_dir / "network-final.pkl"  # there is none if there was nothing to do
        snapshots = [path for _, path in find_snapshots(run_dir)]
        util.log(f"Done: {final if final.exists() else (snapshots or [run_dir])[-1]}")


def snapshot_of_experiment(flag, given, others=""):
    """Path of the experiment's newest snapshot; what else the flag takes stands in the error."""
    defaults = RunOptions()
    expname = given.get("expname", defaults.expname)
    result_dir = given.get("result-dir", defaults.result_dir)
    snapshot = newest_snapshot(result_dir, expname)
    if snapshot is None:
        raise UserError(
            f"{flag}: the experiment {expname!r} has no snapshot in {result_dir}; train it first, "
            f"or name a snapshot with --pretrained-pkl{others}"
        )
    return snapshot


def evaluate(given):
    """Measure a run's snapshots, another snapshot, or a folder of pictures.

    The flags of the run hold, as far as others are not given.
    """
    run_dir, flags = None, {}
    if not (given.get("pretrained-pkl") or given.get("eval-folder")):
        others = " or pictures with --eval-folder"
        run_dir = snapshot_of_experiment("--eval", given, others).parent
        flags = flags_of_run(run_dir)
    config = resolve(given, flags)
    if config["run"]["dry_run"]:
        print(json.dumps(config, indent=2))
        return
    from metrics import command  # noqa: PLC0415 - needs TensorFlow

    command.evaluate(config, run_dir)


def visualize(given):
    """Look at the experiment's newest snapshot, or at a given one.

    The flags of the run hold, as far as others are not given.
    """
    model, flags = given.get("pretrained-pkl"), {}
    if model is None:
        model = snapshot_of_experiment("--vis", given)
        flags = flags_of_run(model.parent)
    config = resolve(given, flags)
    if config["run"]["dry_run"]:
        print(json.dumps(config, indent=2))
        return
    kinds, options = VisOptions(**config["vis"]), RunOptions(**config["run"])
    check_animation(kinds.animation)
    start_tensorflow(config)
    from vis.sampler import load_sampler  # noqa: PLC0415 - needs TensorFlow

    sampler = load_sampler(
        model, config["loop"]["batch_gpu"] or VIS_BATCH_SIZE, ratio=config["data"]["ratio"]
    )
    chosen_kinds(sampler, kinds)  # may refuse, so before there is a folder
    if options.pretrained_pkl is None:
        run_dir = model.parent
    else:
        run_dir = create_run(options.result_dir, options.expname)
    util.log(f"Looking at {model}")
    save_visuals(sampler, run_dir / "visuals", kinds, config["G"]["truncation_psi"])


MODES = {"vis": visualize, "eval": evaluate}
WATCHING = {
    "status": lambda run_dir: print(jobs.status(run_dir)),
    "stop": lambda run_dir: print(jobs.stop(run_dir)),
    "tail": jobs.tail,
}


def print_networks(config):
    """Print the layers of the networks that the flags describe."""
    start_tensorflow(config)
    from training.networks import build_networks  # noqa: PLC0415 - needs TensorFlow

    for net in build_networks(config):
        net.print_layers()


if __name__ == "__main__":
    sys.exit(cli.run_script(main))
