"""Training state on disk: all variables and counters, so that a run goes on where it was.

``training-state-KKKKKK.npz`` (thousands of images; ``KKKKKK.III`` between thousands) is written
under another name first, so a file of this name is whole. The last two are kept.
"""

from __future__ import annotations

import json
import pathlib
import zipfile
from dataclasses import asdict, dataclass

import numpy as np

from dnnlib import tflib, util
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import kimg_text, named_kimg

FORMAT = 1
KEEP = 2
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError)
UNREADABLE += (zipfile.BadZipFile,)
META = "meta"  # name of the JSON text in the file; no variable is called so
_KIND = "training-state"


@dataclass
class LoopState:
    """How far a training is; with the variables, all there is to know."""

    nimg: int = 0  # images shown
    tick: int = 0  # ticks reported
    tick_nimg: int = 0  # images shown when the present tick began
    seconds: float = 0.0  # spent training, over all sessions
    augment_p: float | None = None  # probability of augmentation; None = not begun to adapt
    augment_signs: float = 0.0  # sum of signs of D's scores of reals since p was moved
    augment_nimg: int = 0  # images in it


def find_states(run_dir):
    """Checkpoints of a run, oldest first."""
    paths = pathlib.Path(run_dir).glob("*.npz")
    found = [(named_kimg(path.name, _KIND), path) for path in paths]
    return [path for _, path in sorted((kimg, path) for kimg, path in found if kimg is not None)]


def save_state(run_dir, variables, state):
    """Write a checkpoint and remove old ones.

    Args:
      run_dir: of the run.
      variables: {name: variable}.
      state: LoopState.

    Returns:
      Path of the checkpoint.

    Raises:
      UserError: the disk is full; earlier checkpoints are untouched.
    """
    path = pathlib.Path(run_dir) / f"{_KIND}-{kimg_text(state.nimg, is_fine=True)}.npz"
    meta = json.dumps({"format": FORMAT, **asdict(state)})
    arrays = tflib.run(variables)
    with util.atomic_write(path) as file:
        np.savez(file, **{META: np.array(meta)}, **arrays)
    for old in find_states(run_dir)[:-KEEP]:
        old.unlink()
    return path


def remove_leftovers(run_dir):
    """Remove half-written files of a process that was killed."""
    for path in pathlib.Path(run_dir).glob(".*.tmp"):
        path.unlink()


def read_progress(run_dir):
    """LoopState of the newest readable checkpoint; None if there is none.

    Raises:
      UserError: there are checkpoints, but none that can be read.
    """
    newest = _newest(run_dir)
    return newest and newest[1]


def restore_state(run_dir, variables):
    """Load the newest checkpoint that can be read.

    Args:
      run_dir: of the run.
      variables: {name: variable}, as saved.

    Returns:
      LoopState; a fresh one if there is no checkpoint.

    Raises:
      UserError: no checkpoint can be read; or it is of other networks, with the differences.
    """
    newest = _newest(run_dir, set(variables))
    if newest is None:
        return LoopState()
    path, state, arrays = newest
    _check_shapes(path, variables, arrays)
    tflib.set_vars({variables[name]: array for name, array in arrays.items()})
    return state


def _newest(run_dir, names=()):
    """(path, LoopState, {name: array}) of the newest checkpoint that can be read; None without.

    To begin again in the folder of a run whose checkpoints are lost would spoil what is left of it.
    """
    states, problem = find_states(run_dir), ""
    for path in reversed(states):
        try:
            return _read(path, names)
        except UNREADABLE as error:
            problem = f"{path} cannot be read ({error})"
            if path != states[0]:
                util.log(f"{problem}; trying the one before")
    if states:
        raise UserError(
            f"{problem}, and no other training state in {run_dir} can; put one back, or begin a "
            "new run with --restart, from a snapshot with --pretrained-pkl"
        )
    return None


def _read(path, names):
    """(path, LoopState, arrays); with ``names``, all arrays, else none."""
    with np.load(str(path), allow_pickle=False) as file:
        meta = json.loads(str(file[META]))
        arrays = {name: file[name] for name in file.files if name != META} if names else {}
    if meta.pop("format") != FORMAT:
        raise ValueError("another format")
    return path, LoopState(**meta), arrays


def _check_shapes(path, variables, arrays):
    """Raise UserError, with all differences, unless names and shapes agree."""
    problems = [f"{name} is missing" for name in variables if name not in arrays]
    problems += [f"{name} is unexpected" for name in arrays if name not in variables]
    for name in set(variables) & set(arrays):
        want, have = variables[name].shape.as_list(), list(arrays[name].shape)
        if want != have:
            problems.append(f"{name} is {have}, not {want}")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(
            f"{path} does not fit these networks: {', '.join(sorted(problems)[:5])}{more}; "
            "begin anew with --restart"
        )
