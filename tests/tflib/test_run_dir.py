"""Run directories, the configuration file, the log."""

import errno
import os

import pytest

from dnnlib import UserError, files, util
from dnnlib.submission import run_dir


def test_numbers_and_exact_names(tmp_path):
    results = str(tmp_path / "results")
    assert run_dir.latest_run(results, "exp") is None
    assert [run_dir.create_run(results, "exp").name for _ in range(2)] == ["exp-000", "exp-001"]
    assert run_dir.create_run(results, "exp-foo").name == "exp-foo-000"
    for name in ("exp-abc", "exp-003-old", "exp-004.bak", "old-exp-005", "exp-01"):
        (tmp_path / "results" / name).mkdir()
    (tmp_path / "results" / "exp-007").write_text("a file")
    assert run_dir.latest_run(results, "exp").name == "exp-001"
    assert run_dir.latest_run(results, "exp-foo").name == "exp-foo-000"


def test_more_than_a_thousand_runs(tmp_path):
    for name in ("exp-999", "exp-1000"):
        (tmp_path / name).mkdir()
    assert run_dir.latest_run(str(tmp_path), "exp").name == "exp-1000"
    assert run_dir.create_run(str(tmp_path), "exp").name == "exp-1001"


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b"])
def test_bad_names(tmp_path, name):
    with pytest.raises(UserError, match=r"--expname=.* cannot name a folder"):
        run_dir.create_run(str(tmp_path), name)


def test_unwritable_result_dir(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--result-dir=.*cannot make a folder"):
        run_dir.create_run(str(tmp_path / "file"), "exp")


def test_config_round_trip_and_damage(tmp_path):
    config = {"G": {"components_num": 8, "kmeans": True, "psi": None}, "gamma": 0.5}
    config.update(flags={"gamma": 0.5}, loop={"total_kimg": 1.0}, facts={})
    run_dir.save_config(tmp_path, config)
    assert run_dir.load_config(tmp_path) == config
    (tmp_path / "config.json").write_text("[1, 2]")
    with pytest.raises(UserError, match="damaged"):
        run_dir.load_config(tmp_path)
    (tmp_path / "config.json").write_text('{"G": ')
    with pytest.raises(UserError, match="damaged"):
        run_dir.load_config(tmp_path)
    for text, lost in (("{}", "flags, loop, facts"), ('{"flags": {}, "loop": 3}', "loop, facts")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=rf"config\.json is damaged \(no {lost}\); use another"):
            run_dir.load_config(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match="is missing"):
        run_dir.load_config(tmp_path)


def test_log_goes_to_both_places(tmp_path, capsys):
    util.log("before")
    with run_dir.open_log(tmp_path):
        util.log("tick 0")
    with run_dir.open_log(tmp_path):
        util.log("tick 1")
    util.log("after")
    assert capsys.readouterr().out == "before\ntick 0\ntick 1\nafter\n"
    assert (tmp_path / "log.txt").read_text() == "tick 0\ntick 1\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_takes_lines_from_the_log_only(tmp_path, capsys):
    (tmp_path / "log.txt").symlink_to("/dev/full")
    with run_dir.open_log(tmp_path):
        util.log("tick 0")
        util.log("tick 1")
    assert capsys.readouterr().out == "tick 0\ntick 1\n"


def test_a_folder_that_takes_no_files_is_the_users_to_know():
    with pytest.raises(UserError, match=r"^/proc/a: cannot be written \("), util.atomic_write(
        "/proc/a"
    ):
        raise AssertionError("nothing is open")
    with pytest.raises(UserError, match=r"^--out=/proc: no files can be written there \("):
        util.make_folder("/proc", "--out")


def test_atomic_write_keeps_the_earlier_file_on_any_error(tmp_path):
    path = tmp_path / "file"
    with util.atomic_write(path) as file:
        file.write(b"good")
    with pytest.raises(RuntimeError), util.atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["file"]


def test_full_disk_is_one_clear_line(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"good")
    message = r"file: not saved, the disk is full; the earlier file is kept"
    with pytest.raises(UserError, match=message), util.atomic_write(path) as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_for_real(tmp_path, monkeypatch):
    """A write that the kernel refuses: the temporary file is /dev/full."""
    monkeypatch.setattr(
        files.tempfile, "mkstemp", lambda **_: (os.open("/dev/full", os.O_WRONLY), "none")
    )
    path = tmp_path / "file"
    with pytest.raises(UserError, match="the disk is full"), util.atomic_write(path) as file:
        file.write(b"x" * 100)


def test_file_mode_follows_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with util.atomic_write(tmp_path / "file", "w") as file:
            file.write("text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (125, "2m 05s"),
        (11229, "3h 07m 09s"),
        (86399.7, "1d 00h 00m"),
        (93600, "1d 02h 00m"),
    ],
)
def test_format_time(seconds, text):
    assert util.format_time(seconds) == text


def test_easy_dict():
    options = util.EasyDict(a=1)
    options.b = 2
    assert options == {"a": 1, "b": 2}
    del options.a
    assert not hasattr(options, "a")
    with pytest.raises(AttributeError):
        del options.a


def test_the_newest_snapshot_is_the_one_of_the_most_kimg(tmp_path):
    assert run_dir.newest_snapshot(str(tmp_path), "exp") is None
    first, empty = run_dir.create_run(tmp_path, "exp"), run_dir.create_run(tmp_path, "exp")
    (first / "network-final.pkl").touch()
    assert run_dir.newest_snapshot(str(tmp_path), "exp") == first / "network-final.pkl"
    for name in ("000980", "001000", "1000000", "9999999.tmp"):
        (first / f"network-snapshot-{name}.pkl").touch()
    assert run_dir.newest_snapshot(str(tmp_path), "exp").name == "network-snapshot-1000000.pkl"
    (empty / "network-snapshot-000001.pkl").touch()
    assert run_dir.newest_snapshot(str(tmp_path), "exp").parent == empty


def test_snapshots_less_than_a_thousand_images_apart_have_names_of_their_own(tmp_path):
    names = [
        f"network-snapshot-{run_dir.kimg_text(nimg, True)}.pkl" for nimg in (0, 512, 1000, 1024)
    ]
    assert (
        names[1] == "network-snapshot-000000.512.pkl" and names[2] == "network-snapshot-000001.pkl"
    )
    assert run_dir.kimg_text(12512) == "000012"
    for name in [*names, "network-snapshot-final.pkl", "fakes-000001.png"]:
        (tmp_path / name).touch()
    found = run_dir.find_snapshots(tmp_path)
    assert found == [(k, tmp_path / n) for k, n in zip((0, 0.512, 1, 1.024), names)]
    assert run_dir.named_kimg("fakes-000001.png", "fakes") == 1
    assert run_dir.named_kimg("fakes-1.png", "fakes") is None
