"""The native library with its CUDA kernels, compiled and linked against TensorFlow, without a GPU.

Needs an nvcc: docs/gpu_airgap.md tells how to have one without installing CUDA.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

from dnnlib.nvcc import find_nvcc, refusals
from dnnlib.tflib.native import build

ROOT = pathlib.Path(__file__).parents[2]

# TensorFlow opens a library with RTLD_NOW: nothing that it refers to may be missing.
LOAD = """
    import json, sys
    from tensorflow.python.framework import kernels
    from dnnlib.tflib import native
    native.load(sys.argv[1])
    found = {}
    for name in sys.argv[2:]:
        for kernel in kernels.get_registered_kernels_for_op(name).kernel:
            found.setdefault(kernel.device_type, []).append(name)
    print(json.dumps(found))
"""


def kernels_in_sources(kind):
    """Names of the operations with kernels for "CPU" or "CUDA"."""
    text = "".join(path.read_text() for path in build.SOURCES.glob("op_*.h"))
    return sorted(re.findall(rf'GF_REGISTER_{kind}\("(\w+)"', text))


@pytest.mark.slow
def test_compiles_links_and_loads(tmp_path, monkeypatch):
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("there is no nvcc; pip has it, see docs/gpu_airgap.md")
    arch = "80" if refusals(nvcc, ["70"]) else "70"
    monkeypatch.setenv("DNNLIB_NATIVE_DIR", str(tmp_path))
    for name, flags in (
        ("CPU_FLAGS", ("-O1",)),
        ("GLUE_FLAGS", ("-O0", "-w")),
        (
            "NVCC_FLAGS",
            ("-G", "-Xcompiler", "-fPIC"),
        ),  # device code is not optimized: 20 s, not 5 min
    ):
        monkeypatch.setattr(build, name, flags)
    path = build.build(build.find_toolchain([arch]))
    needed = subprocess.run(["ldd", str(path)], stdout=subprocess.PIPE, check=False).stdout
    assert b"libcudart" not in needed  # of whichever CUDA: it has its own
    want = {kind: kernels_in_sources(kind) for kind in ("CPU", "CUDA")}
    assert len(want["CUDA"]) >= 5
    command = [sys.executable, "-c", textwrap.dedent(LOAD), str(path), *want["CPU"]]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        check=True,
        cwd=str(tmp_path),
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )
    found = json.loads(done.stdout.decode().splitlines()[-1])
    assert {kind: sorted(set(names)) for kind, names in found.items()} == {
        "CPU": want["CPU"],
        "GPU": want["CUDA"],
    }
