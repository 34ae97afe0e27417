"""What a step reads, in the devices' memory; the next step's is copied there while this one runs.

On every device stands a queue: in front the batch of this step, behind it the next one, each in as
many entries as a step has rounds. Phases look at an entry and leave it there, so that a batch is
copied once however many phases need it. Nothing of this is state: a checkpoint counts the images of
steps that are done, and whoever resumes begins with empty queues.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from dnnlib import tflib


class Inputs:
    """The queues of all devices.

    Args:
      devices: names of the devices.
      images: shape of the images of one round on one device, [N, C, H, W].
      num_labels: features of a label; 0: labels have no place in the queues.
      turn: [] int32 tensor, number of the round that is running.
      num_rounds: rounds of a step.

    Attributes:
      heads: for each device (images uint8 [N, C, H, W], labels float32 [N, c_dim]) of this round.
      put: operation that puts the entries of one round, see :meth:`ahead`, into the queues.
    """

    def __init__(self, devices, images, num_labels, turn, num_rounds):
        self._num_rounds = num_rounds
        self._session = self._current = self._next = None  # images that are in the queues
        specs = [(tf.uint8, list(images)), (tf.float32, [images[0], num_labels])]
        specs = specs[: 2 if num_labels else 1]
        types = [dtype for dtype, _ in specs]
        name = tf.get_default_graph().unique_name("inputs")
        self.heads, self._fed, puts, drops, clears = [], [], [], [], []
        for index, device in enumerate(devices):
            queue = dict(shared_name=f"{name}_{index}", capacity=0, memory_limit=0, container="")
            with tf.device("/cpu:0"):
                self._fed.append([tf.placeholder(*spec, "fed") for spec in specs])
            with tf.device(device):
                puts.append(tf.raw_ops.Stage(values=self._fed[-1], **queue))
                head = tf.raw_ops.StagePeek(index=turn, dtypes=types, **queue)
                for _ in range(num_rounds):
                    drops += tf.raw_ops.Unstage(dtypes=types, **queue)
                clears.append(tf.raw_ops.StageClear(dtypes=types, **queue))
                for tensor, (_, shape) in zip(head, specs):
                    tensor.set_shape(shape)
                self.heads.append(head if num_labels else [*head, tf.zeros([images[0], 0])])
        self.put, self._drop, self._clear = tf.group(puts), tf.group(drops), tf.group(clears)

    def hold(self, images, labels):
        """Put a batch in front, copying it now, unless it was copied ahead.

        Args:
          images: [N, C, H, W] uint8, this worker's part of the global batch.
          labels: [N, c_dim].
        """
        if self._session is tf.get_default_session() and self._current is images:
            return
        tflib.run(self._clear)
        self._session, self._current, self._next = tf.get_default_session(), images, None
        for turn in range(self._num_rounds):
            tflib.run(self.put, self._feed(images, labels, turn))

    def ahead(self, images, labels, turn):
        """What to feed to a call with :attr:`put` to copy a round of the next batch meanwhile.

        Args:
          images: [N, C, H, W] uint8, as of :meth:`hold`.
          labels: [N, c_dim].
          turn: number of the round; all of a step's are due, in their order.

        Returns:
          {placeholder: value}.
        """
        assert (self._next is None) == (turn == 0), "a step copies one batch ahead"
        self._next = images
        return self._feed(images, labels, turn)

    def end_step(self):
        """Note that this batch is no longer needed, if the next one is there.

        Returns:
          List of operations that drop it, to be run before the next step.
        """
        if self._next is None:
            return []
        self._current, self._next = self._next, None
        return [self._drop]

    def _feed(self, images, labels, turn):
        """Sample s is on device s % R in round s // R % Q, of R devices and Q rounds."""
        num, feed = len(self._fed), {}
        for index, placeholders in enumerate(self._fed):
            rows = slice(turn * num + index, None, num * self._num_rounds)
            feed.update(zip(placeholders, (images[rows], labels[rows])))
        return feed
