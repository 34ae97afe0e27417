"""A training in a process of its own: submitted, watched, stopped, continued."""

import re
import time

import pytest
from test_resume import flags

import run_network
from dnnlib import cli


@pytest.mark.slow
def test_a_detached_training_is_stopped_and_continued(tmp_path, data_dir, capsys):
    argv = flags(tmp_path, data_dir, "--submit=detached")
    where = f"--result-dir={tmp_path}"

    def run(*argv):
        assert cli.run_script(run_network.main, argv) == 0
        return capsys.readouterr().out

    said = run(*argv, "--total-kimg=100", "--restart")
    assert re.search(r"Submitted .*exp-000 \(process \d+\)", said)
    assert cli.run_script(run_network.main, argv) == cli.EXIT_USER_ERROR
    assert "exp-000 is running" in capsys.readouterr().err
    run_dir = tmp_path / "exp-000"
    deadline = time.time() + 240
    while not (run_dir / "stats.jsonl").exists():
        assert time.time() < deadline, (run_dir / "output.txt").read_text()
        time.sleep(0.2)
    assert "running (process" in run("--status=exp", where)
    run("--stop=exp-000", where)
    assert "asks to stop" in run("--tail=exp-000", where)
    status = run("--status=exp-000", where)
    assert "exp-000: stopped, 0." in status and " of 100 kimg" in status
    kimg = float(re.search(r"Stopped at ([\d.]+) kimg", (run_dir / "log.txt").read_text()).group(1))
    run(*argv, f"--total-kimg={kimg + 0.016}")
    assert "Done: " in run("--tail=exp", where)
    assert (run_dir / "network-final.pkl").exists() and not (tmp_path / "exp-001").exists()
