"""Notice workers that die or hang: signs of life between the first worker and all others.

The first worker listens; every other one connects to it. Both sides say each second that they live,
and how far they are. The first worker decides that one is lost and tells all; a worker that hears
nothing decides that the first one is. Whoever learns of a loss says so in one line and ends its
process at once, with status 75: its main thread may wait for the lost one without end.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time

from dnnlib import util

EXIT_LOST = 75  # "temporary failure; try again" of sysexits.h
_BEAT = 1.0  # seconds
_HANG_FACTOR = 10  # a worker that lives may be so many timeouts late for a step
_STALL_FACTOR = 60  # and a step may take so many


class Watch:
    """Watches the other workers of a training; starts with :meth:`lead` or :meth:`follow`.

    Args:
      addresses: "host:port" of each worker, for messages.
      rank: of this worker.
      timeout: seconds without a sign of life after which a worker is lost.
      die: called with a line when one is lost; ends the process.
    """

    def __init__(self, addresses, rank, timeout=30.0, die=None):
        self._addresses, self._rank, self._timeout = addresses, rank, timeout
        self._die = die or end_process
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        now = time.monotonic()
        # Of each worker: when it was last heard of, steps it has begun, whether it may be late,
        # and whether it left as it should.
        self._heard = [now] * len(addresses)
        self._steps = [0] * len(addresses)
        self._most, self._most_since = 0, now  # the latest step that any has begun
        self._sum, self._moved = 0, now  # of all steps, to see that something goes on
        # Before its first step the first worker saves and measures: all may take their time.
        self._is_busy, self._left = [True] * len(addresses), [False] * len(addresses)
        self._sockets = {}

    # The main thread's part

    def begin_step(self):
        """Note that this worker begins a step, for which it needs all others."""
        self._steps[self._rank] += 1
        self._is_busy[self._rank] = False

    def be_busy(self):
        """Note that this worker may take long until its next step."""
        self._is_busy[self._rank] = True

    def leave(self, failure=""):
        """End the watch.

        Args:
          failure: what happened, if this worker fails and the others cannot go on without it.
        """
        self._is_over.set()
        with self._lock:
            for connection in self._sockets.values():
                _send(connection, {"left": failure or True, "rank": self._rank})
                connection.close()

    # Connections

    def lead(self):
        """Listen for the others, as the first worker; returns the port."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("", 0))
        listener.listen(len(self._addresses))
        self._start(self._accept, listener)
        self._start(self._judge)
        return listener.getsockname()[1]

    def follow(self, port):
        """Connect to the first worker, at a port of its own."""
        host = self._addresses[0].rpartition(":")[0]
        connection = socket.create_connection((host, port), timeout=self._timeout)
        connection.settimeout(None)
        _limit_sending(connection)
        _send(connection, self._beat())
        self._sockets[0] = connection
        self._start(self._listen, connection.makefile("r"), 0)
        self._start(self._judge)

    def _start(self, function, *args):
        threading.Thread(target=function, args=args, name="watch", daemon=True).start()

    def _accept(self, listener):
        while not self._is_over.is_set():
            connection, _ = listener.accept()
            self._start(self._greet, connection)

    def _greet(self, connection):
        """Learn who has connected; strangers are sent away."""
        lines = connection.makefile("r")
        try:
            rank = int(json.loads(lines.readline())["rank"])
            is_known = 0 < rank < len(self._addresses) and rank not in self._sockets
        except (OSError, ValueError, KeyError, TypeError):
            is_known = False
        if not is_known:
            connection.close()
            return
        _limit_sending(connection)
        with self._lock:
            self._sockets[rank] = connection
        self._listen(lines, rank)

    # Hearing and telling

    def _beat(self):
        rank = self._rank
        return {"rank": rank, "step": self._steps[rank], "busy": self._is_busy[rank]}

    def _listen(self, lines, rank):
        """Read what another worker tells until it leaves or is lost."""
        try:
            for line in lines:
                message = json.loads(line)
                if "lost" in message:
                    self._lose(message["lost"], message["why"])
                    return
                if message.get("left"):
                    self._left[rank] = True
                    if message["left"] is not True:
                        self._lose(rank, f"has stopped: {message['left']}")
                    return
                self._hear(rank, message)
        except (OSError, ValueError):
            pass
        if not self._left[rank]:
            self._lose(rank, "has died")

    def _hear(self, rank, message):
        self._heard[rank] = time.monotonic()
        self._steps[rank], self._is_busy[rank] = message["step"], message["busy"]

    def _judge(self):
        """Send signs of life, and look for those of the others."""
        own = self._rank
        while not self._is_over.wait(_BEAT):
            self._heard[own] = time.monotonic()
            with self._lock:
                connections = list(self._sockets.items())
            for _, connection in connections:
                _send(connection, self._beat())
            self._look(range(1, len(self._addresses)) if own == 0 else [0])

    def _look(self, ranks):
        now, most = time.monotonic(), max(self._steps)
        if most != self._most:
            self._most, self._most_since = most, now
        if sum(self._steps) != self._sum:
            self._sum, self._moved = sum(self._steps), now
        for rank in ranks:
            if self._left[rank]:
                continue
            silence = now - self._heard[rank]
            if silence > self._timeout:
                self._lose(rank, f"has given no sign of life for {silence:.0f} s")
        if self._rank != 0:
            return
        late = now - self._most_since
        for rank, step in enumerate(self._steps):
            is_behind = step < most and not self._is_busy[rank] and not self._left[rank]
            if is_behind and late > self._timeout * _HANG_FACTOR:
                self._lose(rank, f"hangs: it has not come to step {most} for {late:.0f} s")
        still = now - self._moved
        if most and not any(self._is_busy) and still > self._timeout * _STALL_FACTOR:
            self._lose(0, f"sees no end of step {most} for {still:.0f} s: a device hangs")

    def _lose(self, rank, why):
        """Tell everybody, and end."""
        if self._is_over.is_set():
            return
        self._is_over.set()
        with self._lock:
            for other, connection in self._sockets.items():
                if other != rank and self._rank == 0:
                    _send(connection, {"lost": rank, "why": why})
        self._die(
            f"worker {rank} ({self._addresses[rank]}) {why}; this one stops, too: start all "
            "workers again to go on from the last checkpoint"
        )


def end_process(line):
    """Write a line to standard error and the log, and end the process at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    util.log_to_file_only(line)
    os._exit(EXIT_LOST)


def _limit_sending(connection):
    """Wait for a second at most until what is sent is taken; receiving may take for ever."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 1, 0))


def _send(connection, message):
    """Write a message; that the other side is gone is noticed where it is listened to."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")
