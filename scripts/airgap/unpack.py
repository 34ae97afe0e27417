"""Install what pack.py collected, on a machine without internet.

    python scripts/airgap/unpack.py PARTS --target FOLDER [--cuda FOLDER ...]
    . FOLDER/activate

Checks the parts, installs with pip and without its network into FOLDER/packages, and links the
names of CUDA 12's libraries, by which TensorFlow opens them, to what the machine has: the same, or
CUDA 13's. The packages that the machine's own Python has stay visible. Needs no packages but pip.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import sysconfig

import parts

# Names that TensorFlow 2.21 opens, each with names of CUDA 13's libraries that serve, too.
LIBRARIES = {
    "libcudart.so.12": (),  # of its functions TensorFlow needs those of 12
    "libcublas.so.12": ("libcublas.so.13",),
    "libcublasLt.so.12": ("libcublasLt.so.13",),
    "libcufft.so.11": ("libcufft.so.12",),
    "libcusolver.so.11": ("libcusolver.so.12",),
    "libcusparse.so.12": (),  # CUDA 13 has kept the name
    "libcudnn.so.9": (),
    "libnccl.so.2": (),
}
USUAL = ("/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64")


def install(wheels: list[pathlib.Path], target: pathlib.Path) -> None:
    """Install wheels into a folder, unless these have been.

    Raises:
      parts.PartsError: pip failed.
    """
    note = target.with_name(target.name + ".installed")
    names = "\n".join(path.name for path in wheels)
    if note.exists() and note.read_text(encoding="utf-8") == names:
        return
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--upgrade"]
    command += ["--no-compile", "--disable-pip-version-check", "--quiet", "--target", str(target)]
    done = subprocess.run([*command, *map(str, wheels)], check=False)
    if done.returncode:
        raise parts.PartsError(f"pip install failed with status {done.returncode}; see above")
    note.write_text(names, encoding="utf-8")


def library_folders(target: pathlib.Path, more: list[pathlib.Path]) -> list[pathlib.Path]:
    """Where CUDA's libraries may lie: named folders, packages of NVIDIA's, the usual places."""
    sites = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *sys.path}
    packages = [target, *(pathlib.Path(site) for site in sorted(filter(None, sites)))]
    folders = [*more, *(p for site in packages for p in sorted(site.glob("nvidia/*/lib")))]
    return [folder for folder in [*folders, *map(pathlib.Path, USUAL)] if folder.is_dir()]


def link(folders: list[pathlib.Path], target: pathlib.Path) -> dict[str, str | None]:
    """Make a link for every name in LIBRARIES.

    Args:
      folders: where to look, in order.
      target: folder for the links; made if need be.

    Returns:
      {name: the file that it leads to, None if there is none}.
    """
    target.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, others in LIBRARIES.items():
        files = [folder / other for other in (name, *others) for folder in folders]
        file = next((str(file.resolve()) for file in files if file.exists()), None)
        place, found[name] = target / name, file
        if place.is_symlink():
            place.unlink()
        if file:
            os.symlink(file, str(place))
    return found


def activation(target: pathlib.Path, folders: list[pathlib.Path], is_linked: bool) -> str:
    """Shell commands that put packages and libraries on their paths."""
    libraries = [target / "links", *folders] if is_linked else []
    lines = [
        f'export PYTHONPATH="{target / "packages"}${{PYTHONPATH:+:$PYTHONPATH}}"',
        f'export LD_LIBRARY_PATH="{":".join(map(str, libraries))}'
        '${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"',
    ]
    return "\n".join(lines[: 2 if libraries else 1]) + "\n"


def main(argv=None) -> int:
    """Check, join, install, link."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", type=pathlib.Path, help="folder that pack.py wrote")
    parser.add_argument("--target", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--cuda",
        type=pathlib.Path,
        nargs="*",
        default=[],
        help="folders of libraries, looked at first",
    )
    parser.add_argument("--check", action="store_true", help="only say which parts are missing")
    args = parser.parse_args(argv)
    target = args.target.resolve()
    try:
        manifest = parts.read_manifest(args.parts)
        if args.check:
            lacking = parts.missing(manifest, args.parts)
            print("\n".join(lacking) if lacking else "all parts are there")
            return 2 if lacking else 0
        wheels = list(parts.join(manifest, args.parts, target / "wheels"))
        install(wheels, target / "packages")
    except (parts.PartsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    folders = library_folders(target / "packages", [path.resolve() for path in args.cuda])
    found = link(folders, target / "links")
    for name, file in found.items():
        print(f"{name:20s} {file or 'not found'}")
    used = sorted({pathlib.Path(file).parent for file in found.values() if file})
    parts.write(target / "activate", activation(target, used, bool(used)).encode())
    print(f"installed {len(wheels)} wheels; now: . {target / 'activate'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
