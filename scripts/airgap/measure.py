"""Everything that is worth measuring on a GPU, within a time that may end at any moment.

    python scripts/airgap/measure.py --out FOLDER [--seconds 840] [--small]

Each step is a process of its own, under a time limit of its own, and leaves FOLDER/STEP.json when
it ends, however it ends. The same command goes on where it was cut, leaving out what is finished;
with ``--retry`` what failed or ran out of time is tried again. The order is that of what one wants
to know first. Without CUDA's TensorFlow, ``--only machine,kernels`` needs NumPy and nvcc alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections import namedtuple

import parts

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dnnlib.nvcc import find_nvcc  # noqa: E402 - after the path

SKIPPED = 77  # exit status of a step that the machine lacks something for
OK, FAILED, SKIPPED_TOO, TIME_OUT = "ok", "failed", "skipped", "time limit"
_OUTPUT = 4000  # characters of a step's last output that are kept

# name: of the file. seconds: limit. command: without interpreter; "{json}" stands for a file that
# the step may write figures to, at any time. needs: step without whose success it is left out.
Step = namedtuple("Step", "name seconds command needs")
KERNELS = "build/kernels.so"  # compiled beforehand, as docs/gpu_airgap.md tells, or else here
NO_TENSORFLOW = ("machine", "kernels", "torch", "selftest")


def gpu(name: str, seconds: float, *arguments: str) -> Step:
    """A step of bench/gpu.py; what follows a dot in the name tells steps of one kind apart."""
    kind = name.partition(".")[0]
    needs = None if kind in NO_TENSORFLOW else "selftest"
    return Step(name, seconds, ["bench/gpu.py", kind, "--json", "{json}", *arguments], needs)


def speed(name: str, seconds: float, script: str, *arguments: str) -> Step:
    """A speed benchmark of both models in turns."""
    command = [f"bench/{script}_speed.py", "--json", "{json}", *arguments]
    return Step(name, seconds, command, "selftest")


def all_steps() -> list[Step]:
    """What is measured on a GPU; published presets at 256x256, batch 32 at once."""
    large = ["--full", "--resolution", "256", "--batch-size", "32", "--batch-gpu", "32"]
    large += ["--rounds", "2"]
    kernels = ["bench/cuda_kernels.py", "--library", KERNELS, "--json", "{json}"]
    small = ["--batch-size", "64", "--batch-gpu", "64", "--rounds", "3"]
    steps = [
        gpu("machine", 30),
        Step("kernels", 300, kernels, None),
        gpu("selftest", 90),
        gpu("native", 240),
        speed("train256-tf32", 120, "train", *large, "--precision", "tf32"),
        speed("train256-bfloat16", 120, "train", *large, "--precision", "bfloat16"),
        gpu("conformance", 120),
        gpu("torch.tf32", 60, "--precision", "tf32"),
        gpu("torch.bfloat16", 60, "--precision", "bfloat16"),
        speed("sample256-tf32", 90, "sample", *large, "--precision", "tf32"),
        gpu("training", 200, "--precision", "tf32", "--seconds", "120"),
        speed("train64-tf32", 90, "train", *small, "--precision", "tf32"),
        speed("train256-float32", 120, "train", *large),
    ]
    reference = ["--precision", "tf32", "--custom-ops", "ref"]
    steps.append(speed("train256-tf32-reference", 120, "train", *large, *reference))
    steps.append(speed("train256-tf32-reference-xla", 240, "train", *large, *reference, "--xla"))
    convolutions = ["--precision", "bfloat16", "--bf16-res", "0"]  # no maps of bfloat16
    steps.append(speed("train256-bfloat16-convolutions", 120, "train", *large, *convolutions))
    steps.append(gpu("largest-batch", 200, "--precision", "tf32"))
    for precision in ("float32", "bfloat16"):
        arguments = [*small, "--precision", precision]
        steps.append(speed(f"train64-{precision}", 90, "train", *arguments))
        arguments = [*large, "--precision", precision]
        steps.append(speed(f"sample256-{precision}", 90, "sample", *arguments))
    return steps


def small_steps() -> list[Step]:
    """The same on a CPU, to try the chain out."""
    sizes = ["--resolution", "8", "--channel-max", "8", "--components-num", "2"]
    sizes += ["--batch-size", "2", "--rounds", "1", "--custom-ops", "ref"]
    return [
        gpu("machine", 30, "--small"),
        gpu("selftest", 300, "--small"),
        gpu("native", 300, "--small"),
        gpu("conformance", 300, "--small"),
        gpu("torch", 60, "--small"),
        speed("sample8", 300, "sample", *sizes, "--precision", "bfloat16"),
        gpu("training", 300, "--small", "--seconds", "290"),
    ]


def environment() -> dict[str, str]:
    """That of a step, in which XLA finds CUDA's tools."""
    found = dict(os.environ)
    nvcc = find_nvcc()
    if nvcc and "XLA_FLAGS" not in found:
        folder = pathlib.Path(nvcc).resolve().parents[1]
        found["XLA_FLAGS"] = f"--xla_gpu_cuda_data_dir={folder}"
    return found


def run(step: Step, folder: pathlib.Path, limit: float) -> dict:
    """Run a step, and write what came of it to FOLDER/STEP.json.

    Args:
      step: Step.
      folder: for results.
      limit: seconds.

    Returns:
      {"step", "status", "seconds", "limit", "figures", "output", "command"}.
    """
    figures = folder / f"{step.name}.figures.json"
    if figures.exists():
        figures.unlink()
    words = [str(figures) if word == "{json}" else word for word in step.command]
    (ROOT / KERNELS).parent.mkdir(exist_ok=True)
    log, start = folder / f"{step.name}.log", time.time()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=str(ROOT),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            returned = process.wait(limit)
        except subprocess.TimeoutExpired:
            returned = None
        finally:
            _end(process)
    status = {0: OK, SKIPPED: SKIPPED_TOO, None: TIME_OUT}.get(returned, FAILED)
    result = dict(step=step.name, status=status, seconds=round(time.time() - start, 1), limit=limit)
    result.update(figures=_read(figures), command=" ".join(["python", *step.command]))
    result["output"] = log.read_text(encoding="utf-8", errors="replace")[-_OUTPUT:]
    parts.write(folder / f"{step.name}.json", json.dumps(result, indent=1).encode() + b"\n")
    return result


def _end(process):
    """End a process and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(path):
    """A JSON file; None if it is not there, or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def measure(steps: list[Step], folder: pathlib.Path, seconds: float, retry: bool = False) -> int:
    """Run the steps that have no result yet, as long as there is time.

    Args:
      steps: in order.
      folder: for results.
      seconds: until the visit ends; a step that is going on then ends with it.
      retry: run again what did not succeed.

    Returns:
      Number of steps without success.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end, unsuccessful = time.time() + seconds, 0
    for step in steps:
        known = _read(folder / f"{step.name}.json")
        if known and (known["status"] in (OK, SKIPPED_TOO) or not retry):
            print(f"{step.name}: {known['status']} before", flush=True)
            unsuccessful += known["status"] not in (OK, SKIPPED_TOO)
            continue
        if step.needs and (_read(folder / f"{step.needs}.json") or {}).get("status") != OK:
            print(f"{step.name}: left out, since {step.needs} has not succeeded", flush=True)
            unsuccessful += 1
            continue
        left = end - time.time()
        if left < min(5.0, step.seconds):
            print(f"{step.name}: no time left; the same command goes on here", flush=True)
            unsuccessful += 1
            continue
        result = run(step, folder, min(step.seconds, left))
        if result["status"] == TIME_OUT and left < step.seconds:  # the visit's, not its own
            (folder / f"{step.name}.json").unlink()
        if result["status"] not in (OK, SKIPPED_TOO):
            unsuccessful += 1
        last = result["output"].strip().splitlines()[-1:] or [""]
        note = "" if result["status"] == OK else f"; {last[0]}"
        print(f"{step.name}: {result['status']} in {result['seconds']:.0f} s{note}", flush=True)
    return unsuccessful


def main(argv=None) -> int:
    """Run the steps; 0 if all succeeded or were skipped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=1e6, help="that the visit takes at most")
    parser.add_argument("--small", action="store_true", help="small sizes, to try it on a CPU")
    parser.add_argument("--only", help="steps, separated by commas")
    parser.add_argument("--retry", action="store_true", help="what failed or ran out of time, too")
    args = parser.parse_args(argv)
    steps = small_steps() if args.small else all_steps()
    if args.only:
        names = args.only.split(",")
        unknown = set(names) - {step.name for step in steps}
        if unknown:
            known = ", ".join(step.name for step in steps)
            parser.error(
                f"--only {args.only}: no step {', '.join(sorted(unknown))}; there are {known}"
            )
        steps = [step for step in steps if step.name in names]
    return int(measure(steps, args.out.resolve(), args.seconds, args.retry) > 0)


if __name__ == "__main__":
    sys.exit(main())
