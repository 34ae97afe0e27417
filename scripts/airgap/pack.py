"""Collect the packages that a machine without internet lacks, in parts with checksums.

    python scripts/airgap/pack.py --out FOLDER [--have pip-list.txt] [--cuda12]

Run it where pip reaches a package index. It writes FOLDER/parts, which is to be carried to the
machine, as a whole or part by part, and unpack.py there puts it together. Run it again if it was
cut: what was downloaded stays.

Packed are TensorFlow's GPU wheel, what it needs, and CUDA 12's runtime library, unless others are
named. Without ``--cuda12`` the other libraries of CUDA have to be on the machine already, CUDA 13's
for instance: see docs/gpu_airgap.md.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import subprocess
import sys

import parts

REQUIREMENTS = ("tensorflow==2.21.*", "pillow", "scipy", "requests", "tqdm")
RUNTIME = ("nvidia-cuda-runtime-cu12",)
CUDA12 = (
    "nvidia-cublas-cu12",
    "nvidia-cudnn-cu12",
    "nvidia-cufft-cu12",
    "nvidia-cusolver-cu12",
    "nvidia-cusparse-cu12",
    "nvidia-nccl-cu12",
    "nvidia-nvjitlink-cu12",
)
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux2014", "manylinux_2_17", "manylinux1")


def download(requirements, wheels: pathlib.Path, python: str, have: dict[str, str]) -> None:
    """Let pip download wheels for the machine.

    Args:
      requirements: as pip takes them.
      wheels: folder for them.
      python: version of the machine's Python, such as "3.12".
      have: {package: version} that the machine has; they are not packed, and decide on versions.

    Raises:
      parts.PartsError: pip failed.
    """
    wheels.mkdir(parents=True, exist_ok=True)
    constraints = wheels.parent / "constraints.txt"
    text = "".join(f"{name}=={version}\n" for name, version in sorted(have.items()))
    constraints.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--dest", str(wheels)]
    command += ["--only-binary", ":all:", "--python-version", python]
    command += ["--find-links", str(wheels), "--constraint", str(constraints)]
    for platform in PLATFORMS:
        command += ["--platform", f"{platform}_x86_64"]
    done = subprocess.run([*command, *requirements], check=False)
    if done.returncode:
        raise parts.PartsError(f"pip download failed with status {done.returncode}; see above")


def read_have(path: pathlib.Path | None) -> dict[str, str]:
    """{package: version} of a file that ``pip list --format=freeze`` wrote."""
    have = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path else ():
        name, _, version = line.strip().partition("==")
        if version:
            have[normal(name)] = version
    return have


def normal(name: str) -> str:
    """A package's name as the index compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def choose(wheels: pathlib.Path, have: dict[str, str]) -> list[pathlib.Path]:
    """Wheels of packages that the machine does not have."""
    return [path for path in wheels.glob("*.whl") if normal(path.name.split("-")[0]) not in have]


def main(argv=None) -> int:
    """Download, split; print what to carry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("requirement", nargs="*", help=f"default: {' '.join(REQUIREMENTS)}")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument("--python", default="3.12", help="the machine's (default: 3.12)")
    parser.add_argument(
        "--have", type=pathlib.Path, help="what 'pip list --format=freeze' prints on the machine"
    )
    parser.add_argument("--cuda12", action="store_true", help="CUDA 12's libraries and cuDNN, too")
    parser.add_argument("--part-mb", type=float, default=60, help="of a part (default: 60)")
    args = parser.parse_args(argv)
    wanted = args.requirement or [*REQUIREMENTS, *RUNTIME]
    wanted += CUDA12 if args.cuda12 else ()
    wheels, folder = args.out / "wheels", args.out / "parts"
    try:
        have = read_have(args.have)
        download(wanted, wheels, args.python, have)
        manifest = parts.split(choose(wheels, have), folder, int(args.part_mb * parts.MEGABYTE))
    except (parts.PartsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    size = sum(entry["size"] for entry in manifest["files"]) / parts.MEGABYTE
    count = sum(len(entry["parts"]) for entry in manifest["files"])
    print(f"{folder}: {len(manifest['files'])} wheels, {size:.0f} MB, in {count} parts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
