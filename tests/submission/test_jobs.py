"""Runs in processes of their own and as jobs of a cluster: submitted, watched, stopped."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

import dnnlib
from dnnlib.errors import UserError
from dnnlib.submission import describe, jobs, run_lock
from dnnlib.submission.internal import detached, slurm
from dnnlib.submission.job_file import read_job

SCRIPT = """
import time
import dnnlib

def wait(seconds, submit_config):
    print("waiting", flush=True)
    with dnnlib.RunContext(submit_config) as context:
        while not context.should_stop() and context.get_time_since_start() < seconds:
            time.sleep(0.05)
    print("waited", flush=True)
"""

# Stand-ins of Slurm's commands: they note their calls, and know one job.
TOOLS = {
    "sbatch": 'echo "sbatch $*" >> {log}; echo "17;cluster"',
    "squeue": "cat {state}",
    "scancel": 'echo "scancel $*" >> {log}; : > {state}',
    "srun": '"$@"',
    "scontrol": 'echo "scontrol $*" >> {log}; exit 1',
}


ROOT = pathlib.Path(__file__).resolve().parents[2]


def wait_for(condition, seconds=60):
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline
        time.sleep(0.05)


@pytest.fixture
def config(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "waiting.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    monkeypatch.delitem(sys.modules, "waiting", raising=False)
    config = dnnlib.SubmitConfig()
    config.run_dir_root, config.run_desc = str(tmp_path / "runs"), "wait"
    config.local.do_not_copy_source_files = True
    return config


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Slurm's commands before all others; returns what they note."""
    log, state = tmp_path / "calls", tmp_path / "state"
    log.touch(), state.write_text("PENDING\n")
    (tmp_path / "bin").mkdir()
    for name, text in TOOLS.items():
        tool = tmp_path / "bin" / name
        tool.write_text("#!/bin/bash\n" + text.format(log=log, state=state) + "\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return lambda: log.read_text().splitlines()


def test_a_detached_function_goes_on_is_followed_and_stops(config, tmp_path, capsys):
    config.submit_target = dnnlib.SubmitTarget.DETACHED
    process = dnnlib.submit_run(config, "waiting.wait", seconds=60)
    run_dir = jobs.find_run(str(tmp_path / "runs"), "00000-wait")
    assert os.getsid(process) == process  # no terminal's end reaches it
    wait_for(lambda: "waiting" in (run_dir / "output.txt").read_text())
    assert jobs.state_of(run_dir).startswith(f"running (process {process} on ")
    (run_dir / "abort.txt").touch()
    jobs.tail(run_dir)
    assert "waiting\nwaited\n" in capsys.readouterr().out
    wait_for(lambda: jobs.state_of(run_dir) == "finished")
    assert "finished already" in jobs.stop(run_dir)


def test_a_process_that_is_starting_is_ended(tmp_path):
    process = detached.launch([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path)
    assert jobs.state_of(tmp_path).startswith("running")
    with pytest.raises(UserError, match=r"is running .*; stop it with --stop"):
        jobs.submit("detached", ["true"], tmp_path, slurm.TargetOptions())
    assert "asked to stop" in jobs.stop(tmp_path)
    wait_for(lambda: jobs.state_of(tmp_path) == "stopped")
    # Another process of the same number is not the run's.
    job = {**read_job(tmp_path), "pid": os.getpid()}
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert jobs.state_of(tmp_path) == "stopped" and job["pid"] != process


def test_of_two_that_submit_at_the_same_time_one_is_refused(tmp_path):
    code = "import sys, pathlib; from dnnlib.submission import jobs; sys.stdin.read(1)\n"
    code += "jobs.submit('detached', ['sleep', '60'], pathlib.Path(sys.argv[1]), None)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = dict(stdin=-1, stderr=-1, universal_newlines=True)
    processes = [subprocess.Popen(command, cwd=str(ROOT), **pipes) for _ in range(3)]
    time.sleep(0.5)
    for process in processes:
        process.stdin.write("x")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in processes]
    jobs.stop(tmp_path)
    assert sorted(bool(error) for error in errors) == [False, True, True]
    # The lock may be held before its file tells by whom, and longer than the others wait for it.
    refusals = re.compile("is running( \\(process|;)|is being trained by another process")
    assert all(refusals.search(error) for error in errors if error), errors


def test_whoever_holds_a_run_is_known(tmp_path):
    assert run_lock.holder(tmp_path) is None
    with run_lock.hold(tmp_path) as is_held:
        assert is_held and run_lock.holder(tmp_path)["pid"] == os.getpid()
        assert jobs.state_of(tmp_path).startswith(f"running (process {os.getpid()} on ")
        refused = pytest.raises(UserError, match="is being trained by another process")
        with refused, run_lock.hold(tmp_path):
            pass
        assert run_lock.holder(tmp_path)["pid"] == os.getpid()  # the refused one left it as it was
        discard = "import sys; from dnnlib.submission.run_dir import discard_unused as d"
        command = [sys.executable, "-c", f"{discard}; d(sys.argv[1])", str(tmp_path)]
        subprocess.run(command, cwd=str(ROOT), check=True)
        assert tmp_path.is_dir()  # nor takes it away
        assert "asked to stop" in jobs.stop(tmp_path) and (tmp_path / "abort.txt").exists()
    assert jobs.state_of(tmp_path) == "stopped"


def test_a_run_is_named_as_a_whole(tmp_path):
    for name in ("exp-000", "exp-001", "exp-foo-000"):
        (tmp_path / name).mkdir()
    assert jobs.find_run(str(tmp_path), "exp").name == "exp-001"
    assert jobs.find_run(str(tmp_path), "exp-000").name == "exp-000"
    assert jobs.find_run("elsewhere", str(tmp_path / "exp-000")).name == "exp-000"
    for name in ("ex", "exp-0", "exp-foo-00"):
        with pytest.raises(UserError, match=f"{name}: no such run in"):
            jobs.find_run(str(tmp_path), name)


def test_progress_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"loop": {"total_kimg": 100.0}}')
    row = {"kimg": 40.0, "sec_per_kimg": 2.0}
    (tmp_path / "stats.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "network-snapshot-000040.pkl").touch()
    want = (
        f"{tmp_path}: stopped, 40 of 100 kimg, 2 s/kimg, 2m 00s to go, network-snapshot-000040.pkl"
    )
    assert jobs.status(tmp_path) == want


def test_a_job_is_submitted_watched_and_cancelled(config, cluster, tmp_path):
    config.submit_target = dnnlib.SubmitTarget.SLURM
    config.slurm = slurm.TargetOptions(
        nodes=2, gpus_per_node=4, cpus_per_task=6, time="1:00:00", partition="gpu"
    )
    assert dnnlib.submit_run(config, "waiting.wait", seconds=0) == "17"
    run_dir = tmp_path / "runs" / "00000-wait"
    text = (run_dir / "job.sh").read_text()
    for line in (
        "nodes=2",
        "ntasks-per-node=1",
        "cpus-per-task=6",
        "gpus-per-node=4",
        "time=1:00:00",
    ):
        assert f"#SBATCH --{line}\n" in text
    assert f"#SBATCH --output={run_dir}/output.txt\n" in text and "--partition=gpu\n" in text
    assert cluster() == [f"sbatch --parsable {run_dir}/job.sh"]
    assert jobs.state_of(run_dir) == "waiting (Slurm job 17)"
    assert "is cancelled" in jobs.stop(run_dir) and cluster()[-1] == "scancel 17"
    assert jobs.state_of(run_dir) == "stopped"
    # The script does what it is there for.
    subprocess.run(["bash", str(run_dir / "job.sh")], check=True, stdout=-1)
    assert jobs.state_of(run_dir) == "finished"


@pytest.mark.parametrize(
    "status, restarts, requeues",
    [
        *[(0, "0", False), (2, "0", False), (143, "50", True)],
        *[(75, "0", True), (75, "20", False), (137, "0", True), (137, "20", False)],
    ],
)
def test_a_job_queues_itself_again(cluster, tmp_path, monkeypatch, status, restarts, requeues):
    command = [sys.executable, "-c", f"import sys; sys.exit({status})"]
    path = tmp_path / "job.sh"
    path.write_text(slurm.script(command, tmp_path, slurm.TargetOptions()))
    monkeypatch.setenv("SLURM_JOB_ID", "23")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    done = subprocess.run(["bash", str(path)], check=False, stdout=-1)
    assert done.returncode == status
    assert cluster() == (["scontrol requeue 23"] if requeues else [])


def test_without_slurm_nothing_is_left(config, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    config.submit_target = dnnlib.SubmitTarget.SLURM
    with pytest.raises(UserError, match="there is no 'sbatch' on this machine"):
        dnnlib.submit_run(config, "waiting.wait", seconds=0)
    assert not (tmp_path / "runs").exists()


def test_names_never_collide(tmp_path):
    """Also of runs that begin at the same moment, in several processes."""
    code = "import sys; from dnnlib.submission.run_dir import create_run\n"
    code += "for _ in range(20): print(create_run(sys.argv[1], 'exp').name)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=str(ROOT), stdout=-1) for _ in range(3)]
    names = [name for process in processes for name in process.communicate()[0].split()]
    assert len(names) == len(set(names)) == 60


def test_what_is_known_later_is_added(tmp_path):
    describe.describe_run(tmp_path)
    describe.describe_run(tmp_path)
    describe.note_facts(tmp_path, devices=["/gpu:0: a card"])
    first, last = json.loads((tmp_path / "run.json").read_text())
    assert "devices" not in first and last["devices"] == ["/gpu:0: a card"]
    assert last["command"] == first["command"]
