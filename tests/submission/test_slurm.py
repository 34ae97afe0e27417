"""A training as a job of a real Slurm: two tasks, told to stop, pre-empted, resumed, finished."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

import run_network
from dnnlib import cli
from dnnlib.submission import jobs
from dnnlib.submission.internal import slurm

SCRIPT = pathlib.Path(__file__).with_name("slurm_cluster.sh")
MISSING = [tool for tool in ("sbatch", "slurmctld", "slurmd", "munged") if not shutil.which(tool)]
KIMG = 0.36
FLAGS = ["--baseline=StyleGAN2", "--dataset=gansformer_imgs", "--resolution=4", "--batch-size=8"]
FLAGS += ["--latent-size=8", "--channel-base=16", "--channel-max=6", "--d-reg-interval=2"]
FLAGS += ["--mapping-layersnum=2", "--tick=0.024", "--snapshot-ticks=1", f"--total-kimg={KIMG}"]
FLAGS += ["--batch-gpu=4", "--custom-ops=ref", "--gpus=none", "--train"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}; see {SCRIPT.name} install"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root"),
]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    folder = tmp_path / "slurm"
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    try:
        subprocess.run([str(SCRIPT), "start", str(folder)], check=True)
        yield
    finally:
        subprocess.run([str(SCRIPT), "stop", str(folder)], check=True)


class Job:
    """The job of the run in a directory, whose tasks print to ``output``."""

    def __init__(self, number, run_dir):
        self.number, self._output = number, run_dir / "output.txt"

    @property
    def output(self):
        return self._output.read_text() if self._output.exists() else ""

    @property
    def state(self):
        return call("squeue", "--noheader", "--format=%T", f"--jobs={self.number}")

    def wait_for(self, condition, seconds=400):
        deadline = time.time() + seconds
        while not condition():
            assert time.time() < deadline, self.output
            time.sleep(0.05)

    def start_again(self):
        """Wait until it is queued again, and start it now instead of after two minutes."""
        self.wait_for(lambda: self.state == "PENDING", 90)
        call("scontrol", "update", f"JobId={self.number}", "StartTime=now")


def call(*command):
    done = subprocess.run(list(command), check=True, stdout=-1, text=True)
    return done.stdout.strip()


TASK = """
import os, signal, sys, time
starts, rank = int(os.environ.get("SLURM_RESTART_COUNT", 0)), int(os.environ["SLURM_PROCID"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print(f"start {starts} of task {rank}", flush=True)
if starts == 0:
    time.sleep(600)  # until it is told to stop
if starts == 1 and rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if starts == 1:
    time.sleep(1)  # until it notices
    sys.exit(75)
sys.exit(2)  # a mistake of the user
"""


def test_a_job_queues_itself_again(cluster, tmp_path):
    run_dir = tmp_path / "two words"
    run_dir.mkdir()
    options = slurm.TargetOptions(tasks_per_node=2, cpus_per_task=1)
    job = Job(slurm.submit([sys.executable, "-c", TASK], run_dir, options), run_dir)
    job.wait_for(lambda: job.output.count("start 0 of task") == 2)
    assert jobs.state_of(run_dir) == f"running (Slurm job {job.number})"
    call("scancel", "--signal=TERM", job.number)
    job.start_again()
    job.wait_for(lambda: "start 1 of task 0" in job.output)
    job.start_again()
    job.wait_for(lambda: "start 2 of task 0" in job.output and not job.state)
    said = [line for line in job.output.splitlines() if line.startswith("Status")]
    again = f"job {job.number} queues itself again."
    assert said == [f"Status 143: {again}", f"Status 137: {again}"]
    assert jobs.state_of(run_dir) == "stopped"


def test_a_training_is_preempted_and_goes_on(cluster, tmp_path, data_dir, capsys):
    where = f"--result-dir={tmp_path / 'my runs'}"
    run_dir = tmp_path / "my runs" / "exp-000"

    def run(*argv):
        assert cli.run_script(run_network.main, argv) == 0
        return capsys.readouterr().out

    def trains(times):
        """Whether the job has begun to train so many times, and reported a tick since."""
        parts = job.output.split("First step: ")
        return len(parts) == times + 1 and "\ntick" in parts[-1]

    argv = [*FLAGS, where, f"--data-dir={data_dir / 'tfrecords'}", "--tasks-per-node=2"]
    said = run(*argv, "--submit=slurm", "--cpus-per-task=1")
    job = Job(re.search(r"\(Slurm job (\d+)\)", said).group(1), run_dir)
    job.wait_for(lambda: trains(1))
    assert "exp-000: running (process " in run("--status=exp", where)

    call("scancel", "--signal=TERM", job.number)  # as Slurm does before the end of its time
    job.wait_for(lambda: job.state == "PENDING", 90)
    assert f"exp-000: waiting (Slurm job {job.number})" in run("--status=exp", where)
    job.start_again()
    job.wait_for(lambda: trains(2))

    call("scontrol", "requeue", job.number)  # as it is pre-empted
    job.start_again()
    job.wait_for(lambda: "Done: " in job.output and not job.state)

    text = job.output
    assert "exp-000: finished" in run("--status=exp", where)
    assert text.count("on /cpu:0 of 2 worker(s)") == 3 and "Traceback" not in text
    assert text.count("Stopped at ") == 2 == text.count("Continuing at ")
    assert re.findall(r"Stopped at ([\d.]+)", text) == re.findall(r"Continuing at ([\d.]+)", text)
    rows = [json.loads(row) for row in (run_dir / "stats.jsonl").read_text().splitlines()]
    assert [row["tick"] for row in rows] == list(range(len(rows)))
    assert rows[-1]["nimg"] == KIMG * 1000 and (run_dir / "network-final.pkl").exists()
    assert len(json.loads((run_dir / "run.json").read_text())) == 3  # one for each start
