"""Latents as plain arrays: draw, truncate, interpolate, edit, store. NumPy only.

z is [N, K, D] (or [N, D] for a StyleGAN2 network), ws is [N, K, L, D] (or [N, L, D]); the last
of a GANsformer's K latents is the global one.
"""

from pathlib import Path

import numpy as np

from dnnlib.errors import UserError
from dnnlib.util import atomic_write

MAX_SEED = 2**32 - 1
MAX_SEEDS_NUM = 1000000


def parse_seeds(text):
    """A list of seeds from text like "0-31,40".

    Args:
      text: numbers and ranges, separated by commas; ranges include both ends.

    Returns:
      list of int in the order given, each once.

    Raises:
      UserError: not such a list, or numbers out of range.
    """
    seeds = {}
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UserError(f"--seeds={text}: {part!r} is no seed or range; write e.g. 0-31,40")
        first, last = int(first), int(last or first)
        if last < first:
            raise UserError(
                f"--seeds={text}: the range {part} runs backwards; write {last}-{first}"
            )
        if last > MAX_SEED:
            raise UserError(f"--seeds={text}: seeds go from 0 to {MAX_SEED}, got {last}")
        if last - first + len(seeds) >= MAX_SEEDS_NUM:
            raise UserError(f"--seeds={text}: at most {MAX_SEEDS_NUM} seeds in one run")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


def draw_z(seeds, shape):
    """Standard normal latents, each a function of its seed alone.

    Args:
      seeds: N ints.
      shape: of one sample, [K, D] or [D].

    Returns:
      [N, *shape] float32.
    """
    draws = [np.random.RandomState(seed).randn(*shape) for seed in seeds]
    return np.asarray(draws, np.float32).reshape(len(draws), *shape)


def truncate(ws, average, psi, cutoff=None):
    """The truncation trick, average + psi * (ws - average) (StyleGAN, Karras et al. 2019, Sec. B).

    Args:
      ws: [..., L, D].
      average: [D], or [K, 1, D].
      psi: a number; None or 1 leaves ws as they are.
      cutoff: the number of layers truncated, from 4x4 upwards; None for all.

    Returns:
      Array like ws, float32.
    """
    if psi is None or psi == 1:
        return ws
    truncated = (average + (ws - average) * np.float32(psi)).astype(np.float32)
    if cutoff is not None:
        truncated[..., cutoff:, :] = ws[..., cutoff:, :]
    return truncated


def lerp(a, b, t):
    """Straight line from a (t = 0) to b (t = 1); for a number t, both ends are exact.

    Args:
      a: [N, ...].
      b: [N, ...].
      t: a number, or [N].

    Returns:
      [N, ...], of a's type.
    """
    if np.ndim(t) == 0 and t in {0, 1}:
        return (a, b)[int(t)]
    return (a + (b - a) * _for_samples(t, a)).astype(a.dtype)


def slerp(a, b, t):
    """Arc from a (t = 0) to b (t = 1), for every vector of the last axis on its own.

    The directions turn evenly by the angle between them (Shoemake 1985), the lengths change
    linearly: normal latents far from each other stay typical all along the way.

    Args:
      a: [N, ..., D].
      b: [N, ..., D].
      t: a number, for which both ends are exact, or [N].

    Returns:
      [N, ..., D], of a's type.
    """
    if np.ndim(t) == 0 and t in {0, 1}:
        return (a, b)[int(t)]
    a_length, b_length = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    a_unit, b_unit = a / np.maximum(a_length, 1e-12), b / np.maximum(b_length, 1e-12)
    cosine = (a_unit * b_unit).sum(axis=-1, keepdims=True)
    aside = b_unit - cosine * a_unit  # towards b, at right angles to a
    sine = np.linalg.norm(aside, axis=-1, keepdims=True)
    t = _for_samples(t, a)
    angle = t * np.arctan2(sine, cosine)
    direction = a_unit * np.cos(angle) + aside / np.maximum(sine, 1e-12) * np.sin(angle)
    arc = direction * (a_length + (b_length - a_length) * t)
    # Vectors along one line define no arc.
    return np.where(sine < 1e-6, a + (b - a) * t, arc).astype(a.dtype)


def _for_samples(t, x):
    """A number, or [N], as a factor of x [N, ...]."""
    t = np.asarray(t, x.dtype)
    return t.reshape([-1] + [1] * (x.ndim - 1)) if t.ndim == 1 else t


def interpolate(keys, steps, between=slerp, is_loop=True):
    """Frames that pass through the key latents at equal distances.

    Args:
      keys: [F, ...] latents to pass through; frame i * steps is exactly keys[i].
      steps: frames from one key to the next.
      between: :func:`slerp` for z, :func:`lerp` for ws.
      is_loop: whether the last key leads back to the first, so that the frame after the last one is
        the first again. Else the last frame is the last key.

    Returns:
      [F * steps, ...] if is_loop, else [(F - 1) * steps + 1, ...].
    """
    ends = np.concatenate([keys, keys[:1]]) if is_loop else keys
    frames = [
        between(start, end, step / steps)
        for start, end in zip(ends[:-1], ends[1:])
        for step in range(steps)
    ]
    return np.stack(frames if is_loop else [*frames, keys[-1]])


def replace_components(latents, others, components):
    """Latents with the named components taken from others; the rest stays bit-equal.

    Args:
      latents: [N, K, ...].
      others: [N, K, ...].
      components: list of indices into K.

    Returns:
      [N, K, ...] copy.
    """
    edited = latents.copy()
    edited[:, components] = others[:, components]
    return edited


def replace_layers(ws, others, num_layers):
    """ws with the first ``num_layers`` layers (coarse ones) taken from others.

    Args:
      ws: [..., L, D].
      others: [..., L, D].
      num_layers: from 4x4 upwards.

    Returns:
      [..., L, D] copy.
    """
    mixed = ws.copy()
    mixed[..., :num_layers, :] = others[..., :num_layers, :]
    return mixed


def save_latents(path, z, ws, **arrays):
    """Write latents to an .npz file: z, ws and what else describes them (seeds, psi, labels)."""
    with atomic_write(path) as file:
        write_latents(file, z, ws, **arrays)


def write_latents(file, z, ws, **arrays):
    """Like :func:`save_latents`, into an open file."""
    np.savez(file, z=z, ws=ws, **arrays)


def load_ws(path, shape):
    """Read the ws of :func:`save_latents`.

    Args:
      path: .npz file with an array ``ws``.
      shape: of one sample as the network takes it, [K, L, D] or [L, D].

    Returns:
      [N, *shape] float32.

    Raises:
      UserError: no such file, no such array, or latents of another network.
    """
    arrays = read_arrays(path, lambda name: name == "ws")
    if "ws" not in arrays:
        raise UserError(f"{path}: holds {', '.join(arrays) or 'nothing'}, but no array 'ws'")
    ws = arrays["ws"]
    if ws.ndim != len(shape) + 1 or list(ws.shape[1:]) != list(shape):
        want = ["N", *shape]
        raise UserError(
            f"{path}: ws are {list(ws.shape)}, this network takes [{', '.join(map(str, want))}]"
        )
    return ws


def read_arrays(path, is_wanted):
    """The arrays in an .npz file of latents.

    Args:
      path: of the file.
      is_wanted: function(name) => whether to read this array.

    Returns:
      {name: float32 array of finite numbers, or None if it is not wanted}.

    Raises:
      UserError: no such file, one that cannot be read, or something else than finite numbers.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] if is_wanted(name) else None for name in stored}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # damaged zip files raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: not an .npz file of latents ({reason}); --save-latents writes one"
        ) from error
    return {name: x if x is None else _as_numbers(path, name, x) for name, x in arrays.items()}


def _as_numbers(path, name, array):
    """An array of a file as float32."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path}: {name} must be numbers, but is of type {array.dtype}")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{path}: {name} holds values that are not finite; make the file anew")
    return array
