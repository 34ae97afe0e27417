"""The graph of a training step: networks on every device, losses, optimizers, moving average.

A global batch of N images is split over R devices (replicas) and Q rounds, whose gradients are
accumulated. Replica r of R in round q of Q handles the samples q * R + r, + Q * R, + 2 * Q * R, ...
of the global batch, with the random numbers of those samples. So any split does the same training.

Of W workers (processes), worker w has the replicas w, w + W, ..., hence the samples w, w + W, ...
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from config.options import AugmentOptions, LoopOptions, OptimizerOptions
from dnnlib import tflib
from dnnlib.tflib.builders import find_builder
from training import loss
from training.augment import augment
from training.batch import Batch, Step, cosine_decay, mean_of, split_batch
from training.distributed import ALONE
from training.freeze import trained_variables
from training.inputs import Inputs
from training.networks import build_networks

# Phase => the function of a batch that it minimizes.
FUNCTIONS = {
    "G": loss.generator_loss,
    "G_reg": loss.generator_penalty,
    "D": loss.discriminator_loss,
    "D_reg": loss.discriminator_penalty,
}
REGULARIZERS = {"G": loss.GENERATOR_REGULARIZERS, "D": loss.DISCRIMINATOR_REGULARIZERS}


@dataclass
class Replica:
    """Networks and inputs of one device."""

    device: str
    G: Any
    D: Any
    reals: Any  # [N, C, H, W] uint8
    labels: Any  # [N, c_dim]
    fakes: dict = field(default_factory=dict)  # number of images => what G has made of so many


@dataclass
class Phase:
    """A part of an iteration: the update of one network by its loss or its regularizer."""

    name: str
    interval: int  # iterations
    optimizer: Any
    watched: dict  # name => [] tensor
    update: Any  # tf.Operation


class TrainingGraph:
    """Networks, losses and optimizers of a training. All state is in variables.

    Needs a default session (:func:`dnnlib.tflib.init_tf`).

    Args:
      config: resolved configuration, with the dataset's facts.
      devices: names of this worker's devices; one replica on each.
      workers: training.distributed.Workers, or Alone.

    Attributes:
      G, D, Gs: the networks of the first replica, and the moving average of G.
      split: Split of the batch.
      phases: list of Phase, in the order of an iteration.
      inputs: training.inputs.Inputs.
      augment_options: AugmentOptions.
      augment_p: probability of each augmentation in the next phases.
    """

    def __init__(self, config, devices, workers=ALONE):
        self._config, self.workers = config, workers
        self._options = options = LoopOptions(**config["loop"])
        self.augment_options = AugmentOptions(**config["aug"])
        self.augment_p = self.augment_options.p or 0.0
        resolution = config["facts"]["resolution"]
        num_replicas = len(devices) * workers.count
        self.split = split_batch(options.batch_size, options.batch_gpu, num_replicas, resolution)
        with tf.device("/cpu:0"):
            self._nimg = tf.placeholder(tf.int64, [], "nimg")
            self._round = tf.placeholder_with_default(np.int32(0), [], "round")
            self._phase = tf.placeholder_with_default(np.int32(0), [], "phase")
            self._fed_p = tf.placeholder_with_default(np.float32(0), [], "augment_p")
        self._means = {}  # running means of regularizers
        self._calls = {}  # phase, number of operations => (session, function that runs it)
        with tflib.tfutil.without_values():
            self._build_replicas(devices)
        self.G, self.D = self.replicas[0].G, self.replicas[0].D
        self.phases = self._build_phases()
        self._finish = self._build_finish()
        tflib.run([variable.initializer for variable in tf.global_variables()])

    # Building

    def _build_replicas(self, devices):
        """A copy of G and D, and inputs, on every device."""
        nets = []
        for device in devices:
            with tf.device(device):
                if not nets:
                    nets.append(build_networks(self._config))
                    self.Gs = nets[0][0].clone("Gs")
                else:
                    nets.append([net.clone() for net in nets[0]])
        shape = [self.split.batch_gpu, *nets[0][1].input_shapes[0][1:]]
        num_labels = self._config["facts"]["label_size"]
        self.inputs = Inputs(devices, shape, num_labels, self._round, self.split.num_rounds)
        facts = zip(devices, nets, self.inputs.heads)
        self.replicas = [Replica(device, *pair, *head) for device, pair, head in facts]

    def _generator_options(self):
        """Keywords of G in training."""
        options = {"maps": "none"}
        if self.split.num_rounds > 1:
            # Rounds move the running average of w as one batch would: after round q of Q the
            # average before the step has weight beta, and each round's mean (1 - beta) / Q.
            builder = find_builder(self._config["networks"]["generator"])
            beta = inspect.signature(builder).parameters["w_avg_beta"].default
            done = beta + (1 - beta) * tf.cast(self._round, tf.float32) / self.split.num_rounds
            options["w_avg_beta"] = done / (done + (1 - beta) / self.split.num_rounds)
        return options

    def _batches(self, phase, shrink):
        """The Batch of a phase on every replica, in a list; with 1/shrink of the samples."""
        split = self.split
        num = max(1, split.batch_gpu // shrink)
        stride = split.num_replicas * split.num_rounds
        step, seed = Step(self._nimg, split.num_rounds, self.workers), self._options.seed
        for index, replica in enumerate(self.replicas):
            first = index * self.workers.count + self.workers.rank
            if split.num_rounds > 1:
                first = self._round * split.num_replicas + first
            part = (seed, self._nimg, num * stride, first, stride)
            with tf.device(replica.device):
                # Not of the 8 bits, which TensorFlow 1.15 would slice on the host.
                reals = tf.cast(replica.reals, tf.float32)[:num] * (2 / 255) - 1
            Batch(
                replica.G,
                replica.D,
                tflib.StepRandom(*part, f"{phase}/"),
                replica.labels[:num],
                reals,
                self._generator_options(),
                device=replica.device,
                step=step,
                augmentation=None if self.augment_options.name == "none" else self._augment,
                # G is built once for all phases of as many images; the phase that runs is fed.
                fakes_rng=tflib.StepRandom(*part, [f"{name}/" for name in FUNCTIONS], self._phase),
                made=replica.fakes.setdefault(num, {}),
            )
        return step.batches

    def _augment(self, images, rng):
        """What D sees of images, [N, C, H, W]."""
        return augment(images, rng, self.augment_options, self._fed_p)

    def _build_phases(self):
        """Losses and updates of an iteration, in their order."""
        options = self._options
        phases = []
        for side, interval in (("G", options.g_reg_interval), ("D", options.d_reg_interval)):
            regularizer = self._config[f"{side}_reg"]["name"]
            has_reg = regularizer != "none"
            loss_opt, reg_opt = self._optimizers(side, interval if has_reg else None)
            phases.append(self._build_phase(side, f"loss/{side}", loss_opt))
            if has_reg:
                reg = (f"{side}_reg", f"reg/{regularizer}", reg_opt, interval)
                phases.append(self._build_phase(*reg, REGULARIZERS[side][regularizer].shrink))
        return phases

    def _optimizers(self, name, interval):
        """Optimizers of the loss and of its lazy regularizer (StyleGAN2, Sec. 3.1).

        With a regularizer every ``interval`` steps there are interval + 1 updates instead of
        interval; learning rate and decays are lowered such that they act per step as before.
        """
        ratio = 1.0 if interval is None else interval / (interval + 1)
        options = OptimizerOptions(**self._config[f"{name}_opt"])
        rate, decay_kimg = options.learning_rate * ratio, self._options.lr_decay_kimg
        if decay_kimg is not None:
            rate = cosine_decay(rate, 0.1 * rate, self._nimg, decay_kimg)
        kwargs = dict(
            learning_rate=rate,
            beta1=options.beta1**ratio,
            beta2=options.beta2**ratio,
            epsilon=options.epsilon,
            clip=options.clip,
            accumulate=self.split.num_rounds,
            all_reduce=self.workers.all_reduce if self.workers.count > 1 else None,
            num_workers=self.workers.count,
        )
        loss_opt = tflib.Optimizer(f"Loss{name}", **kwargs)
        return loss_opt, tflib.Optimizer(f"Reg{name}", share=loss_opt, **kwargs)

    def _build_phase(self, name, label, optimizer, interval=1, shrink=1):
        """One phase.

        Args:
          name: key of FUNCTIONS.
          label: what its loss is called in statistics.
          optimizer: tflib.Optimizer.
          interval: iterations.
          shrink: take 1/shrink of the batch.
        """
        batches, values = self._batches(name, shrink), []
        for batch in batches:
            with tf.device(batch.device):
                options = self._config[name if name.endswith("_reg") else f"{name}_loss"]
                values.append(FUNCTIONS[name](batch, **options))
        means = batches[0].step.means
        for index, batch in enumerate(batches):
            with tf.device(batch.device):
                # Through a common running mean every replica's gradient needs all values; the
                # optimizer averages over replicas, hence their sum.
                value = mean_of(values) * len(values) if means else values[index]
                if name[0] == "G":
                    trainables = batch.G.trainables
                else:
                    trainables = trained_variables(batch.D.trainables, self._options.freeze_d)
                optimizer.register_gradients(value * interval, trainables, index)
        with tf.device("/cpu:0"):
            parts = [{label: value, **batch.watched} for value, batch in zip(values, batches)]
            watched = {key: mean_of([part[key] for part in parts]) for key in parts[0]}
        update = optimizer.apply_updates()
        if means:
            self._means.update({key: variable for key, (variable, _) in means.items()})
            with tf.control_dependencies([update]):
                update = tf.group(*[variable.assign(after) for variable, after in means.values()])
        return Phase(name, interval, optimizer, watched, update)

    def _build_finish(self):
        """The end of an iteration: agree on dlatent_avg, move Gs."""
        updates = []
        if self.split.num_replicas > 1:
            averages = [replica.G.own_vars["dlatent_avg"] for replica in self.replicas]
            own = tf.add_n([average.read_value() for average in averages])
            mean = self.workers.all_reduce([own])[0] / self.split.num_replicas
            updates = [average.assign(mean).op for average in averages]
        half_life, rampup = self._options.ema_kimg * 1000, self._options.ema_rampup
        beta = 0.5 ** (self._options.batch_size / half_life) if half_life else 0.0
        if rampup is not None:
            so_far = tf.cast(self._nimg + self._options.batch_size, tf.float32) * rampup
            beta = 0.5 ** (self._options.batch_size / tf.minimum(so_far, max(half_life, 1e-8)))
        with tf.control_dependencies(updates):
            return self.Gs.setup_as_moving_average_of(self.G, beta)

    # Running

    def run_phase(self, phase, nimg, images, labels, following=None):
        """Do one update, in as many rounds as it takes.

        Args:
          phase: one of :attr:`phases`.
          nimg: images shown before this iteration.
          images: [N, C, H, W] uint8, this worker's part of the global batch.
          labels: [N, c_dim].
          following: images and labels of the next iteration, which are copied to the devices
            meanwhile; in one phase of each iteration.

        Returns:
          {name: float} of the watched values, means over this worker's part.
        """
        self.inputs.hold(images, labels)
        sums = dict.fromkeys(phase.watched, 0.0)
        for turn in range(self.split.num_rounds):
            feed, targets = self._feed(phase, nimg, turn), [phase.update]
            if following is not None:
                feed.update(self.inputs.ahead(*following, turn))
                targets.append(self.inputs.put)
            *values, norm = self._call(phase, feed, targets)
            for name, value in zip(phase.watched, values):
                sums[name] += float(value) / self.split.num_rounds
        return {**sums, f"grad_norm/{phase.name}": float(norm)}

    def _call(self, phase, feed, targets):
        """Run a phase: its watched values and the norm of its gradient."""
        session, call = self._calls.get((phase.name, len(targets)), (None, None))
        if session is not tf.get_default_session():
            tflib.assert_tf_initialized()
            session = tf.get_default_session()
            fetches = [*phase.watched.values(), phase.optimizer.grad_norm]
            call = tflib.tfutil.make_callable(session, list(feed), fetches, targets)
            self._calls[phase.name, len(targets)] = session, call
        return call(list(feed.values()))

    def finish_iteration(self, nimg):
        """Move the generator's moving average; call once after the phases of an iteration.

        Args:
          nimg: images shown before this iteration.
        """
        tflib.run([self._finish, self.inputs.end_step()], {self._nimg: nimg})

    def gradients(self, phase, nimg, images, labels, update=False):
        """The first replica's gradients in a phase, or in its first round.

        Args:
          phase: one of :attr:`phases`.
          nimg: images shown before this iteration.
          images: [N, C, H, W] uint8, this worker's part of the global batch.
          labels: [N, c_dim].
          update: do what :meth:`run_phase` does in this round, with these gradients.

        Returns:
          {name of the variable in its network: array}.
        """
        self.inputs.hold(images, labels)
        feed = self._feed(phase, nimg, turn=0)
        ops = [phase.update] if update else []
        return tflib.run([phase.optimizer.gradients(), ops], feed)[0]

    def _feed(self, phase, nimg, turn):
        """Placeholders and values of one round of a phase."""
        fed = {self._nimg: nimg, self._round: turn, self._fed_p: self.augment_p}
        return {**fed, self._phase: list(FUNCTIONS).index(phase.name)}

    # State

    def state_vars(self):
        """All that a checkpoint has to hold: {name: variable}."""
        nets = {"G": self.G, "D": self.D, "Gs": self.Gs}
        state = {f"{key}/{k}": v for key, net in nets.items() for k, v in net.vars.items()}
        for phase in self.phases:
            for name, variable in phase.optimizer.state_vars().items():
                state[f"{phase.optimizer.name}/{name}"] = variable
        return {**state, **self._means}

    def sync_replicas(self):
        """Give all replicas the state of the first one; call after a restore."""
        for replica in self.replicas[1:]:
            replica.G.copy_vars_from(self.G)
            replica.D.copy_vars_from(self.D)
        for phase in self.phases:
            tflib.run(phase.optimizer.sync_replicas())
