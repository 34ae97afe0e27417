"""Building and choosing the native library: cache key, races, broken compilers."""

import os
import pathlib
import stat
import subprocess
import sys
import textwrap

import pytest

from dnnlib.errors import UserError
from dnnlib.tflib import native
from dnnlib.tflib.compat import tf
from dnnlib.tflib.native import __main__ as command
from dnnlib.tflib.native import build
from dnnlib.tflib.ops.attend import attend
from dnnlib.tflib.ops.upfirdn_2d import filter_2d

ROOT = pathlib.Path(__file__).parents[2]
TOOLCHAIN = build.Toolchain("g++", "g++ 12.2", "native", "sse avx", None, "", ())
SOURCES = {"ops.cc": "1", "upfirdn_cpu.cc": "2"}
TENSORFLOW = dict(version="2.16.1", git="v2.16.1", flags="-D_GLIBCXX_USE_CXX11_ABI=1")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no choice made yet."""
    for name, value in (("_requested", "auto"), ("_decided", False), ("_library", None)):
        monkeypatch.setattr(native, name, value)
    monkeypatch.setenv("DNNLIB_NATIVE_DIR", str(tmp_path / "cache" / "native"))
    monkeypatch.setattr(build, "local_gpu_names", list)
    return tmp_path / "cache" / "native"


def _script(path, text):
    path.write_text("#!/bin/sh\n" + textwrap.dedent(text))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_key_depends_on_everything(monkeypatch):
    keys = [build.cache_key(TOOLCHAIN, SOURCES, TENSORFLOW)]
    assert build.cache_key(TOOLCHAIN, dict(reversed(list(SOURCES.items()))), TENSORFLOW) == keys[0]
    for change in (
        dict(cxx="clang++"),
        dict(cxx_version="g++ 12.3"),
        dict(march="x86-64-v3"),
        dict(cpu="sse avx avx512f"),
        dict(nvcc="/usr/bin/nvcc"),
        dict(nvcc_version="13.0"),
        dict(cuda_archs=("80",)),
        dict(cuda_archs=("90",)),
    ):
        keys.append(build.cache_key(TOOLCHAIN._replace(**change), SOURCES, TENSORFLOW))
    keys.append(build.cache_key(TOOLCHAIN, dict(SOURCES, **{"ops.cc": "3"}), TENSORFLOW))
    keys.append(build.cache_key(TOOLCHAIN, dict(SOURCES, **{"new.h": "3"}), TENSORFLOW))
    for name in TENSORFLOW:
        keys.append(build.cache_key(TOOLCHAIN, SOURCES, dict(TENSORFLOW, **{name: "other"})))
    for name in ("CPU_FLAGS", "CPU_FLAGS_IF_KNOWN", "GLUE_FLAGS", "NVCC_FLAGS", "CUDA_LIBRARIES"):
        with monkeypatch.context() as patch:
            patch.setattr(build, name, ("-O1",))
            keys.append(build.cache_key(TOOLCHAIN, SOURCES, TENSORFLOW))
    assert len(set(keys)) == len(keys)


def test_edited_source_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    (tmp_path / "a_cpu.cc").write_text("int a;")
    before = build.source_digests()
    (tmp_path / "a_cpu.cc").write_text("int b;")
    after = build.source_digests()
    assert set(before) == set(after) == {"a_cpu.cc"}
    assert before != after


BUILDER = """
    import pathlib, sys
    from dnnlib.tflib.native import build
    build.SOURCES = pathlib.Path(sys.argv[1])
    build.local_gpu_names = list
    print(build.build(build.find_toolchain()))
"""


def test_two_processes_build_once(tmp_path, cache):
    """One compiles, the other waits for it and finds the library."""
    sources = _sources(tmp_path / "src", 1)
    calls = tmp_path / "calls"
    compiler = _script(
        tmp_path / "slow-g++",
        f"""
        case "$*" in
          *-shared*) echo link >> {calls}; sleep 2 ;;
        esac
        exec g++ "$@"
        """,
    )
    environment = dict(os.environ, CXX=compiler, PYTHONPATH=str(ROOT))
    arguments = [sys.executable, "-c", textwrap.dedent(BUILDER), str(sources)]
    running = [
        subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    paths = {output.splitlines()[-1] for output in outputs}
    assert len(paths) == 1
    assert calls.read_text().split() == ["link"]
    assert sorted(path.suffix for path in cache.iterdir()) == [".lock", ".so"]  # nothing else left
    assert sum("Compiling" in output for output in outputs) == 1


def _sources(folder, num):
    """A few small sources, as of a library."""
    folder.mkdir()
    (folder / "ops.cc").write_text("int answer() { return 42; }")
    for index in range(num):
        (folder / f"some{index}_cpu.cc").write_text(f"int some{index}() {{ return 1; }}")
    return folder


def test_what_a_killed_process_left_is_removed(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(build, "SOURCES", _sources(tmp_path / "src", 2))
    toolchain = build.find_toolchain()
    path = build.library_path(toolchain)
    leftover, other = path.with_name(path.stem + "-abc.build"), cache / "tf1-other.build"
    for folder in (leftover, other):
        folder.mkdir(parents=True)
        (folder / "ops.cc.o").touch()
    assert build.build(toolchain) == path
    names = {path.name, path.with_suffix(".lock").name, other.name}
    assert {entry.name for entry in cache.iterdir()} == names


def test_after_an_error_no_further_compiler_starts(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(build, "SOURCES", _sources(tmp_path / "src", 20))
    monkeypatch.setattr(build.os, "cpu_count", lambda: 1)
    calls = tmp_path / "calls"
    compiler = _script(
        tmp_path / "counting-g++",
        f"""
        case "$*" in
          *.cc*) echo call >> {calls}; exit 1 ;;
        esac
        """,
    )
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(build.Unavailable, match="failed with status 1"):
        build.build(build.find_toolchain())
    assert len(calls.read_text().split()) < 10
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def _broken(tmp_path):
    return _script(
        tmp_path / "broken-g++",
        """
        test "$1" = --version && { echo broken 1.0; exit 0; }
        echo "x.cc:1:1: error: it is broken" >&2
        exit 1
        """,
    )


def _compilers(tmp_path):
    return {
        "broken": (_broken(tmp_path), "failed with status 1: x.cc:1:1: error: it is broken"),
        "missing": (str(tmp_path / "none"), "there is no C\\+\\+ compiler"),
        "mute": (_script(tmp_path / "mute", "exit 3"), "--version' failed with status 3"),
    }


@pytest.mark.parametrize("kind", ["broken", "missing", "mute"])
def test_without_compiler_auto_says_one_line(kind, tmp_path, cache, monkeypatch, capsys, session):
    compiler, message = _compilers(tmp_path)[kind]
    monkeypatch.setenv("CXX", compiler)
    x = tf.ones([1, 4, 4, 2])
    for _ in range(3):
        y = filter_2d(x, [1, 2, 1])
    assert session.run(y).shape == (1, 4, 4, 2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "Compiling" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("Custom operations: reference, which is slower: ")
    assert not list(cache.glob("*.so"))
    with pytest.raises(build.Unavailable, match=message):
        build.build(build.find_toolchain())


@pytest.mark.parametrize("kind", ["broken", "missing", "mute"])
def test_without_compiler_native_is_an_error(kind, tmp_path, cache, monkeypatch, session):
    compiler, message = _compilers(tmp_path)[kind]
    monkeypatch.setenv("CXX", compiler)
    native.set_custom_ops("native")
    with pytest.raises(UserError, match=message):
        filter_2d(tf.ones([1, 4, 4, 2]), [1, 2, 1])


def test_gpu_without_cuda_compiler(cache, monkeypatch):
    """CPU kernels alone would drag every map off the GPU and back."""
    monkeypatch.setattr(build, "visible_cuda_archs", lambda: ("80",))
    monkeypatch.setattr(build, "find_nvcc", lambda: None)
    with pytest.raises(build.Unavailable, match="a GPU but no CUDA compiler"):
        build.find_toolchain()


def _nvcc(folder, archs="compute_75 compute_80", release="13.0"):
    """A script that answers like a CUDA compiler, and compiles nothing."""
    folder.mkdir(parents=True)
    answers = f"""
        case "$1" in
          --list-gpu-arch) printf '%s\\n' {archs} ;;
          --version) echo "Cuda compilation tools, release {release}, V{release}.88" ;;
        esac
        """
    return _script(folder / "nvcc", answers)


def test_which_cuda_compiler(tmp_path, monkeypatch):
    on_path, below_home, named = (_nvcc(tmp_path / name) for name in ("path", "home/bin", "named"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for name in ("CUDA_HOME", "NVCC"):
        monkeypatch.delenv(name, raising=False)
    assert build.find_nvcc() == on_path
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "none"))
    assert build.find_nvcc() == on_path
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert build.find_nvcc() == below_home
    monkeypatch.setenv("NVCC", named)
    assert build.find_nvcc() == named
    monkeypatch.setenv("NVCC", str(tmp_path / "none"))  # nothing else, unasked
    assert build.find_nvcc() is None


def test_gpu_that_the_cuda_compiler_does_not_know(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("NVCC", _nvcc(tmp_path / "13"))
    assert build.find_toolchain(["75", "80"]).nvcc == str(tmp_path / "13" / "nvcc")
    with pytest.raises(build.Unavailable, match=r"^sm_70 needs an nvcc of CUDA 12 .* CUDA 13\.0$"):
        build.find_toolchain(["80", "70"])
    with pytest.raises(build.Unavailable, match=r"^sm_120 needs an nvcc of a newer CUDA"):
        build.find_toolchain(["120"])
    monkeypatch.setenv("NVCC", _nvcc(tmp_path / "old", archs="", release="10.0"))
    assert build.find_toolchain(["70"]).cuda_archs == ("70",)  # compiling will show


def test_driver_that_is_older_than_the_cuda_compiler(cache, tmp_path, monkeypatch):
    """What it compiles would fail at the first operation, in the middle of a training."""
    nvcc = _nvcc(tmp_path / "13")
    monkeypatch.setenv("NVCC", nvcc)
    monkeypatch.setattr(build, "visible_cuda_archs", lambda: ("80",))
    for version in ((13, 0), (13, 2), (14, 0), None):
        monkeypatch.setattr(build, "driver_version", lambda version=version: version)
        assert build.find_toolchain().nvcc == nvcc
    monkeypatch.setattr(build, "driver_version", lambda: (12, 4))
    with pytest.raises(build.Unavailable, match=r"CUDA 13, and .* knows CUDA 12\.4; .* set NVCC"):
        build.find_toolchain()
    assert build.find_toolchain(["80"]).nvcc == nvcc  # for a GPU elsewhere


def test_driver_tells_its_version(tmp_path, monkeypatch):
    class Driver:
        def __init__(self, name):
            assert name == "libcuda.so.1"

        def cuDriverGetVersion(self, number):
            number._obj.value = 12040
            return 0

    monkeypatch.setattr(build.ctypes, "CDLL", Driver)
    assert build.driver_version() == (12, 4)


def test_damaged_library_is_named(cache, monkeypatch):
    path = build.library_path(build.find_toolchain())
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a library")
    native.set_custom_ops("native")
    with pytest.raises(UserError, match=f"{path.name} does not load"):
        native.library()


def test_cache_that_cannot_be_written(cache, monkeypatch):
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(build.Unavailable, match="cannot be used"):
        build.build(build.find_toolchain())


def test_reference_by_choice_builds_nothing(cache, capsys, session):
    native.set_custom_ops("ref")
    filter_2d(tf.ones([1, 4, 4, 2]), [1, 2, 1])
    filter_2d(tf.ones([1, 4, 4, 2]), [1, 2, 1])
    assert capsys.readouterr().out == "Custom operations: reference.\n"
    assert not cache.exists()


def test_unknown_choice_names_the_closest():
    with pytest.raises(UserError, match="did you mean 'native'"):
        native.set_custom_ops("natife")


def test_clean_and_flags(cache, capsys):
    cache.mkdir(parents=True)
    for name in ("tf2.16-1.so", "tf2.16-1.lock", "other.txt"):
        (cache / name).touch()
    (cache / "tf2.16-1-abc.build").mkdir()
    command.main(["--clean"])
    assert [path.name for path in cache.iterdir()] == ["other.txt"]
    assert "1 libraries removed" in capsys.readouterr().out
    with pytest.raises(UserError, match="goes with --build only"):
        command.main(["--clean", "--gpu-arch", "80"])
    with pytest.raises(UserError, match="one of the arguments --build --check --clean is required"):
        command.main([])


def _attend_many(monkeypatch, choice):
    """Attention beyond what the CUDA kernels take, with a library that has such kernels."""
    monkeypatch.setattr(native, "_requested", choice)
    monkeypatch.setattr(native, "_decided", True)
    monkeypatch.setattr(native, "_library", object())  # to call it would be an AttributeError
    monkeypatch.setattr(native, "_has_cuda", True)
    monkeypatch.setattr(native, "_explained", set())
    results = []
    for slots, channels in ((65, 4), (3, 1025), (65, 4)):
        x = tf.ones([1, 2, channels])
        results.append(attend(x, tf.ones([1, slots, channels]), tf.ones([1, slots, channels])))
    return results


def test_beyond_the_cuda_kernels_auto_takes_the_reference(monkeypatch, capsys, session):
    for y in session.run(_attend_many(monkeypatch, "auto")):
        assert (abs(y - 2) < 1e-5).all()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("there are ")[1].split(",")[0] for line in lines] == [
        "65 slots",
        "1025 channels",
    ]


def test_beyond_the_cuda_kernels_native_is_an_error(monkeypatch):
    with pytest.raises(UserError, match="65 slots, and the CUDA kernels take at most 64"):
        _attend_many(monkeypatch, "native")
