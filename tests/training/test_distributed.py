"""Several processes train as one does; and what happens when one of them is lost."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.cluster import Cluster
from training import checkpoint, distributed
from training.distributed_watch import EXIT_LOST, Watch

CHILD = pathlib.Path(__file__).with_name("worker_child.py")
FLAGS = ["--dataset=gansformer_imgs", "--resolution=4", "--latent-size=8", "--channel-base=16"]
FLAGS += ["--channel-max=6", "--mapping-layersnum=2", "--tick=0.024", "--snapshot-ticks=1"]
FLAGS += ["--d-reg-interval=2", "--train", "--mirror-augment", "--custom-ops=ref", "--gpus=none"]
GANSFORMER = ["--gansformer-default", "--components-num=2", "--batch-size=8", "--batch-gpu=4"]
PLAIN = ["--baseline=StyleGAN2", "--batch-size=8", "--batch-gpu=4", "--total-kimg=100"]
STYLEGAN2 = ["--baseline=StyleGAN2", "--g-reg=path_length", "--g-reg-interval=2", "--gamma=1"]
STYLEGAN2 += ["--batch-size=12", "--batch-gpu=4"]


def free_addresses(num):
    sockets = [socket.socket() for _ in range(num)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return tuple(f"localhost:{port}" for port in ports)


# Collective operations, of two workers in two threads


def in_threads(num, function):
    """Results of function(rank, addresses), each in a thread and a graph of its own."""
    addresses, results, errors = free_addresses(num), [None] * num, []

    def work(rank):
        try:
            with tf.Graph().as_default():
                results[rank] = function(rank, addresses)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results


def test_sums_gradients_and_values_of_the_first_worker(monkeypatch):
    monkeypatch.setattr(distributed, "BUCKET", 5)
    shapes = [(2, 3), (4,), (), (7,)]

    def work(rank, addresses):
        settings = {"rnd.tf_random_seed": 0}
        workers = distributed.join(Cluster(addresses, rank), settings, timeout=30)
        random = np.random.RandomState(rank)
        arrays = [np.float32(random.randn(*shape)) for shape in shapes]
        x = tf.constant(float(rank + 1))
        y = workers.total(x) ** 2  # (sum of x)^2, of which there is one with each worker
        variables = [tf.get_variable(f"v{i}", initializer=a) for i, a in enumerate(arrays)]
        variables.append(tf.get_variable("step", initializer=np.int64(rank + 5)))
        tflib.run([variable.initializer for variable in variables])
        sums = tflib.run(workers.all_reduce([tf.constant(array) for array in arrays]))
        gradient = tflib.run(tf.gradients(y, x)[0])
        with workers.watched():
            workers.broadcast(variables)
            shared = workers.share({"rank": rank, "text": "ä" * 3})
            total = workers.sum([rank, 1.0, 0.25])
        return arrays, sums, gradient, tflib.run(variables), shared, total

    first, second = in_threads(2, work)
    for index, want in enumerate(zip(first[0], second[0])):
        np.testing.assert_array_equal(first[1][index], second[1][index])
        np.testing.assert_allclose(first[1][index], want[0] + want[1], rtol=1e-6)
        np.testing.assert_array_equal(second[3][index], first[0][index])
    assert second[3][-1] == 5 and second[3][-1].dtype == np.int64
    assert first[2] == second[2] == 2 * 2 * 3  # two workers' squares of x1 + x2 = 3
    assert first[4] == second[4] == {"rank": 0, "text": "äää"}
    assert first[5] == second[5] == [1.0, 2.0, 0.5]


def test_workers_draw_the_initial_values_of_a_process_alone():
    def work(rank, addresses):
        cluster = Cluster(addresses, rank) if len(addresses) > 1 else None
        workers = distributed.join(cluster, {"rnd.tf_random_seed": 3}, timeout=30)
        with workers.watched():
            workers.share({"a": 1})
            weight = tf.get_variable("w", [5], initializer=tf.initializers.random_normal())
            tflib.run(weight.initializer)
            return tflib.run(weight)

    (alone,), pair = in_threads(1, work), in_threads(2, work)
    for weights in pair:
        np.testing.assert_array_equal(weights, alone)


def test_a_process_alone_keeps_what_it_has():
    alone = distributed.join(None, {}, 30) if tf.get_default_session() else distributed.ALONE
    assert alone.sum([1.5]) == [1.5] and alone.share({"a": 1}) == {"a": 1}
    assert alone.all_reduce([3]) == [3] and alone.total(4) == 4
    with alone.watched():
        alone.broadcast([])


def test_a_worker_that_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(distributed, "START_TIMEOUT", 0.0)
    ports = free_addresses(2)
    with socket.socket() as here:
        here.bind(("127.0.0.1", int(ports[0].split(":")[1])))
        here.listen(1)
        with pytest.raises(distributed.UserError, match=f"worker 1 does not answer at {ports[1]}"):
            distributed._wait_for(Cluster(ports, 0))


# Signs of life


class Team:
    """Watches of three workers in one process; ``lines[rank]`` is what the watch of one said."""

    def __init__(self, timeout):
        self.lines = {}
        addresses = free_addresses(3)
        self.watches = [
            Watch(addresses, rank, timeout, lambda line, rank=rank: self.lines.update({rank: line}))
            for rank in range(3)
        ]
        port = self.watches[0].lead()
        for watch in self.watches[1:]:
            watch.follow(port)
        deadline = time.time() + 10
        while len(self.watches[0]._sockets) < 2 and time.time() < deadline:
            time.sleep(0.01)

    def wait(self, *ranks):
        deadline = time.time() + 20
        while not set(ranks) <= set(self.lines) and time.time() < deadline:
            time.sleep(0.02)
        return [self.lines[rank] for rank in ranks]


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr("training.distributed_watch._BEAT", 0.05)


def test_a_connection_that_ends_is_a_death(fast):
    team = Team(timeout=30)
    team.watches[2]._sockets[0].shutdown(socket.SHUT_RDWR)
    lines = team.wait(0, 1)
    assert all(line.startswith("worker 2 (localhost:") for line in lines)
    assert all("has died; this one stops, too: start all workers again" in line for line in lines)
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize("silent, others", [(1, (0, 2)), (0, (1, 2))])
def test_silence_is_noticed(fast, silent, others):
    team = Team(timeout=2.0)
    team.watches[silent]._is_over.set()  # says nothing any more
    for line in team.wait(*others):
        assert line.startswith(f"worker {silent} (localhost:") and "no sign of life for" in line


def test_a_worker_that_lives_and_hangs_is_named(fast, monkeypatch):
    monkeypatch.setattr("training.distributed_watch._HANG_FACTOR", 0.1)
    team = Team(timeout=8.0)
    for watch in team.watches[1:]:
        watch.begin_step()
    time.sleep(1.2)  # the first worker is saving and measuring
    assert not team.lines
    team.watches[0].begin_step()
    team.watches[0].be_busy()  # it measures: may take its time
    for watch in team.watches[1:]:
        watch.begin_step()
    time.sleep(1.2)
    assert not team.lines
    team.watches[0].begin_step()
    for rank in (0, 2):
        team.watches[rank].begin_step()
    for line in team.wait(0, 2):
        assert (
            line.startswith("worker 1 (localhost:") and "hangs: it has not come to step 3" in line
        )


def test_steps_without_end_are_noticed(fast, monkeypatch):
    monkeypatch.setattr("training.distributed_watch._STALL_FACTOR", 0.1)
    team = Team(timeout=8.0)
    for watch in team.watches[1:]:
        watch.begin_step()
    time.sleep(1.0)  # the first worker is saving and measuring
    team.watches[0].begin_step()
    time.sleep(0.3)
    assert not team.lines
    for line in team.wait(0, 1, 2):
        assert "worker 0 (" in line and "sees no end of step 1 for" in line


def test_failures_are_passed_on_and_farewells_are_none(fast):
    team = Team(timeout=30)
    team.watches[1].leave()
    time.sleep(0.3)
    assert not team.lines
    team.watches[0].leave("the disk is full")
    (line,) = team.wait(2)
    assert "worker 0" in line and "has stopped: the disk is full" in line and 1 not in team.lines


# Whole trainings


class Training:
    """Worker processes of a training, or one alone; a run in ``folder``/runs/exp-000."""

    def __init__(self, folder, data_dir, num, *flags):
        self.folder, self.num = folder, num
        folder.mkdir(exist_ok=True)
        self.run_dir = folder / "runs" / "exp-000"
        argv = [*FLAGS, *flags, f"--data-dir={data_dir / 'tfrecords'}"]
        addresses, self.processes = free_addresses(num), []
        for rank in range(num):
            env = dict(os.environ)
            if num > 1:
                task = {"type": "worker", "index": rank}
                cluster = {"cluster": {"worker": addresses}, "task": task}
                env["TF_CONFIG"] = json.dumps(cluster)
            command = [sys.executable, str(CHILD), str(self.state_path(rank)), *argv]
            command.append(f"--result-dir={folder / 'runs'}")
            with (folder / f"output{rank}.txt").open("wb") as output:
                process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
            self.processes.append(process)

    def state_path(self, rank):
        return self.folder / f"state{rank}.npz"

    def output(self, rank):
        return (self.folder / f"output{rank}.txt").read_text()

    def wait_for_checkpoint(self, after=0.0):
        deadline = time.time() + 900
        while not [p for p in self.run_dir.glob("training-*.npz") if p.stat().st_mtime > after]:
            assert time.time() < deadline and self.processes[0].poll() is None, self.output(0)
            time.sleep(0.1)

    def finish(self, *want):
        """Wait for the ends; returns the states."""
        status = [process.wait(timeout=900) for process in self.processes]
        outputs = [self.output(rank) for rank in range(self.num)]
        assert status == list(want), "\n".join(outputs)
        states = []
        for rank, code in enumerate(want):
            if code == 0:
                with np.load(str(self.state_path(rank))) as file:
                    states.append({name: file[name] for name in file.files})
        return states


def assert_same_state(found, want):
    assert set(found) == set(want) and len(want) > 50
    for name, value in want.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("num, kimg, flags", [(3, 0.036, STYLEGAN2), (2, 0.024, GANSFORMER)])
def test_workers_train_as_one(tmp_path, data_dir, num, kimg, flags):
    flags = [*flags, f"--total-kimg={kimg}"]
    team = Training(tmp_path / "team", data_dir, num, *flags)
    states = team.finish(*[0] * num)
    flags += [f"--batch-gpu={4 * num}"]
    (alone,) = Training(tmp_path / "one", data_dir, 1, *flags).finish(0)
    for state in states[1:]:
        for name, value in states[0].items():
            np.testing.assert_array_equal(state[name], value, err_msg=name)
    assert num != 3 or states[0]["path_average"] > 0
    assert_same_state(states[0], alone)
    folders = (team.run_dir, tmp_path / "one" / "runs" / "exp-000")
    files = [
        {path.name for path in folder.iterdir() if "event" not in path.name} for folder in folders
    ]
    assert files[0] == files[1]
    assert "Training in" not in team.output(1)


@pytest.mark.slow
def test_a_lost_worker_stops_all_and_fewer_go_on(tmp_path, data_dir):
    folder = tmp_path / "two"
    first = Training(folder, data_dir, 2, *PLAIN, "--worker-timeout=20")
    first.wait_for_checkpoint()
    first.processes[1].send_signal(signal.SIGTERM)  # asked of one, done by all
    first.finish(143, 143)
    assert "Stopped at" in first.output(0)

    second = Training(folder, data_dir, 2, *PLAIN, "--worker-timeout=20")
    second.wait_for_checkpoint(after=time.time())
    second.processes[1].kill()
    killed = time.time()
    second.finish(EXIT_LOST, -signal.SIGKILL)
    assert time.time() - killed < 60
    assert "Continuing at" in second.output(0)
    assert second.output(0).splitlines()[-1].startswith("worker 1 (localhost:")
    assert "Traceback" not in second.output(0)

    nimg = checkpoint.read_progress(second.run_dir).nimg
    end = f"--total-kimg={(nimg + 24) / 1000}"
    (state,) = Training(folder, data_dir, 1, *PLAIN, end, "--batch-gpu=8").finish(0)
    assert state["LossG/step"] == (nimg + 24) / 8  # as of one process from the start
    rows = (second.run_dir / "stats.jsonl").read_text().splitlines()
    assert [json.loads(row)["tick"] for row in rows] == list(range(len(rows)))
    assert json.loads(rows[-1])["nimg"] == nimg + 24


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_process_is_noticed(tmp_path, data_dir, rank):
    """SIGSTOP stands for a machine that hangs, or a cable that is pulled: nothing is closed."""
    team = Training(tmp_path / "two", data_dir, 2, *PLAIN, "--worker-timeout=25")
    other = 1 - rank
    team.wait_for_checkpoint()
    team.processes[rank].send_signal(signal.SIGSTOP)
    stopped = time.time()
    assert team.processes[other].wait(timeout=60) == EXIT_LOST
    assert time.time() - stopped < 60
    team.processes[rank].send_signal(signal.SIGCONT)  # it finds itself left alone
    assert team.processes[rank].wait(timeout=60) == EXIT_LOST
    for witness, name in ((other, rank), (rank, other)):
        lines = team.output(witness).splitlines()
        (line,) = [line for line in lines if line.startswith(f"worker {name} (")]
        assert line == lines[-1] and "Traceback" not in team.output(witness)
    assert "has given no sign of life for" in team.output(other).splitlines()[-1]
