"""Submitting a function: the run directory, what it holds, and the context of a run."""

import io
import json
import pickle
import sys

import pytest

import dnnlib
from dnnlib import util
from dnnlib.submission import names, submit

SCRIPT = """
import dnnlib

def draw(seeds, scale=1.0):
    for seed in seeds:
        with open(dnnlib.make_run_dir_path(f"seed{seed}.txt"), "w") as file:
            file.write(str(seed * scale))
        print("drawn", seed)
    return len(seeds)

def tell(submit_config):
    return submit_config.run_id, dnnlib.submit_config is submit_config

def fail():
    raise RuntimeError("no such luck")
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A SubmitConfig, and an importable script ``drawing`` with data beside it."""
    folder = tmp_path / "project"
    (folder / "parts").mkdir(parents=True)
    (folder / "drawing.py").write_text(SCRIPT)
    (folder / "parts" / "piece.py").write_text("x = 1\n")
    (folder / "parts" / "skipped_one.py").write_text("x = 2\n")
    (folder / "picture.png").write_bytes(b"data")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "drawing", raising=False)
    config = dnnlib.SubmitConfig()
    config.run_dir_root = str(tmp_path / "runs")
    config.run_desc = "draw-them"
    config.run_dir_ignore.append("skipped_*")
    return config


def test_a_run_has_a_directory_with_its_call_sources_log_and_results(config, tmp_path, capsys):
    assert dnnlib.submit_run(config, "drawing.draw", seeds=[3, 5], scale=2.0) == 2
    run_dir = tmp_path / "runs" / "00000-draw-them"
    assert (run_dir / "seed5.txt").read_text() == "10.0"
    assert (run_dir / "src" / "drawing.py").read_text() == SCRIPT
    assert (run_dir / "src" / "parts" / "piece.py").exists()
    assert not (run_dir / "src" / "parts" / "skipped_one.py").exists()
    assert not (run_dir / "src" / "picture.png").exists()
    assert (run_dir / "src" / "dnnlib" / "util.py").exists()
    log = (run_dir / "log.txt").read_text()
    assert "drawn 3\ndrawn 5\n" in log and "Finished drawing.draw()" in log
    assert "drawn 5" in capsys.readouterr().out
    assert (run_dir / "_finished.txt").exists()
    with (run_dir / "submit_config.pkl").open("rb") as file:
        stored = pickle.load(file)
    assert stored.run_func_kwargs == {"seeds": [3, 5], "scale": 2.0}
    assert "'run_name': '00000-draw-them'" in (run_dir / "submit_config.txt").read_text()
    (entry,) = json.loads((run_dir / "run.json").read_text())
    assert entry["python"] == sys.version.split()[0] and entry["command"][0] == sys.executable
    assert config.run_dir is None  # the caller's stays as it was


def test_runs_are_numbered_and_know_their_configuration(config, tmp_path):
    (tmp_path / "runs" / "00007-other").mkdir(parents=True)
    config.local.do_not_copy_source_files = True
    assert dnnlib.submit_run(config, "drawing.tell") == (8, True)
    assert not (tmp_path / "runs" / "00008-draw-them" / "src").exists()
    assert dnnlib.submit_config is None
    assert dnnlib.make_run_dir_path("a", "b").replace("\\", "/") == "./a/b"


def test_a_failed_run_leaves_its_traceback_and_is_not_finished(config, tmp_path):
    with pytest.raises(RuntimeError, match="no such luck"):
        dnnlib.submit_run(config, "drawing.fail")
    run_dir = tmp_path / "runs" / "00000-draw-them"
    assert "RuntimeError: no such luck" in (run_dir / "log.txt").read_text()
    assert not (run_dir / "_finished.txt").exists()
    assert dnnlib.submit_config is None and not isinstance(sys.stdout, util.Logger)


def test_a_run_is_continued_in_its_directory(config, tmp_path):
    dnnlib.submit_run(config, "drawing.draw", seeds=[1])
    config.run_dir = str(tmp_path / "runs" / "00000-draw-them")
    dnnlib.submit_run(config, "drawing.draw", seeds=[2])
    run_dir = tmp_path / "runs" / "00000-draw-them"
    assert (run_dir / "seed1.txt").exists() and (run_dir / "seed2.txt").exists()
    log = (run_dir / "log.txt").read_text()
    assert log.index("drawn 1") < log.index("drawn 2")
    assert len(json.loads((run_dir / "run.json").read_text())) == 2
    config.run_dir += "x"
    with pytest.raises(dnnlib.UserError, match="no such folder"):
        dnnlib.submit_run(config, "drawing.draw", seeds=[2])


def test_what_cannot_run_leaves_no_directory(config, tmp_path):
    with pytest.raises(ImportError, match="sketch"):
        dnnlib.submit_run(config, "drawing.sketch")
    with pytest.raises(ImportError):
        dnnlib.submit_run(config, "no_such_module.draw")
    config.run_desc = "a/b"
    with pytest.raises(dnnlib.UserError, match="run_desc='a/b'"):
        dnnlib.submit_run(config, "drawing.draw", seeds=[1])
    assert not list((tmp_path / "runs").glob("*"))


def test_extra_files_are_copied(config, tmp_path):
    config.run_dir_extra_files.append((str(tmp_path / "project/picture.png"), "data/p.png"))
    dnnlib.submit_run(config, "drawing.draw", seeds=[])
    assert (tmp_path / "runs/00000-draw-them/data/p.png").read_bytes() == b"data"


def test_context_of_a_run(tmp_path):
    config = dnnlib.SubmitConfig()
    config.run_dir = str(tmp_path)
    with dnnlib.RunContext(config, None) as outer:
        assert dnnlib.RunContext.get() is outer and not outer.should_stop()
        outer.update(loss="1.5", cur_epoch=3, max_epoch=7)
        assert outer.get_last_update_interval() <= outer.get_time_since_start()
        inner = dnnlib.RunContext(None)
        assert dnnlib.RunContext.get() is inner and not inner.should_stop()
        inner.close()
        (tmp_path / "abort.txt").touch()
        assert dnnlib.RunContext.get().should_stop()
    assert dnnlib.RunContext.get() is None


def test_paths_of_both_platforms(monkeypatch):
    monkeypatch.setattr(names, "_user_name_override", "ada")
    template = "~/runs/<USERNAME>/x"
    assert dnnlib.get_path_from_template(template, dnnlib.PathType.LINUX) == "~/runs/ada/x"
    assert dnnlib.get_path_from_template(template, dnnlib.PathType.WINDOWS) == r"~\runs\ada\x"
    assert dnnlib.convert_path(r"a\b", dnnlib.PathType.LINUX) == "a/b"
    assert submit.get_template_from_path(r"a\b") == "a/b"


def test_objects_by_name():
    assert util.call_func_by_name(2, 3, func_name="math.pow") == 8
    assert util.get_obj_by_name("dnnlib.util.EasyDict.fromkeys")("ab") == {"a": None, "b": None}
    assert util.get_module_from_obj_name("dnnlib.util.EasyDict.get")[1] == "EasyDict.get"
    assert util.get_top_level_function_name(util.format_time) == "dnnlib.util.format_time"
    assert not util.is_top_level_function(lambda: 0) and not util.is_pickleable(lambda: 0)
    with pytest.raises(TypeError):
        util.get_top_level_function_name(lambda: 0)
    with pytest.raises(TypeError, match="not a function"):
        util.call_func_by_name(func_name="math.pi")
    assert util.tuple_product((2, 3, 5)) == 30 and util.tuple_product(()) == 1
    dtype, ctype = util.get_dtype_and_ctype("float32")
    assert dtype.itemsize == 4 and ctype.__name__ == "c_float"


def test_urls_and_paths_are_opened(tmp_path):
    assert util.is_url("https://example.org/a.pkl") and not util.is_url("a.pkl")
    assert not util.is_url("file:///a") and util.is_url("file:///a", allow_file_urls=True)
    path = tmp_path / "a b.bin"
    path.write_bytes(b"contents")
    for name in (str(path), path.as_uri()):
        with util.open_url(name) as file:
            assert file.read() == b"contents"


def test_answers_are_asked_for_until_they_are_clear(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("perhaps\nYes\n"))
    assert util.ask_yes_no("Really?") is True
