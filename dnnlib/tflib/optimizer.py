"""Adam for networks on one or several devices, with accumulation, clipping and shared state.

Adam: Kingma & Ba 2015, arXiv:1412.6980. Lazy regularization: StyleGAN2, Karras et al. 2020,
arXiv:1912.04958, Sec. 3.1.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.errors import UserError
from dnnlib.tflib import compat, light, tfutil
from dnnlib.tflib.variables import create_zeros

# What StyleGAN2's configurations call the algorithm.
ADAM_NAMES = ("tf.train.AdamOptimizer", "dnnlib.tflib.optimizer.SimpleAdam")


class _Memory:
    """What Adam remembers between updates; optimizers may share it."""

    def __init__(self):
        self.step = create_zeros("step", [], tf.int64)
        self.moments = {}  # variable name => (first moment, second moment)
        self.by_replica = {}  # replica => {name for checkpoints: moment}

    def create(self, named_variables, replica):
        """Make the moments of {name: variable} that are not there yet."""
        state = self.by_replica.setdefault(replica, {})
        for name, variable in named_variables.items():
            if variable.name not in self.moments:
                with tf.device(variable.device):
                    for suffix in ("m", "v"):
                        slot = f"{variable.op.name}/{suffix}"
                        state[f"{name}/{suffix}"] = create_zeros(slot, variable.shape)
                self.moments[variable.name] = (state[f"{name}/m"], state[f"{name}/v"])


class Optimizer:
    """Adam, shared between the replicas, rounds and regularizers of one network.

    Each replica registers the loss on its own part of the batch with its own copy of the variables;
    gradients are averaged over replicas and every copy gets the same update. With ``accumulate=Q``,
    one update takes Q runs of :meth:`apply_updates`; gradients are averaged over them. So R
    replicas and Q rounds of N samples do the same as one batch of R * Q * N.

    An update whose gradient is not finite is skipped and counted in :attr:`num_skipped`: the values
    stay as they were, and the training loop can stop with a message. (Finite means that the global
    norm is; in float32 it overflows at about 1e19.)

    Args:
      name: variable scope of the state.
      tf_optimizer: StyleGAN2's choice of the algorithm; only Adam's name is taken.
      learning_rate: number or scalar tensor.
      beta1: decay of the first moment.
      beta2: decay of the second moment.
      epsilon: added to the root of the second moment.
      clip: upper bound of the global norm of the averaged gradient; None = no bound.
      share: Optimizer of the same variables whose moments and step count this one uses and
        updates. For a lazy regularizer: the optimizer of the loss.
      accumulate: Q, runs for each update.
      all_reduce: function that sums a list of tensors over several processes, each of which has as
        many replicas and makes the same update; None for one process.
      num_workers: number of these processes.
      minibatch_multiplier: StyleGAN2's name of ``accumulate``, or None.
      use_loss_scaling: must be False: nothing is computed in float16 here, and bfloat16 has
        float32's range.

    Raises:
      UserError: an algorithm, or loss scaling, that is not to be had.

    Attributes:
      grad_norm: [] tensor, there after :meth:`apply_updates`; global norm of the averaged gradient
        before clipping. 0 in runs that only accumulate.
      num_skipped: [] int64 variable; updates skipped because the gradient was not finite.
    """

    def __init__(
        self,
        name="Train",
        tf_optimizer="tf.train.AdamOptimizer",
        learning_rate=0.001,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        clip=None,
        share=None,
        accumulate=1,
        all_reduce=None,
        num_workers=1,
        minibatch_multiplier=None,
        use_loss_scaling=False,
    ):
        if tf_optimizer not in ADAM_NAMES:
            raise UserError(
                f"tf_optimizer={tf_optimizer!r}: must be one of {', '.join(ADAM_NAMES)}; its state "
                "is shared between devices and regularizers, so no other algorithm is supported"
            )
        if use_loss_scaling:
            raise UserError(
                "use_loss_scaling=True: nothing is computed in float16 here, so losses need no "
                "scaling; leave it out"
            )
        if minibatch_multiplier is not None:
            accumulate = minibatch_multiplier
        if accumulate < 1:
            raise ValueError(f"accumulate must be at least 1, got {accumulate}")
        self.name = name
        self.learning_rate = learning_rate
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.clip = clip
        self.accumulate = accumulate
        self._all_reduce, self._num_workers = all_reduce, num_workers
        self.grad_norm = None
        self._names = []  # of the variables, the same for every replica
        self._replicas = {}  # replica => list of (gradient, variable)
        self._update_op = None
        self._owns_memory = share is None
        with tf.name_scope(None):
            self._scope = tf.get_default_graph().unique_name(name.replace("/", "_"))
        with self._state_scope():
            self.num_skipped = create_zeros("num_skipped", [], tf.int64)
            self._memory = _Memory() if share is None else share._memory

    def _state_scope(self):
        """Context in which state variables are made."""
        return tfutil.absolute_variable_scope(self._scope, reuse=False)

    def register_gradients(self, loss, trainables, replica=0):
        """Differentiate a loss; call once for each replica, under its device.

        Args:
          loss: [] or [N]; its mean is what the replica minimizes.
          trainables: {name: variable} as ``Network.trainables``, or a list of variables; the same
            for every replica. Variables that the loss does not depend on get a zero gradient.
          replica: index of the device.
        """
        if self._update_op is not None:
            raise RuntimeError(f"{self.name}: gradients registered after apply_updates()")
        if replica in self._replicas:
            raise ValueError(f"{self.name}: replica {replica} is registered twice")
        if not isinstance(trainables, dict):
            trainables = {variable.op.name: variable for variable in trainables}
        self._names, variables = list(trainables), list(trainables.values())
        with tf.name_scope(self.name + "_grad"):
            gradients = tf.gradients(tf.reduce_mean(loss), variables)
            if all(gradient is None for gradient in gradients):
                raise ValueError(f"{self.name}: the loss depends on none of the variables")
            self._replicas[replica] = []
            for gradient, variable in zip(gradients, variables):
                with tf.device(variable.device):
                    dense = tf.zeros(variable.shape) if gradient is None else gradient
                    self._replicas[replica].append((tf.convert_to_tensor(dense), variable))
        with self._state_scope():
            self._memory.create(trainables, replica)

    def gradients(self, replica=0):
        """The registered gradients of a replica: {name in ``trainables``: tensor}."""
        return {name: pair[0] for name, pair in zip(self._names, self._replicas[replica])}

    def apply_updates(self, allow_no_op=False):
        """Build the update.

        Args:
          allow_no_op: without registered gradients, do nothing instead of raising RuntimeError.

        Returns:
          tf.Operation; running it ``accumulate`` times makes one update.
        """
        if self._update_op is None:
            replicas = [self._replicas[index] for index in sorted(self._replicas)]
            if not replicas and allow_no_op:
                return tf.no_op(name=f"{self.name}_NoUpdate")
            if not replicas:
                raise RuntimeError(f"{self.name}: no gradients are registered")
            shapes = [[v.shape.as_list() for _, v in pairs] for pairs in replicas]
            if any(other != shapes[0] for other in shapes):
                raise ValueError(f"{self.name}: the replicas have different variables")
            with tf.name_scope(self.name + "_apply"), self._state_scope():
                build = self._update if self.accumulate == 1 else self._accumulate
                self.grad_norm = build(replicas)
                self._update_op = self.grad_norm.op
        return self._update_op

    def _accumulate(self, replicas):
        """Add to the sums of the rounds; the last round updates and clears them. => norm []."""
        count = create_zeros("round", [], tf.int64)
        sums, adds = [], [count.assign_add(1).op]
        for index, pairs in enumerate(replicas):
            sums.append([])
            for position, (gradient, variable) in enumerate(pairs):
                with tf.device(variable.device):
                    total = create_zeros(f"sum{index}/{position}", variable.shape)
                    adds.append(total.assign_add(gradient).op)
                    sums[index].append((total, variable))

        def finish():
            summed = [[(total.read_value(), v) for total, v in pairs] for pairs in sums]
            norm = self._update(summed)
            with tf.control_dependencies([norm]):
                totals = [total for pairs in sums for total, _ in pairs]
                resets = [total.assign(tf.zeros(total.shape)).op for total in totals]
                resets.append(count.assign(0).op)
            with tf.control_dependencies(resets):
                return tf.identity(norm)

        with tf.control_dependencies(adds):
            is_last = count.read_value() >= self.accumulate
        return tf.cond(is_last, finish, lambda: tf.constant(0.0))

    def _update(self, replicas):
        """Average over replicas and rounds, clip, update every copy. => norm []."""
        averaged = [[] for _ in replicas]  # replica => gradients
        parts = len(replicas) * self.accumulate * self._num_workers
        for totals in self._sums(replicas):
            for gradients, total in zip(averaged, totals):
                with tf.device(total.device):
                    gradients.append(total / parts if parts > 1 else total)
        # All replicas have the same gradients: the first one's norm is everyone's.
        half_squares = [tf.nn.l2_loss(gradient) for gradient in averaged[0]]
        norm = tf.sqrt(2.0 * tf.add_n(half_squares))
        scale = None if self.clip is None else self.clip / tf.maximum(norm, self.clip)

        def apply():
            # The step count is read once and shared by all variables of this update.
            step = tf.cast(self._memory.step.assign_add(1, read_value=True), tf.float64)
            betas = [_float64(beta) for beta in (self.beta1, self.beta2)]
            powers = [tf.cast(tf.pow(beta, step), tf.float32) for beta in betas]
            rates = (self.learning_rate, self.beta1, self.beta2, self.epsilon)
            rates = [tf.cast(rate, tf.float32) for rate in rates]
            updates = []
            for pairs, gradients in zip(replicas, averaged):
                for (_, variable), gradient in zip(pairs, gradients):
                    clipped = gradient if scale is None else gradient * scale
                    updates.append(self._adam(variable, clipped, powers, rates))
            return tf.group(*updates)

        def skip():
            return tf.group(self.num_skipped.assign_add(1).op)

        with tf.control_dependencies([tf.cond(tf.is_finite(norm), apply, skip)]):
            return tf.identity(norm)

    def _sums(self, replicas):
        """For each variable, the sums of its gradients over everything, one on each device."""
        own = [compat.all_sum(list(parts)) for parts in zip(*[_gradients(r) for r in replicas])]
        if self._all_reduce is None:
            return own
        sums = []
        for parts, total in zip(own, self._all_reduce([parts[0] for parts in own])):
            sums.append([])
            for part in parts:
                with tf.device(part.device):
                    sums[-1].append(tf.identity(total))
        return sums

    def _adam(self, variable, gradient, powers, rates):
        """One variable's update.

        Args:
          variable: to be updated.
          gradient: of its shape.
          powers: beta1 and beta2 to the power of the step count.
          rates: learning rate, beta1, beta2 and epsilon, tensors shared by all variables.
        """
        first, second = self._memory.moments[variable.name]
        with tf.device(variable.device):
            slots = [_handle(x) for x in (variable, first, second)]
            given = [*slots, *powers, *rates, gradient]
            return light.operation("ResourceApplyAdam", given, [], T=gradient.dtype)

    def state_vars(self):
        """What a checkpoint has to hold between two updates: {name: variable}.

        The first replica stands for all, see :meth:`sync_replicas`. Empty for an optimizer that
        shares another one's state.
        """
        if not self._owns_memory:
            return {}
        return dict({"step": self._memory.step}, **self._memory.by_replica.get(0, {}))

    def sync_replicas(self):
        """Operation that copies the first replica's state to the others; run after a restore."""
        first = self._memory.by_replica.get(0, {})
        copies = []
        for replica, state in self._memory.by_replica.items():
            if replica != 0:
                copies += [slot.assign(first[name]).op for name, slot in state.items()]
        return tf.group(*copies)

    def reset_optimizer_state(self):
        """Forget everything: moments, step count, skipped updates, sums of unfinished rounds."""
        own = [v for v in tf.global_variables() if v.op.name.startswith(self._scope + "/")]
        tfutil.run([variable.initializer for variable in own])


def _gradients(pairs):
    return [gradient for gradient, _ in pairs]


def _handle(variable):
    """Handle of a variable, made in this branch of a tf.cond: one from outside costs a Switch."""
    name = variable.handle.op.get_attr("shared_name")
    facts = dict(dtype=variable.dtype, shape=variable.shape, shared_name=name, container=b"")
    return light.output("VarHandleOp", [], tf.resource, **facts)


def _float64(x):
    """Number or scalar tensor as float64, where powers of 0.99 stay exact for long runs."""
    return tf.cast(x, tf.float64) if tfutil.is_tf_expression(x) else np.float64(x)
