"""The CUDA compiler: where it is, and which GPUs it compiles for. Needs no TensorFlow."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
from typing import Sequence

OLDEST = 75  # for CUDA 13; CUDA 12 is the last that compiles for GPUs before it


def find_nvcc() -> str | None:
    """What $NVCC names; else nvcc below $CUDA_HOME, on the path, or in the usual place."""
    named, home = os.environ.get("NVCC"), os.environ.get("CUDA_HOME")
    places = [f"{home}/bin/nvcc"] if home else []
    candidates = [named] if named else [*places, "nvcc", "/usr/local/cuda/bin/nvcc"]
    return next(filter(None, map(shutil.which, candidates)), None)


def refusals(nvcc: str, archs: Sequence[str]) -> dict[str, str]:
    """Architectures, such as "70", that a compiler does not know, each with what it "needs"."""
    known = re.findall(r"compute_(\d+)", _ask(nvcc, "--list-gpu-arch"))
    if not known:  # too old to be asked: compiling will show
        return {}
    release = cuda_version(nvcc)
    this = f"{nvcc} is of CUDA {'.'.join(map(str, release)) if release else '?'}"
    result = {}
    for arch in archs:
        if arch.isdigit() and arch not in known:
            wanted = "CUDA 12" if int(arch) < OLDEST else "a newer CUDA"
            result[arch] = f"needs an nvcc of {wanted} (set NVCC); {this}"
    return result


def cuda_version(nvcc: str) -> tuple[int, int] | None:
    """(major, minor) of the CUDA that a compiler belongs to; None if it does not say."""
    release = re.search(r"release (\d+)\.(\d+)", _ask(nvcc, "--version"))
    return (int(release.group(1)), int(release.group(2))) if release else None


def runtime_folders(nvcc: str) -> list[pathlib.Path]:
    """Where the CUDA runtime library of a compiler may be.

    Those are the folders where it looks itself; and where they are called lib64, lib beside them:
    pip's packages put it there, and the compiler does not find it.
    """
    said = _ask(nvcc, "--dryrun", "-x", "cu", "-c", os.devnull, "-o", "unused.o")
    folders = [pathlib.Path(folder) for folder in re.findall(r'-L([^"\s]+)', said)]
    return folders + [folder.parent / "lib" for folder in folders if folder.name == "lib64"]


def _ask(nvcc: str, *arguments: str) -> str:
    """What a compiler prints."""
    done = subprocess.run(
        [nvcc, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout.decode(errors="replace")
