"""Killed and resumed is the same as never killed; and what stands in the way of resuming."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_records import write_set

import run_network
from config.resolve import add_facts, parse, resolve
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import save_config
from dnnlib.tflib.compat import tf
from training import resume

CHILD = pathlib.Path(__file__).with_name("train_child.py")
FLAGS = ["--gansformer-default", "--dataset=gansformer_imgs", "--resolution=4", "--batch-size=4"]
FLAGS += ["--components-num=2", "--latent-size=8", "--channel-base=16", "--channel-max=6"]
FLAGS += ["--mapping-layersnum=2", "--tick=0.016", "--snapshot-ticks=1", "--total-kimg=0.064"]
FLAGS += ["--d-reg-interval=3", "--train", "--mirror-augment", "--gpus=none"]


def flags(tmp_path, data_dir, *more):
    where = [f"--data-dir={data_dir / 'tfrecords'}", f"--result-dir={tmp_path}"]
    return [*FLAGS, *where, *more]


def start(kill, argv):
    command = [sys.executable, str(CHILD), kill, *argv]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )


def finish(process, want_status):
    out, err = process.communicate(timeout=900)
    assert process.returncode == want_status, out + err
    return out, err


def final_state(run_dir):
    with np.load(str(resume.checkpoint.find_states(run_dir)[-1])) as file:
        return {name: file[name] for name in file.files if name != "meta"}


def losses(run_dir):
    rows = [json.loads(row) for row in (run_dir / "stats.jsonl").read_text().splitlines()]
    names = ("tick", "nimg", "loss/G", "loss/D", "grad_norm/G")
    return [[row[name] for name in names] for row in rows]


def test_killed_twice_and_resumed_equals_uninterrupted_bitwise(tmp_path, data_dir):
    whole = start("never", flags(tmp_path, data_dir, "--expname=whole"))
    argv = flags(tmp_path, data_dir, "--expname=parts")
    run_dir = tmp_path / "parts-000"

    finish(start("save:32", argv), -signal.SIGKILL)  # the checkpoint of 16 images survives
    assert len(list(run_dir.glob(".training-state-*.tmp"))) == 1
    finish(start("step:40", argv), -signal.SIGKILL)  # goes on from 16, then from 32
    assert losses(run_dir)[-1][1] == 32
    out, _ = finish(start("never", argv), 0)
    assert "Continuing at 0.032 kimg, tick 2" in out
    finish(whole, 0)

    want, found = final_state(tmp_path / "whole-000"), final_state(run_dir)
    assert set(found) == set(want) and len(want) > 100
    for name, value in want.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert losses(run_dir) == losses(tmp_path / "whole-000")  # no step is reported twice
    names = {path.name for path in run_dir.iterdir()}
    assert {"network-final.pkl", "reals.png", "fakes-000000.png", "log.txt"} <= names
    assert {"attention-000000.png", "network-snapshot-000000.pkl", "config.json"} <= names
    assert not [name for name in names if name.endswith(".tmp")]
    assert (run_dir / "network-final.pkl").read_bytes() == (
        tmp_path / "whole-000" / "network-final.pkl"
    ).read_bytes()


def test_a_signal_saves_a_checkpoint_and_leaves_quietly(tmp_path, data_dir):
    argv = flags(tmp_path, data_dir, "--total-kimg=1000", "--tick=0.4", "--seed=3")
    process = start("never", argv)
    stats = tmp_path / "exp-000" / "stats.jsonl"
    deadline = time.time() + 300
    while not stats.exists() and time.time() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = finish(process, 128 + signal.SIGTERM)
    nimg = round(float(re.search(r"Stopped at ([\d.]+) kimg", out).group(1)) * 1000)
    assert "Traceback" not in err
    progress = resume.checkpoint.read_progress(tmp_path / "exp-000")
    assert progress.nimg == nimg > 0
    assert all(len(line) <= 100 for line in out.splitlines() if line.startswith("tick"))

    # Another --gamma: refused at once, in one line.
    out, err = finish(start("never", [*argv, "--gamma=3"]), 2)
    assert re.search(
        r"exp-000 is unfinished and was begun with --gamma=0.0008, not --gamma=3.0; .*--restart",
        err,
    )
    assert len(err.strip().splitlines()) == 1


# Choosing a run, without training


def make_config(tmp_path, *argv):
    argv = ["--dataset=cats", f"--result-dir={tmp_path}", *argv]
    config = resolve(parse(argv))
    add_facts(config, 32, 3, 100, 0)
    return config


def progress(run_dir, nimg):
    meta = json.dumps({"format": 1, "nimg": nimg, "tick": 0, "tick_nimg": 0, "seconds": 0.0})
    np.savez(str(run_dir / f"training-state-{nimg // 1000:06d}.npz"), meta=np.array(meta))


@pytest.fixture
def unfinished(tmp_path):
    run = resume.choose_run(make_config(tmp_path, "--total-kimg=10"))
    save_config(run, make_config(tmp_path, "--total-kimg=10"))
    progress(run, 5000)
    return run


def test_an_unfinished_run_is_continued(tmp_path, unfinished):
    assert unfinished.name == "exp-000"
    for argv in (["--total-kimg=10"], ["--total-kimg=20", "--tick=1", "--batch-gpu=8"]):
        assert resume.choose_run(make_config(tmp_path, *argv)) == unfinished
    assert resume.choose_run(make_config(tmp_path, "--expname=foo")).name == "foo-000"
    assert resume.choose_run(make_config(tmp_path, "--restart")).name == "exp-001"


def test_a_killed_start_is_taken_up(tmp_path):
    run = resume.choose_run(make_config(tmp_path))  # killed before config.json was written
    assert resume.choose_run(make_config(tmp_path)) == run


def test_contradictions_are_refused(tmp_path, unfinished):
    with pytest.raises(UserError, match=r"with --seed=0 --gamma=10\.0, not --seed=1 --gamma=2\.0"):
        resume.choose_run(make_config(tmp_path, "--gamma=2", "--seed=1"))
    config = make_config(tmp_path)
    config["facts"]["num_images"] = 50
    with pytest.raises(UserError, match="dataset's num_images 100, not dataset's num_images 50"):
        resume.choose_run(config)


def test_a_finished_run_goes_on_only_with_more_to_do(tmp_path, unfinished, capsys):
    progress(unfinished, 10000)
    assert resume.choose_run(make_config(tmp_path, "--total-kimg=10")) is None
    assert "exp-000 is finished, with 10 kimg" in capsys.readouterr().out
    assert resume.choose_run(make_config(tmp_path, "--total-kimg=11")) == unfinished
    assert resume.choose_run(make_config(tmp_path, "--gamma=2")).name == "exp-001"


def test_two_processes_cannot_train_in_one_run(tmp_path, unfinished):
    refused = pytest.raises(UserError, match="is being trained by another process")
    with resume.locked(unfinished), refused, resume.locked(unfinished):
        pass
    with resume.locked(unfinished):
        pass


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, unfinished, capsys):
    (unfinished / "training-state-000009.npz").write_bytes(b"PK\x03\x04 cut off")
    assert resume.checkpoint.read_progress(unfinished).nimg == 5000
    assert "training-state-000009.npz cannot be read" in capsys.readouterr().out
    assert os.path.exists(unfinished / "training-state-000005.npz")


def test_a_run_without_a_readable_checkpoint_is_not_begun_again(tmp_path, unfinished, capsys):
    damaged = (b"PK\x03\x04 cut off", b"")
    for name, data in zip(("training-state-000005.npz", "training-state-000009.npz"), damaged):
        (unfinished / name).write_bytes(data)
    with pytest.raises(UserError) as error:
        resume.choose_run(make_config(tmp_path))
    message = str(error.value)
    assert f"no other training state in {unfinished} can" in message and "\n" not in message
    assert "--restart" in message and "--pretrained-pkl" in message
    assert capsys.readouterr().out.count("trying the one before") == 1
    assert resume.choose_run(make_config(tmp_path, "--restart")).name == "exp-001"


# Options that no network can have

IMPOSSIBLE = {
    "--transformer --num-heads=3": "--num-heads=3 does not divide 16",
    "--kgan --merge-layer=1": "--merge-layer=1 must be -1",
    "--mapping-resnet --mapping-layersnum=1": "--mapping-layersnum=1: a residual mapping",
    "--transformer --mapping-shared-dim=16 --mapping-ltnt2ltnt": "--mapping-shared-dim=16 joins",
    "--transformer --duplex --g-img2ltnt": "leave out --g-img2ltnt",
    "--transformer --kmeans --duplex --iterative": "--duplex and --iterative",
    "--transformer --pos-dim=6 --pos-directions-num=4": "(--pos-directions-num) cannot be 6 wide",
    "--transformer --g-local-attention=3": "a window of 3 (--g-local-attention",
    "--d-local-attention=5": "a window of 5 (--g-local-attention, --d-local-attention)",
}


@pytest.fixture
def train_anew(tmp_path):
    """A function that runs ``run_network.py --train`` with flags, in a graph of its own."""
    (tmp_path / "datasets").mkdir()
    images = np.random.RandomState(0).randint(0, 256, [8, 3, 16, 16]).astype(np.uint8)
    write_set(tmp_path / "datasets" / "toys", images)
    argv = ["--train", "--gpus=none", "--dataset=toys", f"--data-dir={tmp_path / 'datasets'}"]
    argv += [f"--result-dir={tmp_path / 'results'}", "--channel-base=128", "--channel-max=16"]
    argv += ["--latent-size=32", "--total-kimg=0.004", "--batch-size=4"]

    def call(*flags):
        with tf.Graph().as_default(), tf.Session().as_default():
            return cli.run_script(run_network.main, [*argv, *flags])

    return call


def test_a_refused_run_leaves_no_folder(train_anew, tmp_path, capsys):
    assert train_anew("--pretrained-pkl=none.pkl") == cli.EXIT_USER_ERROR
    assert "none.pkl: no such file" in capsys.readouterr().err
    assert not list((tmp_path / "results").iterdir())


def test_impossible_options_are_one_line_and_block_nothing(train_anew, tmp_path, capsys):
    for flags_text, message in IMPOSSIBLE.items():
        more = ["--components-num=2"] if "--transformer" in flags_text else []
        assert train_anew(*flags_text.split(), *more) == cli.EXIT_USER_ERROR, flags_text
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not list((tmp_path / "results").iterdir())


def test_a_training_of_nothing_names_a_file_that_is_there(train_anew, tmp_path, capsys):
    assert train_anew("--total-kimg=0") == 0
    done = capsys.readouterr().out.splitlines()[-1]
    assert done == f"Done: {tmp_path / 'results' / 'exp-000' / 'network-snapshot-000000.pkl'}"
    assert pathlib.Path(done[len("Done: ") :]).exists()


SUBMIT = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
import dnnlib
config = dnnlib.SubmitConfig()
config.run_dir_root, config.run_desc = sys.argv[2], "submitted"
config.local.do_not_copy_source_files = True
if sys.argv[3] != "new":
    config.run_dir = sys.argv[3]
flags = dict(flag[2:].split("=") for flag in sys.argv[4:])
dnnlib.submit_run(config, "run_network.train_submitted", flags=flags)
"""


@pytest.mark.slow
def test_submitted_runs_and_those_of_the_command_share_a_tree(tmp_path, data_dir):
    """Both are stopped by abort.txt, both continue, and both end in the same bits."""
    argv = [flag for flag in flags(tmp_path, data_dir) if "=" in flag]
    argv += ["--gansformer-default=true", "--mirror-augment=true"]
    root = str(CHILD.parents[2])

    def submit(where):
        command = [sys.executable, "-c", SUBMIT, root, str(tmp_path), where, *argv]
        return subprocess.Popen(command, stdout=-1, stderr=-1, universal_newlines=True)

    def abort_when_it_trains(run_dir):
        deadline = time.time() + 240
        while not list(run_dir.glob("training-state-*.npz")):
            assert time.time() < deadline
            time.sleep(0.05)
        (run_dir / "abort.txt").touch()

    command = flags(tmp_path, data_dir, "--expname=commanded", "--total-kimg=4")
    argv = [a if "total-kimg" not in a else "--total-kimg=4" for a in argv]
    pairs = [(tmp_path / "00000-submitted", lambda: submit("new"))]
    pairs.append((tmp_path / "commanded-000", lambda: start("never", command)))
    for run_dir, begin in pairs:
        process = begin()
        abort_when_it_trains(run_dir)
        out, _ = finish(process, 0)
        assert "abort.txt asks to stop" in out and not (run_dir / "network-final.pkl").exists()
    at = max(read_nimg(run_dir) for run_dir, _ in pairs) / 1000 + 0.016
    command = [*command, f"--total-kimg={at}"]
    argv.append(f"--total-kimg={at}")
    for run_dir, process in zip(
        [run_dir for run_dir, _ in pairs],
        [submit(str(tmp_path / "00000-submitted")), start("never", command)],
    ):
        finish(process, 0)
        assert (run_dir / "network-final.pkl").exists() and (run_dir / "_finished.txt").exists()
        assert not (run_dir / "abort.txt").exists() and (run_dir / "run.json").exists()
    want, found = (final_state(run_dir) for run_dir, _ in pairs)
    for name, value in want.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def read_nimg(run_dir):
    return resume.checkpoint.read_progress(run_dir).nimg
