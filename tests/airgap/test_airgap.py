"""Packing, carrying, measuring and reporting, for machines without internet."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import zipfile

import pytest

AIRGAP = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "airgap"
sys.path.insert(0, str(AIRGAP))

import check_symbols  # noqa: E402 - after the path
import measure  # noqa: E402
import pack  # noqa: E402
import parts  # noqa: E402
import report  # noqa: E402
import unpack  # noqa: E402


@pytest.fixture
def files(tmp_path):
    """Two files, of 25 and of 10 bytes."""
    for name, size in (("large.whl", 25), ("small.whl", 10)):
        (tmp_path / name).write_bytes(bytes(range(size)))
    return [tmp_path / "large.whl", tmp_path / "small.whl"]


def test_files_are_split_and_joined(files, tmp_path):
    folder = tmp_path / "parts"
    manifest = parts.split(files, folder, 10)
    sizes = {p.name: p.stat().st_size for p in folder.glob("*.part*")}
    assert sizes == {
        "large.whl.part000": 10,
        "large.whl.part001": 10,
        "large.whl.part002": 5,
        "small.whl.part000": 10,
    }
    assert parts.read_manifest(folder) == manifest
    joined = list(parts.join(manifest, folder, tmp_path / "joined"))
    assert [path.read_bytes() for path in joined] == [path.read_bytes() for path in files]


@pytest.mark.parametrize("harm", [os.remove, lambda path: path.write_bytes(b"0123456789")])
def test_missing_and_damaged_parts_are_named(files, tmp_path, harm):
    manifest = parts.split(files, tmp_path / "parts", 10)
    harm(tmp_path / "parts" / "large.whl.part001")
    assert parts.missing(manifest, tmp_path / "parts") == ["large.whl.part001"]
    with pytest.raises(parts.PartsError, match=r"1 parts are missing or damaged; bring large.*001"):
        list(parts.join(manifest, tmp_path / "parts", tmp_path / "joined"))
    assert not (tmp_path / "joined").exists()


def test_splitting_goes_on_where_it_was_cut(files, tmp_path):
    folder = tmp_path / "parts"
    manifest = parts.split(files, folder, 10)
    (folder / "large.whl.part002").unlink()
    (folder / "gone.whl.part000").write_bytes(b"of an earlier pack")
    kept = (folder / "small.whl.part000").stat().st_mtime_ns
    assert parts.split(files, folder, 10) == manifest
    assert parts.missing(manifest, folder) == []
    assert (folder / "small.whl.part000").stat().st_mtime_ns == kept
    assert not (folder / "gone.whl.part000").exists()
    files[0].write_bytes(b"another version")
    changed = parts.split(files, folder, 10)
    assert changed["files"][1] == manifest["files"][1] and changed != manifest


def test_a_half_joined_file_is_joined_again(files, tmp_path):
    manifest = parts.split(files, tmp_path / "parts", 10)
    (tmp_path / "joined").mkdir()
    (tmp_path / "joined" / "large.whl").write_bytes(b"half")
    joined = list(parts.join(manifest, tmp_path / "parts", tmp_path / "joined"))
    assert joined[0].read_bytes() == files[0].read_bytes()


def test_a_folder_without_manifest_is_one_line(tmp_path, capsys):
    assert unpack.main([str(tmp_path), "--target", str(tmp_path / "t")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "manifest.json" in err and "run pack.py" in err


def test_what_the_machine_has_is_left_out(tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text("NumPy==2.1.0\nsome_thing==1.0+cu13\n-e git+nowhere\n")
    have = pack.read_have(listing)
    assert have == {"numpy": "2.1.0", "some-thing": "1.0+cu13"}
    for name in ("numpy-2.1.0-cp312-cp312-any.whl", "keras-3.0-py3-none-any.whl"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in pack.choose(tmp_path, have)] == ["keras-3.0-py3-none-any.whl"]


def test_links_from_old_names_to_new_libraries(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for path in (first / "libcublas.so.13", second / "libcublas.so.12", second / "libcudnn.so.9"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    found = unpack.link([first, second], tmp_path / "links")
    assert found["libcublas.so.12"] == str((second / "libcublas.so.12").resolve())  # its own first
    assert found["libcudnn.so.9"] and found["libcudart.so.12"] is None
    (second / "libcublas.so.12").unlink()
    assert unpack.link([first, second], tmp_path / "links")["libcublas.so.12"].endswith(".so.13")
    link = tmp_path / "links" / "libcublas.so.12"
    assert link.resolve() == (first / "libcublas.so.13").resolve()
    assert not (tmp_path / "links" / "libcudart.so.12").exists()


def step(name, code, seconds=30, needs=None):
    return measure.Step(name, seconds, ["-c", code, "{json}"], needs)


WRITES = "import json, sys; json.dump({'number': 7}, open(sys.argv[1], 'w'))"


def results(folder):
    names = [p for p in folder.glob("*.json") if ".figures" not in p.name]
    return {p.stem: json.loads(p.read_text()) for p in names}


def test_every_step_leaves_a_result(tmp_path):
    steps = [
        step("good", WRITES),
        step("bad", f"{WRITES}; sys.exit('it broke')"),
        step("lacking", f"raise SystemExit({measure.SKIPPED})"),
        step("slow", f"{WRITES}; import time; time.sleep(60)", 3),
        step("dependent", WRITES, needs="bad"),
    ]
    start = time.time()
    assert measure.measure(steps, tmp_path, 100) == 3
    assert time.time() - start < 40
    found = results(tmp_path)
    assert {name: result["status"] for name, result in found.items()} == {
        "good": "ok",
        "bad": "failed",
        "lacking": "skipped",
        "slow": "time limit",
    }
    assert found["good"]["figures"] == found["bad"]["figures"] == {"number": 7}
    assert found["slow"]["figures"] == {"number": 7}  # what it had written is kept
    assert "it broke" in found["bad"]["output"]


def test_finished_steps_are_left_out(tmp_path, capsys):
    (tmp_path / "seen").write_text("")
    code = f"open({str(tmp_path / 'seen')!r}, 'a').write('x')"
    fails = step("fails", f"{code}; raise SystemExit(1)")
    assert measure.measure([step("runs", code), fails], tmp_path, 100) == 1
    assert measure.measure([step("runs", code), fails], tmp_path, 100) == 1
    assert (tmp_path / "seen").read_text() == "xx"
    assert measure.measure([step("runs", code), fails], tmp_path, 100, retry=True) == 1
    assert (tmp_path / "seen").read_text() == "xxx"
    assert "runs: ok before" in capsys.readouterr().out


def test_what_the_end_of_a_visit_cuts_is_done_by_the_next(tmp_path, capsys):
    waits = step("waits", "import time; time.sleep(8)", 30)
    assert measure.measure([waits, step("later", "")], tmp_path, 6) == 2
    assert results(tmp_path) == {}
    assert "later: no time left" in capsys.readouterr().out
    assert measure.measure([waits._replace(command=["-c", ""])], tmp_path, 60) == 0
    assert results(tmp_path)["waits"]["status"] == "ok"


def test_a_killed_measurement_goes_on(tmp_path):
    """Results are there as soon as their steps are done, whatever happens to the rest."""
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import measure\n"
        "step = lambda name, code: measure.Step(name, 60, ['-c', code], None)\n"
        "steps = [step('first', ''), step('second', 'import time; time.sleep(60)')]\n"
        "measure.measure(steps, pathlib.Path(sys.argv[2]), 100)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(AIRGAP), str(tmp_path)])
    end = time.time() + 60
    while not (tmp_path / "second.log").exists() and time.time() < end:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert list(results(tmp_path)) == ["first"]
    steps = [step("first", "raise SystemExit(1)"), step("second", "")]
    assert measure.measure(steps, tmp_path, 100) == 0


def test_steps_have_names_of_their_own_and_limits():
    steps = measure.all_steps()
    names = [s.name for s in steps]
    assert len(set(names)) == len(names)
    assert names[:3] == ["machine", "kernels", "selftest"]
    root = AIRGAP.parents[1]
    for s in steps + measure.small_steps():
        assert (root / s.command[0]).exists() and "{json}" in s.command
        assert 0 < s.seconds <= 300
        assert s.needs is None or s.needs in names


def test_an_unknown_step_is_named(capsys):
    with pytest.raises(SystemExit) as caught:
        measure.main(["--out", "x", "--only", "kernels,kernel"])
    assert caught.value.code == 2
    assert "no step kernel; there are machine, kernels" in capsys.readouterr().err


def make_results(folder):
    speeds = {m: {"images_per_second": r} for m, r in (("GANsformer", 80.0), ("StyleGAN2", 100.0))}
    kernels = {"copy [8]": {"gb_per_second": 2000.0}}
    kernels.update({"fir": {"share_of_copy": 0.9}, "attend": {"share_of_copy": 0.7}})
    found = {
        "machine": ("ok", {"device": "A card", "memory": "80 GB", "nvcc": "13.0"}),
        "kernels": ("ok", kernels),
        "selftest": ("ok", {"largest relative error": {"product": 1e-7, "convolution": 3e-7}}),
        "train256-tf32": ("time limit", {**speeds, "gpu_peak_mb": 2048.0}),
        "native": ("failed", None),
    }
    for name, (status, figures) in found.items():
        result = dict(step=name, status=status, seconds=1.0, command="c", figures=figures)
        (folder / f"{name}.json").write_text(json.dumps(dict(result, output="/a/path", limit=3)))


def test_report(tmp_path, capsys):
    make_results(tmp_path)
    page, out = tmp_path / "page.md", tmp_path / "results" / "card.json"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert report.main([str(tmp_path), "--json", str(out), "--into", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "A card, 80 GB, nvcc of CUDA 13.0:" in text
    assert (
        "| kernels | a copy moves 2000 GB/s; 1 of 2 kernels reach 85% of it; least 70% (att" in text
    )
    assert "| selftest | 2 right; largest error 3.0e-07 (convolution) |" in text
    assert (
        "| train256-tf32 | GANsformer 80.0 images/s, 12.50 s per thousand; StyleGAN2 100.0 "
        "images/s, 10.00 s per thousand; ratio 1.25; peak 2.0 GB; then: time limit |"
    ) in text
    assert "| native | failed |" in text
    assert text.splitlines()[2:-2] == capsys.readouterr().out.splitlines()
    stored = json.loads(out.read_text())
    assert list(stored) == ["machine", "kernels", "selftest", "native", "train256-tf32"]
    assert "/a/path" not in out.read_text()


def test_report_says_what_is_missing(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 2
    assert "no results here; run measure.py" in capsys.readouterr().err
    make_results(tmp_path)
    (tmp_path / "page.md").write_text("a page")
    assert report.main([str(tmp_path), "--into", str(tmp_path / "page.md")]) == 2
    assert "gpu:begin" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_a_visit_is_one_command(tmp_path):
    """Kernels first, then the packages, then all steps, then the table, whatever fails before."""
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {log}\n'
        "case $1 in\n"
        '*unpack.py) mkdir -p "$4" && echo "echo activated" > "$4/activate";;\n'
        "*measure.py) exit 1;;\n"
        "*report.py) echo a table;;\n"
        "esac\n"
    )
    python.chmod(0o755)
    out = tmp_path / "visit"
    done = subprocess.run(
        ["sh", str(AIRGAP / "visit.sh"), str(out), "PARTS"],
        env=dict(os.environ, PYTHON=str(python), SECONDS_LEFT="50"),
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout.splitlines() == [b"activated", b"a table"]
    first, unpacked, all_steps, table = log.read_text().splitlines()
    assert re.search(r"measure.py --out .*visit --seconds (50|4\d) --only machine,kernels$", first)
    assert unpacked.endswith(f"unpack.py PARTS --target {out}/environment")
    assert re.search(r"measure.py --out .*visit --seconds (50|4\d)$", all_steps)
    assert table.endswith(f"report.py {out} --json {out}/figures.json")


C_LIBRARY = "void cublasCreate(void) {} void cublasOther(void) {} void cufftA(void) {}"
C_TENSORFLOW = """
__attribute__((visibility("hidden"), noinline)) void cublasCreate(void) { __asm__(""); }
__attribute__((visibility("hidden"), noinline)) void cublasGone(void) { __asm__(""); }
__attribute__((visibility("hidden"), noinline)) void cublasUnused(void) { __asm__(""); }
__attribute__((visibility("hidden"), noinline)) void cublasAddress(void) { __asm__(""); }
void run(void **p) { cublasCreate(); cublasGone(); *p = (void *)cublasAddress; }
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="reads code of x86-64")
def test_symbols(tmp_path, capsys):
    """Found: functions with a stub, what a library lacks of them, what is called or pointed to."""
    for name, code in (("libcublas.so.13", C_LIBRARY), ("tensorflow.so", C_TENSORFLOW)):
        (tmp_path / "code.c").write_text(code)
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(tmp_path / name)]
        try:
            subprocess.run([*command, str(tmp_path / "code.c")], check=True)
        except FileNotFoundError:
            pytest.skip("there is no C compiler")
    wheel = tmp_path / "cublas-13.whl"
    with zipfile.ZipFile(str(wheel), "w") as archive:
        archive.write(str(tmp_path / "libcublas.so.13"), "nvidia/lib/libcublas.so.13")
    out = tmp_path / "found.json"
    command = [str(tmp_path / "tensorflow.so"), str(wheel), "--json", str(out)]
    assert check_symbols.main(command) == 1
    assert json.loads(out.read_text())["cublas"] == {
        "stubs": ["cublasAddress", "cublasCreate", "cublasGone", "cublasUnused"],
        "used": ["cublasAddress", "cublasCreate", "cublasGone"],
        "missing": ["cublasAddress", "cublasGone", "cublasUnused"],
        "missing_and_used": ["cublasAddress", "cublasGone"],
    }
    assert "| cublas | 4 | 3 | 3 | cublasAddress, cublasGone |" in capsys.readouterr().out


def make_wheel(folder, name):
    """A package of one module."""
    info = f"{name}-1.0.dist-info"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(str(folder / f"{name}-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr(f"{name}.py", f"NAME = {name!r}\n" + "# filling\n" * 30)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 8), reason="visits are for a current TensorFlow")
def test_the_whole_chain_on_a_cpu(tmp_path, monkeypatch, capsys):
    """As on a GPU, with small packages and small sizes."""
    for name in ("tinyone", "tinytwo"):
        make_wheel(tmp_path / "index", name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    out = ["--out", str(tmp_path / "pack"), "--part-mb", "0.0003"]
    assert pack.main(["tinyone", "tinytwo", *out]) == 0
    carried = tmp_path / "carried"
    (tmp_path / "pack" / "parts").rename(carried)
    late = carried / "tinytwo-1.0-py3-none-any.whl.part001"
    data = late.read_bytes()
    late.unlink()
    target = tmp_path / "target"
    assert unpack.main([str(carried), "--target", str(target)]) == 2
    assert "bring tinytwo" in capsys.readouterr().err
    late.write_bytes(data)
    assert unpack.main([str(carried), "--target", str(target)]) == 0
    shell = (
        f". {target}/activate && {sys.executable} -c 'import tinyone, tinytwo; print(tinytwo.NAME)'"
    )
    done = subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"tinytwo\n"

    assert measure.main(["--small", "--out", str(tmp_path / "visit")]) == 0
    page = tmp_path / "page.md"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    table = tmp_path / "figures.json"
    assert report.main([str(tmp_path / "visit"), "--into", str(page), "--json", str(table)]) == 0
    text = page.read_text()
    assert text.splitlines()[1].startswith("CPU, ")
    for name in ("selftest", "conformance"):
        assert re.search(rf"\| {name} \| \d+ right; largest error", text)
    assert "| training | 8x8, 0.008 kimg" in text
    assert {"machine", "selftest", "native", "conformance", "training"} <= set(
        json.loads(table.read_text())
    )
