"""Which run directory a command trains in: a new one, or the experiment's unfinished one."""

from __future__ import annotations

import contextlib
import pathlib

from config.options import RunOptions
from config.resolve import contradictions
from dnnlib import util
from dnnlib.errors import UserError
from dnnlib.submission import run_lock
from dnnlib.submission.run_context import ABORT_NAME, FINISHED_NAME
from dnnlib.submission.run_dir import CONFIG_NAME, create_run, latest_run, load_config
from training import checkpoint


def choose_run(config):
    """Find or make the run directory.

    An unfinished run of the experiment is continued. A finished one is, if --total-kimg is raised;
    with other flags a finished run leads to a new one.

    Args:
      config: resolved configuration, with "facts" about the dataset.

    Returns:
      Path of the run directory, or None if the run is finished and nothing is left to do.

    Raises:
      UserError: the flags, or the dataset, contradict those of the unfinished run.
    """
    options = RunOptions(**config["run"])
    if options.run_dir is not None:
        return _named_run(options, config)
    latest = latest_run(options.result_dir, options.expname)
    if latest is None or options.restart:
        return create_run(options.result_dir, options.expname)
    is_finished, differing = _compare(latest, config)
    if differing and is_finished:
        return create_run(options.result_dir, options.expname)
    return latest if is_to_be_continued(latest, config) else None


def _named_run(options, config):
    """The folder of --run-dir, if there is anything left to train in it; else None."""
    run_dir = pathlib.Path(options.run_dir)
    if options.restart:
        raise UserError("--restart and --run-dir exclude each other; leave out one of them")
    run_dir.mkdir(parents=True, exist_ok=True)
    return run_dir if is_to_be_continued(run_dir, config) else None


def is_to_be_continued(run_dir, config):
    """Whether there is anything left to train in a run directory.

    Args:
      run_dir: of the run; it may be empty.
      config: resolved configuration, with "facts" about the dataset.

    Raises:
      UserError: the flags, or the dataset, contradict those that the run was begun with.
    """
    is_finished, differing = _compare(run_dir, config)
    if differing:
        raise UserError(_explain(run_dir, differing))
    progress = checkpoint.read_progress(run_dir)
    if is_finished and progress.nimg >= config["loop"]["total_kimg"] * 1000:
        util.log(
            f"{run_dir} is finished, with {progress.nimg / 1000:g} kimg; raise --total-kimg to go "
            "on, or begin anew with --restart"
        )
        return False
    return True


def _compare(run_dir, config):
    """(whether a run is finished, [(flag or fact, value then, value now)])."""
    progress = checkpoint.read_progress(run_dir)
    if progress is None and not (run_dir / CONFIG_NAME).exists():
        return False, []  # stopped before it began
    old = load_config(run_dir)
    differing = contradictions(old["flags"], config["flags"])
    differing += [
        (f"dataset's {name}", value, config["facts"].get(name))
        for name, value in old["facts"].items()
        if config["facts"].get(name) != value
    ]
    return progress is not None and progress.nimg >= old["loop"]["total_kimg"] * 1000, differing


def _explain(latest, differing):
    """The message for contradicting flags."""

    def spell(name, value):
        return f"{name} {value}" if name.startswith("dataset's") else f"--{name}={value}"

    old = " ".join(spell(name, value) for name, value, _ in differing)
    new = " ".join(spell(name, value) for name, _, value in differing)
    return (
        f"{latest} is unfinished and was begun with {old}, not {new}; continue it with the former, "
        "or begin a new run with --restart or another --expname"
    )


@contextlib.contextmanager
def locked(run_dir):
    """Hold a run directory, so that no second process trains in it, and tidy it.

    Raises:
      UserError: another process does.
    """
    with run_lock.hold(run_dir) as is_held:
        if is_held:
            checkpoint.remove_leftovers(run_dir)
        for name in (ABORT_NAME, FINISHED_NAME):  # of a run that is continued now
            with contextlib.suppress(FileNotFoundError):
                (run_dir / name).unlink()
        yield
