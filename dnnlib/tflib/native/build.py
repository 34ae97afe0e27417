"""Compile the native op library, once for each combination of what it depends on.

The CPU kernels and the CUDA kernels know nothing of TensorFlow; only ``ops.cc`` includes its
headers. The finished library lies in the user's cache folder under a key of all that went into it:
sources, flags, compilers, TensorFlow, CPU and GPU architecture.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections import namedtuple
from typing import Sequence

from dnnlib import util
from dnnlib.nvcc import cuda_version, find_nvcc, refusals, runtime_folders
from dnnlib.tflib.compat import TF_VERSION, local_gpu_names, tf

SOURCES = pathlib.Path(__file__).resolve().parent / "src"

# Vectorise; keep NaN and infinity, of which -ffast-math would lose track.
CPU_FLAGS = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
# Flags that only some compilers know.
CPU_FLAGS_IF_KNOWN = ("-mprefer-vector-width=512",)
GLUE_FLAGS = ("-O2", "-w")  # TensorFlow's headers are full of warnings
NVCC_FLAGS = ("-O3", "-Xcompiler", "-fPIC")
CUDA_LIBRARIES = ("-lcudart_static", "-lrt", "-lpthread", "-ldl")

_COMPLAINT = re.compile(r"error|undefined reference|cannot find", re.IGNORECASE)

# What the library is made from and with. `cuda_archs`: ("80", ...); empty without CUDA kernels.
Toolchain = namedtuple("Toolchain", "cxx cxx_version march cpu nvcc nvcc_version cuda_archs")


class Unavailable(Exception):  # noqa: N818 - a state of things, which has a fallback
    """The library cannot be had here; the message is one line that says why."""


def folder() -> pathlib.Path:
    """Where finished libraries lie: $DNNLIB_NATIVE_DIR, else below the user's cache folder."""
    return util.cache_folder("DNNLIB_NATIVE_DIR", "native")


def find_toolchain(cuda_archs: Sequence[str] | None = None) -> Toolchain:
    """Look for compilers.

    Args:
      cuda_archs: GPU architectures to compile for, such as ("80",); None for those of the GPUs that
        TensorFlow sees here.

    Raises:
      Unavailable: there is no C++ compiler, or there is a GPU and no CUDA compiler for it.
    """
    cxx = os.environ.get("CXX", "g++")
    if shutil.which(cxx) is None:
        raise Unavailable(f"there is no C++ compiler '{cxx}'; install g++ or set CXX")
    march = os.environ.get("DNNLIB_NATIVE_MARCH", "native")
    archs = visible_cuda_archs() if cuda_archs is None else tuple(cuda_archs)
    nvcc, nvcc_version = None, ""
    if archs:
        nvcc = find_nvcc()
        if nvcc is None:
            raise Unavailable(
                "there is a GPU but no CUDA compiler; install the CUDA toolkit or set NVCC"
            )
        nvcc_version = _version(nvcc)
        for arch, reason in refusals(nvcc, archs).items():
            raise Unavailable(f"sm_{arch} {reason}")
        has, needs = driver_version() if cuda_archs is None else None, cuda_version(nvcc)
        if has and needs and has[0] < needs[0]:
            raise Unavailable(
                f"{nvcc} is of CUDA {needs[0]}, and the GPU's driver knows CUDA {has[0]}.{has[1]};"
                f" update the driver, or set NVCC to a compiler of CUDA {has[0]}"
            )
    cpu = _cpu_features() if march == "native" else platform.machine()
    return Toolchain(cxx, _version(cxx), march, cpu, nvcc, nvcc_version, archs)


def visible_cuda_archs() -> tuple[str, ...]:
    """Architectures of the GPUs that TensorFlow sees, such as ("80",)."""
    if not local_gpu_names():
        return ()
    major, minor = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
    archs = set()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count, value = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    for device in range(count.value):
        digits = []
        for attribute in (major, minor):
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            digits.append(str(value.value))
        archs.add("".join(digits))
    return tuple(sorted(archs))


def driver_version() -> tuple[int, int] | None:
    """The newest CUDA that the driver of the GPUs knows; None without a driver.

    It runs what a compiler of the same major version, or an earlier one, has made.
    """
    number = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except OSError:
        return None
    return None if failed else (number.value // 1000, number.value % 1000 // 10)


def source_digests() -> dict[str, str]:
    """Name and digest of every source file."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(SOURCES.glob("*.*"))
    }


def tensorflow_identity() -> dict[str, str]:
    """What the library depends on in TensorFlow, paths aside."""
    flags = [flag for flag in tf.sysconfig.get_compile_flags() if not flag.startswith("-I")]
    return dict(version=tf.__version__, git=str(tf.version.GIT_VERSION), flags=" ".join(flags))


def cache_key(toolchain: Toolchain, sources: dict[str, str], tensorflow: dict[str, str]) -> str:
    """Digest of everything that the library depends on."""
    flags = [CPU_FLAGS, CPU_FLAGS_IF_KNOWN, GLUE_FLAGS, NVCC_FLAGS, CUDA_LIBRARIES]
    parts = [toolchain._asdict(), sources, tensorflow, flags]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def library_path(toolchain: Toolchain) -> pathlib.Path:
    """Where the library for a toolchain and this TensorFlow lies, once it is built."""
    key = cache_key(toolchain, source_digests(), tensorflow_identity())
    return folder() / f"tf{tf.__version__}-{key}.so"


def build(toolchain: Toolchain) -> pathlib.Path:
    """The library, compiled unless it is in the cache. Several processes may call this at once.

    Raises:
      Unavailable: it does not compile, or cannot be written.
    """
    path = library_path(toolchain)
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with util.lock(path.with_suffix(".lock")):
            if not path.exists():  # unless another process has built it meanwhile
                _build_locked(toolchain, path)
    except OSError as error:
        raise Unavailable(f"{path.parent} cannot be used: {error}") from error
    return path


def _build_locked(toolchain: Toolchain, path: pathlib.Path) -> None:
    with_cuda = f" and nvcc for {_list_archs(toolchain)}" if toolchain.cuda_archs else ""
    util.log(
        f"Compiling native operations for TensorFlow {tf.__version__} with {toolchain.cxx}"
        f"{with_cuda}, once; this may take {'some minutes' if with_cuda else 'a minute'} ..."
    )
    start = time.time()
    prefix = f"{path.stem}-"
    for leftover in path.parent.glob(f"{prefix}*.build"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(".build", prefix, path.parent) as work:
        objects = _compile_all(toolchain, pathlib.Path(work))
        library = pathlib.Path(work) / path.name
        command = [toolchain.cxx, "-shared", "-o", str(library), *objects]
        command += tf.sysconfig.get_link_flags()
        if toolchain.cuda_archs:  # nvcc as the linker would want what device code of parts needs
            command += [f"-L{place}" for place in runtime_folders(toolchain.nvcc)]
            command += CUDA_LIBRARIES
        _run(command, work)
        library.replace(path)
    util.log(f"Compiled in {util.format_time(time.time() - start)}: {path}")


def _compile_all(toolchain: Toolchain, work: pathlib.Path) -> list[str]:
    """Compile every source, as many at once as there are cores; returns the object files."""
    standard = "-std=c++14" if TF_VERSION < (2, 0) else "-std=c++17"
    known = [flag for flag in CPU_FLAGS_IF_KNOWN if _accepts(toolchain.cxx, flag)]
    march = [] if toolchain.march == "none" else [f"-march={toolchain.march}"]
    cpu = [toolchain.cxx, standard, "-fPIC", *CPU_FLAGS, *known, *march]
    glue = [toolchain.cxx, standard, "-fPIC", *GLUE_FLAGS, f"-DGANSFORMER_TF_MAJOR={TF_VERSION[0]}"]
    glue += tf.sysconfig.get_compile_flags()
    commands = {"ops.cc": glue + (["-DGANSFORMER_CUDA"] if toolchain.cuda_archs else [])}
    commands.update({source.name: cpu for source in sorted(SOURCES.glob("*_cpu.cc"))})
    if toolchain.cuda_archs:
        cuda = [toolchain.nvcc, "-std=c++17", "-ccbin", toolchain.cxx, *NVCC_FLAGS]
        for arch in toolchain.cuda_archs:
            cuda += ["-gencode", f"arch=compute_{arch},code=sm_{arch}"]
        commands.update({source.name: cuda for source in sorted(SOURCES.glob("*.cu"))})
    objects = {name: str(work / f"{name}.o") for name in commands}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(_run, [*command, "-c", str(SOURCES / name), "-o", objects[name]], str(work))
            for name, command in commands.items()
        ]
        try:
            for job in jobs:
                job.result()
        finally:
            for job in jobs:  # after an error or Ctrl-C no other one begins
                job.cancel()
    return list(objects.values())


def _run(command: Sequence[str], work: str) -> None:
    """Run a compiler; Unavailable, with its first complaint, if it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=work,
            check=False,
        )
    except OSError as error:
        raise Unavailable(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        complaint = next((line for line in lines if _COMPLAINT.search(line)), (lines or [""])[-1])
        raise Unavailable(
            f"{command[0]} failed with status {done.returncode}: {complaint.strip()[:300]}"
        )


def _version(compiler: str) -> str:
    """What a compiler says about itself, or Unavailable."""
    try:
        done = subprocess.run(
            [compiler, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except OSError as error:
        raise Unavailable(f"{compiler} does not run: {error}") from error
    if done.returncode:
        raise Unavailable(f"'{compiler} --version' failed with status {done.returncode}")
    return done.stdout.decode(errors="replace").strip()


def _accepts(cxx: str, flag: str) -> bool:
    command = [cxx, flag, "-x", "c++", "-fsyntax-only", os.devnull]
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0


def _cpu_features() -> str:
    """What ``-march=native`` stands for: the CPU's features, as far as the system tells them."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return line.partition(":")[2].strip()
    return f"{platform.machine()} {platform.processor()} {platform.node()}"


def _list_archs(toolchain: Toolchain) -> str:
    return ", ".join(f"sm_{arch}" for arch in toolchain.cuda_archs)
