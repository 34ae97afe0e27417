"""Several processes that train together, on one machine or many, each with devices of its own.

Every worker runs the whole graph on its part of the batch. Gradients are summed by TensorFlow's
collective all-reduce between the workers' servers (a ring: each of W workers sends and receives
2 (W - 1) / W of the gradients' size), which leaves the same bits with everyone. The first worker
has the run directory: it reads checkpoints, which are handed to all, logs, measures and saves.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time

import numpy as np
from tensorflow.python.ops import collective_ops  # no public name in graph mode

from config.resolve import contradictions
from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.compat import tf
from training.distributed_watch import Watch

START_TIMEOUT = 600.0  # seconds until all workers have to be there
BUCKET = 8 << 20  # numbers that are reduced at once, so that early gradients need not wait
# What an operation raises that needs another worker, which is lost.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
LOST += (tf.errors.DeadlineExceededError, tf.errors.InternalError)
_GROUP = 1  # key of the group of all workers
_SCOPED_ALLOCATOR_OFF = 2  # RewriterConfig.OFF


class DivergedError(UserError):
    """The training diverged, on all workers alike."""


class Alone:
    """The workers of a training that is one process. The interface of :class:`Workers`."""

    rank, count, is_first = 0, 1, True

    def all_reduce(self, tensors):
        """Sum tensors over all workers; in the graph.

        Args:
          tensors: list of float32 tensors of static shapes, the same for every worker.

        Returns:
          List of their sums, the same bits on every worker.
        """
        return list(tensors)

    def total(self, tensor):
        """Sum a tensor over all workers; gradients of the sum flow to the tensors of all."""
        return tensor

    def sum(self, values):
        """Sum numbers over all workers, at once; every worker has to call it.

        Args:
          values: list of float, as many on every worker.

        Returns:
          List of float.
        """
        return list(values)

    def broadcast(self, variables):
        """Give variables of all workers the values of the first one's.

        Args:
          variables: list of variables.
        """

    def share(self, data):
        """What the first worker has, for all.

        Args:
          data: anything that JSON can hold; only the first worker's counts.
        """
        return data

    def begin_step(self):
        """Note that a step begins, for which all workers need each other."""

    def be_busy(self):
        """Note that this worker may take long until its next step."""

    @contextlib.contextmanager
    def watched(self):
        """Within this context the loss of another worker ends this one."""
        yield


ALONE = Alone()


class Workers(Alone):
    """Several workers; needs the session of :func:`join`.

    Args:
      cluster: dnnlib.cluster.Cluster.
      timeout: seconds without a sign of life after which a worker is lost.
      session: of a graph of its own, for what is summed at once. The graph of the training is what
        it is without other workers, and so are the initial values that TensorFlow draws in it: they
        depend on the number of operations before.
    """

    def __init__(self, cluster, timeout, session):
        self.rank, self.count = cluster.rank, len(cluster.addresses)
        self.is_first = self.rank == 0
        self._addresses, self._timeout = cluster.addresses, timeout
        self._session, self._num_reductions = session, 0
        self._sums = {}  # number of values => (placeholder, sum)
        self._watch = Watch(cluster.addresses, cluster.rank, timeout)

    # In the graph

    def _reduce(self, tensor):
        """Sum of a tensor over the workers. Every worker makes its operations in one order."""
        self._num_reductions += 1
        with tf.device("/cpu:0"):
            own = tf.identity(tensor)  # on this device: TensorFlow 1.15 wants it named
            return collective_ops.all_reduce(
                own, self.count, _GROUP, self._num_reductions, "Add", "Id"
            )

    def total(self, tensor):  # noqa: D102 - see Alone
        @tf.custom_gradient
        def reduce(x):
            return self._reduce(x), self._reduce  # d(all sums)/dx: the sum of all gradients

        return reduce(tensor)

    def all_reduce(self, tensors):  # noqa: D102 - see Alone
        sums, bucket, size = [], [], 0
        for index, tensor in enumerate(tensors):
            bucket.append(tensor)
            size += tensor.shape.num_elements()
            if size >= BUCKET or index == len(tensors) - 1:
                flat = [tf.reshape(part, [-1]) for part in bucket]
                total = self._reduce(tf.concat(flat, 0) if len(flat) > 1 else flat[0])
                parts = tf.split(total, [part.shape.num_elements() for part in bucket])
                sums += [tf.reshape(t, part.shape) for t, part in zip(parts, bucket)]
                bucket, size = [], 0
        return sums

    # At once

    def sum(self, values):  # noqa: D102 - see Alone
        if len(values) not in self._sums:
            with self._session.graph.as_default(), tf.device("/cpu:0"):
                placeholder = tf.placeholder(tf.float64, [len(values)])
                self._sums[len(values)] = placeholder, self._reduce(placeholder)
        placeholder, total = self._sums[len(values)]
        return [float(value) for value in self._session.run(total, {placeholder: values})]

    def broadcast(self, variables):  # noqa: D102 - see Alone
        kinds = {}
        for variable in variables:
            kinds.setdefault(variable.dtype.base_dtype, []).append(variable)
        for same in kinds.values():
            with tf.name_scope(None), tf.device("/cpu:0"):
                mine = [v.read_value() if self.is_first else tf.zeros_like(v) for v in same]
                values = self.all_reduce(mine)
            tflib.run([v.assign(value).op for v, value in zip(same, values)])

    def share(self, data):  # noqa: D102 - see Alone
        text = json.dumps(data).encode() if self.is_first else b""
        (size,) = self.sum([len(text)])
        codes = self.sum(list(text) if self.is_first else [0] * int(size))
        return json.loads(bytes(int(code) for code in codes).decode())

    def begin_step(self):  # noqa: D102 - see Alone
        self._watch.begin_step()

    def be_busy(self):  # noqa: D102 - see Alone
        self._watch.be_busy()

    # Beginning and end

    @contextlib.contextmanager
    def watched(self):  # noqa: D102 - see Alone
        port = self._watch.lead() if self.is_first else 0
        (port,) = self.sum([port])
        if not self.is_first:
            self._watch.follow(int(port))
        try:
            yield
        except (SystemExit, DivergedError):  # of all workers alike
            self._watch.leave()
            raise
        except BaseException as error:
            if isinstance(error, LOST):  # the watch is going to name it, and to end this process
                time.sleep(2 * self._timeout)
            lines = str(error).splitlines() or [type(error).__name__]
            self._watch.leave(failure=lines[0])
            raise
        self._watch.leave()


def join(cluster, settings, timeout):
    """Start this worker's server, wait for the others, and make the default session.

    Args:
      cluster: dnnlib.cluster.Cluster; None for a process that is alone.
      settings: of the session, see dnnlib.tflib.init_tf.
      timeout: seconds without a sign of life after which a worker is lost.

    Returns:
      Workers, or Alone.

    Raises:
      UserError: the server cannot be started, or another worker's does not answer.
    """
    if cluster is None:
        tflib.init_tf(settings)
        return ALONE
    settings = {
        **settings,
        # A worker's graph is placed on its own devices; only collective operations reach others.
        "device_filters": [f"/job:worker/task:{cluster.rank}"],
        "experimental.collective_group_leader": "/job:worker/replica:0/task:0",
        "graph_options.rewrite_options.scoped_allocator_optimization": _SCOPED_ALLOCATOR_OFF,
        # As often as TensorFlow would: after a single time, 1.15 fails at collective operations.
        "graph_options.rewrite_options.meta_optimizer_iterations": 0,
    }
    own = {name: value for name, value in settings.items() if not name.startswith("rnd.")}
    own.setdefault("gpu_options.allow_growth", True)
    try:
        server = tf.train.Server(
            tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
            job_name="worker",
            task_index=cluster.rank,
            config=tflib.session_config(own),
        )
    except tf.errors.OpError as error:
        address = cluster.addresses[cluster.rank]
        raise UserError(
            f"worker {cluster.rank} cannot listen at {address} ({error.message}); is the port in "
            "use? Name another in TF_CONFIG"
        ) from error
    _wait_for(cluster)
    tflib.init_tf(settings, server.target)
    own_session = tf.Session(server.target, tf.Graph(), tflib.session_config(settings))
    return Workers(cluster, timeout, own_session)


def _wait_for(cluster):
    """Wait until every worker's server takes connections."""
    deadline = time.monotonic() + START_TIMEOUT
    for rank, address in enumerate(cluster.addresses):
        host, _, port = address.rpartition(":")
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"worker {rank} does not answer at {address} ({error}); start all "
                        f"{len(cluster.addresses)} workers within {START_TIMEOUT:.0f} s"
                    ) from error
                time.sleep(0.2)


def agree(workers, config, dataset):
    """Give all workers the first one's configuration; compare flags and datasets.

    Args:
      workers: Workers.
      config: resolved configuration, with "facts"; that of the first worker is kept, but for what
        belongs to a machine.
      dataset: training.dataset.Dataset.

    Raises:
      UserError: flags or images differ.
    """
    if workers.count == 1:
        return
    first = workers.share({"config": config, "images": dataset.fingerprint()})
    differing = contradictions(first["config"]["flags"], config["flags"])
    message = ""
    if differing:
        name, theirs, ours = differing[0]
        message = f"has --{name}={ours}, and the first worker --{name}={theirs}; start all alike"
    elif first["images"] != dataset.fingerprint():
        message = f"has other images in {dataset.path} than the first worker; copy them"
    wrong = np.flatnonzero(
        workers.sum(
            [float(bool(message) and rank == workers.rank) for rank in range(workers.count)]
        )
    )
    if message:
        raise DivergedError(f"worker {workers.rank} {message}")
    if len(wrong):
        raise DivergedError(f"worker {wrong[0]} differs from the first one; see what it says")
    for name, value in first["config"].items():
        if name not in ("run", "data"):
            config[name] = value


class Onlooker:
    """What workers but the first do between steps: nothing but to keep count.

    Has the interface of training.maintenance.Maintenance.
    """

    def __init__(self, state):
        self._state = state

    def begin(self, seconds):
        """Nothing: the first worker says it."""

    def end_first_step(self):
        """Nothing."""

    def end_step(self):
        """Nothing."""

    def end_tick(self, is_done):
        """Count."""
        del is_done
        tflib.collect_autosummaries()
        self._state.tick, self._state.tick_nimg = self._state.tick + 1, self._state.nimg

    def last_snapshot(self):
        """None: the first worker has it."""

    def stop(self):
        """Nothing: the first worker saves the state."""

    def close(self):
        """Nothing."""
