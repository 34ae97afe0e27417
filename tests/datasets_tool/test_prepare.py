"""The command, from pictures to a set on disk: contents, resuming, refusals."""

import concurrent.futures
import contextlib
import errno
import gzip
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
from PIL import Image
from tiny_records import write_set

import prepare_data
from datasets_tool import writer as writer_module
from datasets_tool.convert import prepare
from datasets_tool.pool import Recipe, end_pool, interrupts_wait, result_of
from datasets_tool.scenes import ScenesSource, render_scene
from datasets_tool.sources.folders import FolderSource
from dnnlib import cli
from dnnlib.errors import UserError
from training.dataset import Dataset


@pytest.fixture
def folder(tmp_path):
    """14 pictures of 32x32 in two sub-folders."""
    rng = np.random.RandomState(0)
    for index in range(14):
        path = tmp_path / "images" / "ab"[index % 2]
        path.mkdir(parents=True, exist_ok=True)
        pixels = rng.randint(0, 256, [32, 32, 3]).astype(np.uint8)
        Image.fromarray(pixels).save(str(path / f"{index:02d}.png"))
    return tmp_path / "images"


def pixels_of(folder):
    """Pictures of a folder in sorted order, uint8 [N, C, H, W]."""
    paths = sorted(path for path in folder.rglob("*.png") if path.stat().st_size > 100)
    return np.stack([np.asarray(Image.open(str(path))) for path in paths]).transpose(0, 3, 1, 2)


def run(*argv):
    """The command in this process, without workers unless asked for; returns its exit status."""
    argv = [str(arg) for arg in argv]
    return cli.run_script(
        prepare_data.main, argv if "--workers" in argv else [*argv, "--workers", "1"]
    )


def stored(folder):
    dataset = Dataset(folder)
    return np.stack([dataset.image(index) for index in range(dataset.num_images)])


def contents(folder):
    """{file name: bytes} of a set."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# What is written


@pytest.mark.parametrize("shards, workers", [(1, 1), (3, 1), (3, 2)])
def test_a_folder_becomes_a_set(folder, tmp_path, shards, workers):
    status = run(
        *("--task", "cats", "--images-dir", folder, "--data-dir", tmp_path / "sets"),
        *("--shards-num", shards, "--workers", workers),
    )
    assert status == 0
    assert (stored(tmp_path / "sets/cats") == pixels_of(folder)).all()
    info = json.loads((tmp_path / "sets/cats/dataset.json").read_text())
    assert info["num_images"] == 14 and info["resolution"] == 32 and info["shards"] == shards
    means = pixels_of(folder).mean((0, 2, 3))
    assert np.allclose(info["channel_means"], means, atol=1e-3)
    names = {f"cats-r05.tfrecords{i + 1}of{shards}" for i in range(shards)}
    assert set(contents(tmp_path / "sets/cats")) == names | {"dataset.json"}


def test_multi_resolution_sets_have_the_published_levels(data_dir, tmp_path):
    source = data_dir / "tfrecords"
    run(
        *("--task", "imgs", "--images-dir", source / "png", "--data-dir", tmp_path),
        "--multi-resolution",
    )
    for resolution in (4, 8, 16, 32):
        ours = Dataset(tmp_path / "imgs", resolution=resolution)
        theirs = Dataset(source / "gansformer_imgs", resolution=resolution)
        assert ours.num_images == theirs.num_images == 20
        for index in range(20):
            assert (ours.image(index) == theirs.image(index)).all()


def test_scenes_come_with_masks_and_attributes(tmp_path):
    status = run(
        *("--scenes", "--images-num", 7, "--resolution", 16, "--seed", 4, "--data-dir", tmp_path),
        *("--shards-num", 2, "--workers", 2),
    )
    assert status == 0
    folder = tmp_path / "scenes"
    masks = np.load(str(folder / "scenes.masks.npy"), mmap_mode="r")
    lines = gzip.decompress((folder / "scenes.scenes.jsonl.gz").read_bytes()).splitlines()
    assert masks.shape == (7, 16, 16) and len(lines) == 7
    for index, image in enumerate(stored(folder)):
        expected = render_scene(4, index, 16)
        assert (image == expected[0]).all() and (masks[index] == expected[1]).all()
        assert json.loads(lines[index].decode()) == expected[2]


def test_max_images_and_resolution(folder, tmp_path):
    run("--task", "few", "--images-dir", folder, "--data-dir", tmp_path, *("--max-images", 5))
    assert (stored(tmp_path / "few") == pixels_of(folder)[:5]).all()
    run("--task", "small", "--images-dir", folder, "--data-dir", tmp_path, *("--resolution", 8))
    small = stored(tmp_path / "small")
    assert small.shape == (14, 3, 8, 8)
    means = pixels_of(folder).reshape(14, 3, 8, 4, 8, 4).mean((3, 5))
    assert abs(small - means).mean() < 12  # Lanczos is near to the mean of noise, not equal


def test_ratio_is_stored_and_cut(folder, tmp_path):
    run("--task", "wide", "--images-dir", folder, "--data-dir", tmp_path, "--ratio", "3/4")
    dataset = Dataset(tmp_path / "wide")
    assert dataset.ratio == 0.75
    image = dataset.image(0)
    assert not image[:, :4].any() and not image[:, 28:].any()
    assert (image[:, 4:28] == pixels_of(folder)[0][:, 4:28]).all()
    run("--task", "high", "--images-dir", folder, "--data-dir", tmp_path, "--ratio", "2")
    dataset = Dataset(tmp_path / "high")
    assert dataset.ratio == 2
    image = dataset.image(0)
    assert not image[:, :, :8].any() and not image[:, :, 24:].any()
    assert (image[:, :, 8:24] == pixels_of(folder)[0][:, :, 8:24]).all()


def test_formats_are_told_by_suffix(folder, tmp_path):
    Image.new("RGB", (32, 32), "red").save(str(folder / "Z.JPG"), "jpeg")
    run("--task", "jpg", "--images-dir", folder, "--data-dir", tmp_path, "--format", "jpg")
    run("--task", "all", "--images-dir", folder, "--data-dir", tmp_path)
    assert Dataset(tmp_path / "jpg").num_images == 1
    assert Dataset(tmp_path / "all").num_images == 15


def test_the_same_command_again_does_nothing(folder, tmp_path, capsys):
    argv = ("--task", "a", "--images-dir", folder, "--data-dir", tmp_path)
    run(*argv)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    assert run(*argv) == 0
    assert "is ready already" in capsys.readouterr().out
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}


def test_another_command_replaces_a_set_only_when_told(folder, tmp_path, capsys):
    argv = ("--task", "a", "--images-dir", folder, "--data-dir", tmp_path)
    run(*argv, "--shards-num", 3)
    before = contents(tmp_path / "a")
    assert run(*argv, "--max-images", 4) == 2
    assert "made with another max_images, shards_num" in capsys.readouterr().err
    assert contents(tmp_path / "a") == before
    assert run(*argv, "--max-images", 4, "--overwrite") == 0
    assert (stored(tmp_path / "a") == pixels_of(folder)[:4]).all()
    assert sorted(contents(tmp_path / "a")) == ["a-r05.tfrecords1of1", "dataset.json"]


def test_a_changed_picture_is_noticed(folder, tmp_path, capsys):
    argv = ("--task", "a", "--images-dir", folder, "--data-dir", tmp_path)
    run(*argv)
    Image.new("RGB", (32, 32), "red").save(str(folder / "a" / "00.png"))
    assert run(*argv) == 2
    assert "made with another source" in capsys.readouterr().err


def test_sets_of_other_tools_are_not_replaced_unasked(folder, data_dir, tmp_path, capsys):
    shutil.copytree(str(data_dir / "tfrecords/gansformer_imgs"), str(tmp_path / "a"))
    assert run("--task", "a", "--images-dir", folder, "--data-dir", tmp_path) == 2
    assert "TFRecords of another tool" in capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "a-r05.tfrecords1of1", "pictures"])
def test_a_set_is_not_made_of_itself(folder, tmp_path, capsys, below):
    argv = ("--task", "a", "--data-dir", tmp_path / "link")
    (tmp_path / "sets").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "sets")
    run(*argv, "--images-dir", folder)
    shutil.copytree(str(folder), str(tmp_path / "sets/a/pictures"))
    before = contents(tmp_path / "sets/a")
    path = tmp_path / "sets/a" / below
    assert run(*argv, "--images-dir", path, "--shards-num", 2, "--overwrite") == 2
    error = capsys.readouterr().err
    assert "lies in the folder of --task a itself" in error and error.count("\n") == 1
    assert contents(tmp_path / "sets/a") == before
    argv = ("--task", "ab", "--data-dir", tmp_path / "link", "--shards-num", 2)
    assert run(*argv, "--images-dir", path) == 0
    assert (stored(tmp_path / "sets/ab") == pixels_of(folder)).all()


@pytest.mark.parametrize("text", ["[]", "{", '{"recipe": []}', '{"files": {"a": 5}}'])
def test_a_dataset_json_of_another_form_is_one_line(folder, tmp_path, capsys, text):
    where = ("--data-dir", tmp_path)
    argv = ("--task", "a", *where)
    run(*argv, "--images-dir", folder)
    whole = (tmp_path / "a/dataset.json").read_bytes()
    (tmp_path / "a/dataset.json").write_text(text)
    for flags in (
        (*argv, "--images-dir", folder),
        (*argv, "--verify"),
        ("--task", "b", *where, "--images-dir", tmp_path / "a"),
    ):
        assert run(*flags) == 2
        error = capsys.readouterr().err
        assert f"{tmp_path}/a/dataset.json: " in error and error.count("\n") == 1
    assert run(*argv, "--images-dir", folder, "--overwrite") == 0
    assert (tmp_path / "a/dataset.json").read_bytes() == whole


def test_verify_needs_no_checksums_in_dataset_json(folder, tmp_path, capsys):
    argv = ("--task", "a", "--data-dir", tmp_path)
    run(*argv, "--images-dir", folder)
    info = json.loads((tmp_path / "a/dataset.json").read_text())
    for entry in info["files"].values():
        del entry["crc32"]
    (tmp_path / "a/dataset.json").write_text(json.dumps(info))
    assert run(*argv, "--verify") == 0


# Bad pictures


def test_unreadable_pictures_are_named_skipped_and_counted(folder, tmp_path, capsys):
    whole = pixels_of(folder)
    (folder / "a" / "00b.png").write_bytes((folder / "a" / "00.png").read_bytes()[:50])
    (folder / "b" / "empty.jpg").write_bytes(b"")
    argv = ("--task", "a", "--images-dir", folder, "--data-dir", tmp_path, "--shards-num", 2)
    assert run(*argv) == 0
    out = capsys.readouterr().out
    assert "00b.png: " in out and "empty.jpg: the file is empty" in out
    assert "2 unreadable images were skipped" in out
    assert (stored(tmp_path / "a") == whole).all()
    assert json.loads((tmp_path / "a/dataset.json").read_text())["skipped_num"] == 2


def test_strict_refuses_unreadable_pictures(folder, tmp_path, capsys):
    (folder / "b" / "03x.png").write_bytes(b"no image")
    argv = ("--task", "a", "--images-dir", folder, "--data-dir", tmp_path, "--strict")
    assert run(*argv) == 2
    error = capsys.readouterr().err
    assert "03x.png: cannot identify image file" in error and error.count("\n") == 1
    assert not (tmp_path / "a/dataset.json").exists()
    with pytest.raises(UserError, match="interrupted"):
        Dataset(tmp_path / "a")
    (folder / "b" / "03x.png").unlink()
    assert run(*argv) == 0 and Dataset(tmp_path / "a").num_images == 14


def test_a_folder_of_unreadable_pictures_is_refused(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/x.png").write_bytes(b"no image")
    argv = ("--task", "a", "--images-dir", tmp_path / "images", "--data-dir", tmp_path)
    assert run(*argv) == 2
    assert "no readable image found; the last one tried: " in capsys.readouterr().err
    assert run(*argv, "--resolution", 8) == 2
    assert "none of 1 images could be read" in capsys.readouterr().err


def test_kinds_of_pictures_are_reported_with_their_rule(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8), 77).save(str(tmp_path / "images/grey.png"))
    Image.new("RGBA", (8, 8), (9, 9, 9, 9)).save(str(tmp_path / "images/clear.png"))
    run("--task", "a", "--images-dir", tmp_path / "images", "--data-dir", tmp_path)
    out = capsys.readouterr().out
    assert "1 images: grey, three equal channels" in out
    assert "1 images: transparent, laid on white" in out


def test_mixed_sizes_all_become_the_size_of_the_first(tmp_path):
    (tmp_path / "images").mkdir()
    for index, size in enumerate([(40, 30), (9, 70), (300, 200)]):
        Image.new("RGB", size, (50, 60, 70)).save(str(tmp_path / f"images/{index}.png"))
    run("--task", "a", "--images-dir", tmp_path / "images", "--data-dir", tmp_path)
    images = stored(tmp_path / "a")
    assert images.shape == (3, 3, 32, 32)
    assert (images == np.array([50, 60, 70]).reshape(1, 3, 1, 1)).all()


# Bad commands


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "nothing to prepare"),
        (["--scenes", "--task", "x"], "needs --images-dir"),
        (["--ffhq", "--scenes", "--source", "a", "--task", "ffhq"], "needs --images-dir"),
        (["--ffhq", "--clevr", "--source", "a"], "give just one of them"),
        (["--clevr", "--clevr-original"], "make the same set"),
        (["--scenes", "--keep-archives"], "--keep-archives: has no meaning with --scenes"),
        (["--scenes", "--task", "scenes", "--images-dir", "."], "another set of this command"),
        (["--ffhq", "--scenes", "--preview", "a.png"], "draws one set"),
        (["--task", "x", "--verify"], "there is no such set"),
        (
            ["--task", "x", "--verify", "--strict"],
            "--strict: has no meaning where --task x is only",
        ),
        (["--task", "x", "--preview", "x.png", "--overwrite"], "--overwrite: has no meaning where"),
        (["--task", "x", "--verify", "--resolution", "8"], "--resolution: has no meaning where"),
        (
            ["--scenes", "--task", "x", "--verify", "--labels", "none"],
            "--labels: has no meaning wh",
        ),
        (["--scenes", "--preview", "a.jpg"], "sheets are PNG files"),
        (["--scenes", "--preview", "."], "sheets are PNG files"),
        (["--scene"], "did you mean '--scenes'?"),
        (["--scenes", "--resolution", "48"], "power of two from 4 to 4096; nearest: 32 or 64"),
        (["--scenes", "--images-num", "0"], "must be at least 1"),
        (["--scenes", "--seed", "-1"], "must be an integer from 0 up"),
        (["--scenes", "--ratio", "0.5"], "--ratio: has no meaning with --scenes"),
        (["--scenes", "--strict"], "--strict: has no meaning with --scenes"),
        (["--task", "x", "--seed", "0"], "--seed: has no meaning with --task"),
        (["--task", "x"], "needs --images-dir"),
        (["--task", "x", "--task", "y", "--images-dir", "."], "--task: is given twice"),
        (["--task", "x", "--images-dir", ".", "--images-dir", "/"], "--images-dir: is given twice"),
        (["--task", "a/b", "--images-dir", "."], "must be a plain name"),
        (["--task", "x", "--images-dir", "/nowhere"], "there is no such"),
        (["--task", "x", "--images-dir", ".", "--crop", "centre"], "did you mean 'center'?"),
        (["--task", "x", "--images-dir", ".", "--ratio", "1.5e9"], "from 1/100 to 100"),
        (["--task", "x", "--images-dir", ".", "--ratio", "0"], "must be above 0"),
        (
            ["--task", "x", "--images-dir", ".", "--ratio", "1/2", "--crop", "none"],
            "--ratio: --crop none cuts nothing",
        ),
        (["--clevr", "--ratio", "1/2", "--crop", "stretch"], "--crop stretch cuts nothing"),
        (["--task", "x", "--images-dir", ".", "--format", "jpgg"], "did you mean 'jpg'?"),
    ],
)
def test_bad_commands_get_one_line_and_status_2(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not os.listdir(str(tmp_path))


def test_an_empty_folder_is_refused(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    assert run("--task", "a", "--images-dir", tmp_path / "images", "--data-dir", tmp_path) == 2
    assert "holds no images (.png .jpg" in capsys.readouterr().err


# Interruptions


class PowerCut(Exception):
    """Stands for the end of a process."""


def cut_after(monkeypatch, count):
    """Make the writer fail when ``count`` more images are written."""
    add, left = writer_module.SetWriter.add, [count]

    def failing(self, *args):
        left[0] -= 1
        if left[0] < 0:
            raise PowerCut
        add(self, *args)

    monkeypatch.setattr(writer_module.SetWriter, "add", failing)


def note_progress(monkeypatch, seconds=0.0):
    """Have progress noted so often; after each image by default."""
    monkeypatch.setattr(writer_module, "_SYNC_SECONDS", seconds)
    monkeypatch.setattr(writer_module, "_SYNC_SHARE", math.inf)


def begin(folder, out, recipe, count, monkeypatch):
    """Prepare a set until the power goes after ``count`` pictures."""
    with monkeypatch.context() as patch:
        cut_after(patch, count)
        with pytest.raises(PowerCut):
            prepare(FolderSource(str(folder)), str(out), recipe, workers=1)


@pytest.mark.parametrize("noted", [0.0, 1e9])
def test_an_interrupted_run_goes_on_to_the_same_bytes(folder, tmp_path, monkeypatch, noted):
    """Whether the progress was noted after each image or never since the start."""
    note_progress(monkeypatch, noted)
    (folder / "a" / "03.png").write_bytes(b"unreadable")
    recipe = Recipe(shards_num=2, multi_resolution=True)
    prepare(FolderSource(str(folder)), str(tmp_path / "x/whole"), recipe, workers=1)
    for count in (4, 3, 0):
        begin(folder, tmp_path / "y/whole", recipe, count, monkeypatch)
        # What was written after the last note is torn.
        for path in (tmp_path / "y/whole/.partial").glob("*.tfrecords*"):
            path.write_bytes(path.read_bytes() + b"torn" * 50000)
    prepare(FolderSource(str(folder)), str(tmp_path / "y/whole"), recipe, workers=1)
    assert contents(tmp_path / "x/whole") == contents(tmp_path / "y/whole")
    assert not (tmp_path / "y/whole/.partial").exists()


def test_on_a_slow_disk_progress_is_noted_less_often(tmp_path, monkeypatch):
    """Noting it takes at most a twentieth of the time."""
    clock, noted = [0.0], []

    def slow_sync(_):
        clock[0] += 3.0
        noted.append(clock[0])

    monkeypatch.setattr(writer_module, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(writer_module._Stream, "sync", slow_sync)
    writer = writer_module.SetWriter(str(tmp_path / "a"), {}, [8], 1)
    while clock[0] < 200:
        clock[0] += 0.5
        writer.sync()
    writer.close()
    assert noted == [4.0, 67.0, 130.0, 193.0]


def test_another_command_starts_over_instead_of_mixing(folder, tmp_path, monkeypatch):
    note_progress(monkeypatch)
    begin(folder, tmp_path / "a", Recipe(shards_num=2), 5, monkeypatch)
    prepare(FolderSource(str(folder)), str(tmp_path / "a"), Recipe(shards_num=3), workers=1)
    assert (stored(tmp_path / "a") == pixels_of(folder)).all()


PROGRESS = {"recipe": {}, "consumed": 3, "written": 3, "tally": {}, "streams": {}}


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "{", "\xff", "null"),
        json.dumps(dict(PROGRESS, streams=[])),
        json.dumps(dict(PROGRESS, streams={"x": 5})),
        json.dumps(dict(PROGRESS, tally=None)),
        json.dumps(dict(PROGRESS, finished=[])),
        json.dumps(dict(PROGRESS, finished={"a": 1})),
    ],
)
def test_a_progress_of_another_form_is_a_fresh_start(folder, tmp_path, text):
    (tmp_path / "a/.partial").mkdir(parents=True)
    (tmp_path / "a/.partial/progress.json").write_bytes(text.encode("latin-1"))
    with contextlib.closing(writer_module.SetWriter(str(tmp_path / "a"), {}, [8], 1)) as writer:
        assert not writer.is_resumed and not writer.is_finished
    assert run("--task", "a", "--images-dir", folder, "--data-dir", tmp_path) == 0
    assert (stored(tmp_path / "a") == pixels_of(folder)).all()


@pytest.mark.parametrize("step", range(5))
def test_an_interruption_while_files_are_moved_is_mended(folder, tmp_path, monkeypatch, step):
    """At no point does a mixture of the old and the new set look whole."""
    argv = ("--task", "a", "--images-dir", folder, "--data-dir", tmp_path, "--shards-num", 3)
    run(*argv, "--max-images", 6)
    replace, left = os.replace, [step]

    def failing(source, target):
        if ".tfrecords" in str(target) or "dataset.json" in str(target):
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        if step < 4:
            with pytest.raises(PowerCut):
                prepare_data.main([str(arg) for arg in (*argv, "--overwrite")])
            with pytest.raises(UserError, match="interrupted"):
                Dataset(tmp_path / "a")
    assert run(*argv, "--overwrite") == 0
    assert (stored(tmp_path / "a") == pixels_of(folder)).all()


def test_a_full_disk_gets_one_line_and_keeps_the_old_set(folder, tmp_path, monkeypatch, capsys):
    argv = ("--task", "a", "--images-dir", folder, "--data-dir", tmp_path)
    run(*argv, "--max-images", 3)
    before = contents(tmp_path / "a")
    write, left = writer_module._Stream.write, [5]

    def full(self, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(writer_module._Stream, "write", full)
        assert run(*argv, "--overwrite", "--workers", 1) == 2
    error = capsys.readouterr().err
    assert "the disk is full" in error and error.count("\n") == 1
    assert contents(tmp_path / "a") == before
    assert (stored(tmp_path / "a") == pixels_of(folder)[:3]).all()
    assert run(*argv, "--overwrite") == 0
    assert (stored(tmp_path / "a") == pixels_of(folder)).all()


def test_too_little_room_is_said_before_the_work(tmp_path, capsys):
    argv = ("--scenes", "--images-num", 10**9, "--resolution", 256, "--data-dir", tmp_path)
    assert run(*argv) == 2
    assert "1000000000 images need 263244.0 GB" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_said_in_fitting_units(folder, tmp_path, capsys, monkeypatch):
    free = [1.5e6, 2e9]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=free[0]))
    argv = ("--task", "a", "--images-dir", folder, "--data-dir", tmp_path)
    assert run(*argv, "--resolution", 256, "--labels", "folders") == 2
    assert "14 images need 2.8 MB, but 1.5 MB are free" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    np.save(str(tmp_path / "labels.npy"), np.arange(14) * 2000)
    assert run(*argv, "--labels", tmp_path / "labels.npy") == 2
    assert "14 images need 1.5 MB, but 1.5 MB are free" in capsys.readouterr().err
    free[0] = 100
    assert run(*argv) == 2
    assert "14 images need 44.4 kB, but 0.1 kB are free" in capsys.readouterr().err
    free.pop(0)
    assert run(*argv) == 0
    free[0] = 100
    assert run(*argv, "--max-images", 3, "--overwrite") == 2
    assert (stored(tmp_path / "a") == pixels_of(folder)).all()
    assert not (tmp_path / "a/.partial").exists()


def test_too_little_room_keeps_what_is_done(folder, tmp_path, monkeypatch):
    note_progress(monkeypatch)
    begin(folder, tmp_path / "a", Recipe(), 5, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=100))
        with pytest.raises(UserError, match=r"9 images need"):
            prepare(FolderSource(str(folder)), str(tmp_path / "a"), Recipe(), workers=1)
    progress = json.loads((tmp_path / "a/.partial/progress.json").read_text())
    assert progress["written"] == 5


def test_a_set_that_is_looked_at_is_prepared_as_the_flags_say(tmp_path, capsys):
    argv = ("--scenes", "--data-dir", tmp_path, "--verify")
    assert run(*argv, "--images-num", 3, "--resolution", 16) == 0
    assert "all 3 images of resolution 16 are whole" in capsys.readouterr().out
    assert run(*argv) == 0
    assert run(*argv, "--images-num", 3, "--resolution", 16) == 0
    capsys.readouterr()
    assert run(*argv, "--images-num", 3, "--resolution", 32) == 2
    assert "exists already, made with another resolution" in capsys.readouterr().err
    assert run(*argv, "--images-num", 3, "--resolution", 32, "--overwrite") == 0
    assert "all 3 images of resolution 32 are whole" in capsys.readouterr().out


def test_a_sheet_may_lie_in_the_folder_that_is_made(folder, tmp_path, capsys):
    argv = ("--task", "a", "--images-dir", folder, "--data-dir", tmp_path)
    assert run(*argv, "--preview", tmp_path / "a/sheet.PNG") == 0
    assert Image.open(str(tmp_path / "a/sheet.PNG")).size == (8 * 32, 2 * 32)
    assert run(*argv, "--preview", tmp_path / "nowhere/sheet.png") == 2
    error = capsys.readouterr().err
    assert "nowhere/sheet.png: cannot be written" in error and error.count("\n") == 1


def test_places_that_take_no_set_get_one_line(folder, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "dir.png").mkdir()
    sets = {
        "file/x: no set can be written there": ("--task", "x", "--data-dir", tmp_path / "file"),
        "file: no set can be written there": ("--task", "file", "--data-dir", tmp_path),
        "--data-dir": ("--clevr", "--data-dir", tmp_path / "file"),
        "--preview": ("--task", "x", "--data-dir", tmp_path, "--preview", tmp_path / "dir.png"),
    }
    for message, argv in sets.items():
        assert run(*argv, *(() if "--clevr" in argv else ("--images-dir", folder))) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert (tmp_path / "file").read_bytes() == b"mine" and not (tmp_path / "x").exists()


def test_two_processes_do_not_write_the_same_set(folder, tmp_path, capsys):
    writer = writer_module.SetWriter(str(tmp_path / "a"), {}, [8], 1)
    assert run("--task", "a", "--images-dir", folder, "--data-dir", tmp_path) == 2
    assert "another process is preparing this set" in capsys.readouterr().err
    writer.close()


def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path, root):
    """SIGKILL, twice, then to the end."""
    argv = ["--scenes", "--images-num", "400", "--resolution", "16", "--workers", "1"]
    whole = ScenesSource(400, 16)
    prepare(whole, str(tmp_path / "whole/scenes"), Recipe(resolution=16), workers=1)

    def start():
        code = (
            "import sys, prepare_data, datasets_tool.writer as w; w._SYNC_SECONDS = 0.15; "
            "prepare_data.main(sys.argv[1:])"
        )
        command = [sys.executable, "-c", code, *argv, "--data-dir", str(tmp_path / "killed")]
        return subprocess.Popen(command, cwd=str(root), stdout=subprocess.DEVNULL)

    progress = tmp_path / "killed/scenes/.partial/progress.json"
    rng, seen = np.random.RandomState(int(time.time())), 0
    for _ in range(2):
        process = start()
        deadline = time.time() + 60
        while time.time() < deadline and process.poll() is None:
            if progress.exists() and json.loads(progress.read_text())["written"] > seen:
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not progress.exists():
            break
        seen = json.loads(progress.read_text())["written"]
    assert seen > 0
    assert start().wait() == 0
    assert contents(tmp_path / "whole/scenes") == contents(tmp_path / "killed/scenes")


def test_workers_end_with_a_killed_parent(tmp_path, root):
    command = [sys.executable, "prepare_data.py", "--scenes", "--resolution", "64"]
    process = subprocess.Popen(
        [*command, "--workers", "2", "--data-dir", str(tmp_path)], cwd=str(root)
    )

    def workers():
        text = subprocess.run(
            ["ps", "-A", "-o", "pid,ppid,args"], stdout=subprocess.PIPE, check=True
        )
        rows = [line.split(None, 2) for line in text.stdout.decode().splitlines()[1:]]
        return {int(pid) for pid, parent, args in rows if int(parent) == process.pid}

    def alive(pids):
        return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]

    progress = tmp_path / "scenes/scenes-r06.tfrecords1of1"
    progress = tmp_path / "scenes/.partial" / progress.name
    deadline = time.time() + 60
    while time.time() < deadline and not (progress.exists() and progress.stat().st_size):
        time.sleep(0.05)
    started = workers()
    process.kill()
    process.wait()
    assert len(started) >= 2
    while time.time() < deadline and alive(started):
        time.sleep(0.1)
    assert not alive(started)


def test_systems_without_signal_masks_prepare_too(monkeypatch):
    monkeypatch.delattr(signal, "pthread_sigmask")
    answers = []
    before = signal.signal(signal.SIGINT, lambda *_: answers.append(1))
    try:
        with interrupts_wait():
            os.kill(os.getpid(), signal.SIGINT)
            assert not answers
        assert answers == [1]
    finally:
        signal.signal(signal.SIGINT, before)


class InterruptedLock:
    """A lock; Ctrl-C is pressed whenever it is taken."""

    def __init__(self):
        self.lock = threading.Lock()
        self.acquire, self.release = self.lock.acquire, self.lock.release

    def __enter__(self):
        self.lock.acquire()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    def __exit__(self, *_):
        self.lock.release()


def test_an_interrupt_leaves_no_future_locked():
    """The pool's thread would wait for it for ever."""
    lock, future = InterruptedLock(), concurrent.futures.Future()
    future.set_result(7)
    future._condition = threading.Condition(lock)
    with pytest.raises(KeyboardInterrupt):
        result_of(future)
    assert not lock.lock.locked()
    calls = []
    with pytest.raises(KeyboardInterrupt):
        end_pool(types.SimpleNamespace(shutdown=lambda: calls.append("shutdown")), [future])
    assert not lock.lock.locked() and calls == ["shutdown"]


def interrupt(argv, root, ready, wait):
    """Press Ctrl-C ``wait`` seconds after ``ready(pid)``; returns the exit status and stderr."""
    command = [sys.executable, "prepare_data.py", *(str(word) for word in argv)]
    process = subprocess.Popen(
        command,
        cwd=str(root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.time() + 60
    while time.time() < deadline and process.poll() is None and not ready(process.pid):
        time.sleep(0.005)
    time.sleep(wait)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    return process.returncode, error.decode()


def has_worker(parent):
    """Whether a process has started a worker, which is not set up yet then."""
    command = ["ps", "-A", "-ww", "-o", "ppid,args"]
    text = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    rows = [line.split(None, 1) for line in text.stdout.decode().splitlines()[1:]]
    return any(int(ppid) == parent and "spawn_main" in args for ppid, args in rows)


@pytest.mark.parametrize("wait", [0.0, 0.1, 0.5])
def test_an_interrupted_command_says_so_in_one_line(tmp_path, root, wait):
    """Also while its workers are starting."""
    argv = ("--scenes", "--images-num", 5000, "--data-dir", tmp_path, "--workers", 2)
    assert interrupt(argv, root, has_worker, wait) == (130, "interrupted\n")


@pytest.mark.parametrize("wait", [0.0, 0.1, 0.5])
def test_an_interrupted_check_stops_at_once(tmp_path, root, wait):
    """Two shards of 100000 images each; all of them take longer than this test may."""
    images = np.random.RandomState(0).randint(0, 256, [1, 3, 16, 16]).astype(np.uint8)
    shard = write_set(tmp_path / "x", images) / "x-r04.tfrecords1of1"
    record = shard.read_bytes()
    shard.unlink()
    for index in (1, 2):
        (tmp_path / f"x/x-r04.tfrecords{index}of2").write_bytes(record * 100000)
    argv = ("--task", "x", "--data-dir", tmp_path, "--verify", "--workers", 2)
    start = time.time()
    assert interrupt(argv, root, has_worker, wait) == (130, "interrupted\n")
    assert time.time() - start < 20


def test_a_lost_worker_is_explained(folder, tmp_path):
    class Deadly(FolderSource):
        def load(self, key):
            os.kill(os.getpid(), signal.SIGKILL)

        def resolution_of_set(self):
            return 32

    # Spawned workers find the class by name.
    globals()["Deadly"] = Deadly
    Deadly.__qualname__ = "Deadly"
    with pytest.raises(UserError, match="a worker process was killed"):
        prepare(Deadly(str(folder)), str(tmp_path / "a"), Recipe(), workers=2)


def test_neither_the_command_nor_its_workers_import_tensorflow(root):
    code = "import sys, prepare_data; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=str(root), check=True)
