"""Do native operations train as the reference does? Every gradient, in states of a training.

    python bench/native_gradients.py results/RUN [--steps 1,10,100] [--data-dir datasets]

States are the run's first snapshot, its checkpoints, and what native operations make of each in
some steps. In every state, both forms of the operations get the same images and random numbers, and
each phase's gradients are compared, variable by variable. What rounding alone explains is the
change of the reference's gradients when every weight moves to a neighbouring float32. One update
and the moving average are compared with Adam and its formula in NumPy.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from dnnlib import tflib
from dnnlib.tflib import native
from dnnlib.tflib.compat import configure, tf


class Side:
    """A training graph with one form of the operations, in a graph and a session of its own.

    Args:
      config: resolved configuration, with the dataset's facts.
      custom_ops: "native" or "ref".
      session_config: tf.ConfigProto or None.
    """

    def __init__(self, config, custom_ops, session_config=None):
        from training.graph import TrainingGraph  # noqa: PLC0415 - after TensorFlow is configured

        self.config = config
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.set_random_seed(0)
            self._session = tf.Session(config=session_config)
            with self._session.as_default():
                native.set_custom_ops(custom_ops)
                self.training = TrainingGraph(config, ["/cpu:0"])
                self._vars = self.training.state_vars()
                native.set_custom_ops("auto")

    @property
    def phases(self):
        """The phases of an iteration."""
        return self.training.phases

    def load(self, state):
        """Set {name: array}, some variables of the training's state or all."""
        with self._graph.as_default(), self._session.as_default():
            tflib.set_vars({self._vars[name]: array for name, array in state.items()})

    def state(self):
        """{name: array} of the whole state."""
        return self._session.run(self._vars)

    def gradients(self, index, nimg, images, update=False):
        """Gradients of the phase with a number, and perhaps its update: {name: array}."""
        labels = np.zeros([len(images), 0], np.float32)
        with self._session.as_default():
            found = self.training.gradients(self.phases[index], nimg, images, labels, update)
            if update and self.phases[index].name == "D":
                self.training.finish_iteration(nimg)
            return found


def relative_errors(found, wanted):
    """Largest difference of each variable's gradient, relative to its largest value.

    Args:
      found: {name: array}.
      wanted: {name: array}.

    Returns:
      {name: float}; 0 where both are zero.
    """
    errors = {}
    for name, value in wanted.items():
        difference = np.abs(found[name].astype(np.float64) - value).max()
        errors[name] = float(difference / (np.abs(value).max() or 1.0)) if difference else 0.0
    return errors


def direction(found, wanted):
    """(1 - cosine of the whole gradients, ratio of their norms - 1), in float64."""
    a, b = (
        np.concatenate([gradient[name].ravel() for name in wanted]).astype(np.float64)
        for gradient in (found, wanted)
    )
    norms = np.linalg.norm(a), np.linalg.norm(b)
    # Not 1 - a b / (|a| |b|), in which a small angle drowns.
    return float(np.sum((a / norms[0] - b / norms[1]) ** 2) / 2), float(norms[0] / norms[1] - 1)


def neighbours(state, rng):
    """The weights of G and D moved to the next float32 above or below: {name: array}."""
    moved = {}
    for name, value in state.items():
        if name.startswith(("G/", "D/")) and value.dtype == np.float32:
            towards = np.where(rng.rand(*value.shape) < 0.5, -np.inf, np.inf).astype(np.float32)
            moved[name] = np.nextafter(value, towards)
    return moved


def numpy_adam(before, gradients, optimizer, net):
    """What an update makes of a network's trainable variables, in float64: {name: change}."""
    memory = f"Loss{net}"
    step = before[f"{memory}/step"] + 1
    b1, b2 = optimizer.beta1, optimizer.beta2
    rate = optimizer.learning_rate * np.sqrt(1 - b2**step) / (1 - b1**step)
    changes = {}
    for name, single in gradients.items():
        gradient = single.astype(np.float64)
        first = before[f"{memory}/{name}/m"].astype(np.float64) * b1 + (1 - b1) * gradient
        second = before[f"{memory}/{name}/v"].astype(np.float64) * b2 + (1 - b2) * gradient**2
        changes[name] = -rate * first / (np.sqrt(second) + optimizer.epsilon)
    return changes


def check_update(side, index, nimg, images):
    """Largest differences of an update from Adam's formula, and of Gs from a moving average's.

    Returns:
      (difference of a change over the learning rate, difference of an average over its change or
      None); both in units of what the numbers before and after can hold, half a float32 spacing.
    """
    phase = side.phases[index]
    net = phase.name[0]
    before = side.state()
    gradients = side.gradients(index, nimg, images, update=True)
    after, changes = side.state(), numpy_adam(before, gradients, phase.optimizer, net)
    adam = max(
        spacings(after[f"{net}/{name}"], before[f"{net}/{name}"] + change, change)
        for name, change in changes.items()
    )
    if phase.name != "D":
        return adam, None
    loop = side.config["loop"]
    beta = 0.5 ** (loop["batch_size"] / (loop["ema_kimg"] * 1000))
    average = 0.0
    for name in side.training.G.trainables:
        old, new = (before[f"Gs/{name}"].astype(np.float64), after[f"G/{name}"])
        change = (new - old) * (1 - beta)
        average = max(average, spacings(after[f"Gs/{name}"], old + change, change))
    return adam, average


def spacings(found, wanted, change):
    """Largest difference, in float32 spacings of the result and of 1e-4 of the change."""
    unit = np.spacing(np.abs(wanted).astype(np.float32)) + 1e-4 * np.abs(change)
    return float(np.max(np.abs(found - wanted) / unit, initial=0.0))


def first_state(run):
    """The run's first snapshot: networks alone; (images shown, {name: array})."""
    from dnnlib.submission.run_dir import find_snapshots  # noqa: PLC0415 - after TensorFlow

    kimg, path = find_snapshots(run)[0]
    with tf.Graph().as_default(), tf.Session().as_default():
        nets = dict(zip(("G", "D", "Gs"), tflib.load_networks(str(path))))
        state = {
            f"{key}/{name}": value
            for key, net in nets.items()
            for name, value in tflib.run(net.vars).items()
        }
    return kimg * 1000, state


def visited_states(run):
    """(images shown, {name: array}) of the first snapshot and of every checkpoint."""
    yield first_state(run)
    for path in sorted(Path(run).glob("training-state-*.npz")):
        with np.load(str(path)) as file:
            meta = json.loads(str(file["meta"]))
            yield meta["nimg"], {name: file[name] for name in file.files if name != "meta"}


def special_states(state):
    """(title, {name: array}) of states with special values, made from an ordinary one."""
    noise = {k: np.zeros_like(v) for k, v in state.items() if k.endswith("noise_strength")}
    yield "no noise", {**state, **noise}
    queries = ("AttLayer_l2n/weight_query", "AttLayer_l2n/bias_query")
    scores = {k: 100 * v for k, v in state.items() if k.endswith(queries)}
    yield "scores x 100", {**state, **scores}
    zeros = {k: np.zeros_like(v) for k, v in state.items() if k.endswith("/bias")}
    yield "no bias", {**state, **zeros}


def compare(sides, batches, title):
    """Compare the gradients in the state that the native side has; a line for each phase.

    Args:
      sides: {"native": Side, "ref": Side}.
      batches: list of (images shown, images [N, C, H, W]).
      title: what to call the state.
    """
    state = sides["native"].state()
    moved = neighbours(state, np.random.RandomState(0))
    for index, phase in enumerate(sides["ref"].phases):
        gradients = {}
        for name, choice, values in (
            ("native", "native", state),
            ("rounding", "ref", moved),
            ("ref", "ref", state),
        ):
            sides[choice].load(values)
            gradients[name] = [sides[choice].gradients(index, *batch) for batch in batches]
        cells = [summary(gradients[name], gradients["ref"]) for name in ("native", "rounding")]
        print(f"{title:16s} {phase.name:6s} {cells[0]} | rounding: {cells[1]}", flush=True)


def summary(found, wanted):
    """Errors of every variable in every batch, and of the whole gradient, in a line."""
    errors = [relative_errors(*pair) for pair in zip(found, wanted)]
    every = [error for batch in errors for error in batch.values()]
    worst = max(((e, name) for batch in errors for name, e in batch.items()))
    angles, norms = zip(*(direction(*pair) for pair in zip(found, wanted)))
    return (
        f"median {np.median(every):.1e} 95% {np.percentile(every, 95):.1e} "
        f"largest {worst[0]:.1e} ({worst[1]}) "
        f"1-cos {np.median(angles):.1e} to {max(angles):.1e} norm {np.median(norms):+.1e}"
    )


def main():
    """Print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--steps", default="1,10,100", help="native steps from each state on")
    parser.add_argument("--batches", type=int, default=6, help="batches compared in each state")
    parser.add_argument("--data-dir", default="datasets")
    args = parser.parse_args()
    configure()
    from training.dataset import Dataset  # noqa: PLC0415 - after TensorFlow is configured

    config = json.loads((args.run / "config.json").read_text())
    options, loop = config["data"], config["loop"]
    path = Path(args.data_dir) / options["dataset"]
    dataset = Dataset(path, options["resolution"], seed=loop["seed"])
    sides = {choice: Side(config, choice) for choice in ("native", "ref")}
    side, num = sides["native"], loop["batch_size"]
    fresh = side.state()

    def batches(nimg, count):
        stream = dataset.iterate(nimg, num)
        places = range(nimg, nimg + count * num, num)
        return [(place, next(stream)[0]) for place in places]

    for start, visited in visited_states(args.run):
        side.load({**fresh, **visited})
        done = 0
        for target in [0, *(int(step) for step in args.steps.split(",") if step)]:
            for nimg, images in batches(start + done * num, target - done):
                for index, phase in enumerate(side.phases):
                    if nimg // num % phase.interval == 0:
                        side.gradients(index, nimg, images, update=True)
            done = target
            last = batches(start + done * num, args.batches)
            compare(sides, last, f"{start / 1000:g} kimg + {target}")
        for index, phase in enumerate(side.phases):
            adam, average = check_update(side, index, *last[0])
            more = "" if average is None else f", moving average {average:.2f}"
            print(f"{start / 1000:g} kimg, update {phase.name}: Adam {adam:.2f}{more} spacings")
    for title, special in special_states(side.state()):
        side.load(special)
        compare(sides, last, title)


if __name__ == "__main__":
    main()
