"""Steps of a visit to a machine with a GPU, one at a time; scripts/airgap/measure.py runs them all.

    python bench/gpu.py STEP --json FILE [--small] ...

Each writes its figures to FILE. ``--small`` is for trying the steps out on a CPU.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402 - after the path

from dnnlib.nvcc import find_nvcc  # noqa: E402

SKIPPED = 77  # exit status: the machine lacks what the step needs
CONFORMANCE = ROOT / "tests" / "data" / "conformance" / "networks"


def skip(reason):
    """End the step: what it needs is not there."""
    print(reason)
    sys.exit(SKIPPED)


def write(path, figures):
    """Write figures, as a whole or not at all."""
    beside = path.with_name(path.name + ".unfinished")
    beside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def ask(*command):
    """First line that a program prints, or ''."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else ""


def machine(args):
    """What is here; TensorFlow need not be."""
    fields = "name,driver_version,memory.total,compute_cap"
    gpu = ask("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader").split(", ")
    nvcc = find_nvcc()
    release = ""
    if nvcc:
        said = subprocess.run([nvcc, "--version"], stdout=subprocess.PIPE, check=False).stdout
        release = (re.findall(r"release (\S+),", said.decode(errors="replace")) or [""])[0]
    named = dict(zip(("device", "driver", "memory", "compute_capability"), gpu))
    found = dict(device=named.pop("device") or "CPU", **named)
    found.update(nvcc=release, python=platform.python_version(), numpy=np.__version__)
    found["tensorflow"] = version("tensorflow", "tensorflow-cpu")
    return found


def version(*packages):
    """Version of the first of some packages that is installed, or ''."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return ""


def selftest(args):
    """Largest error of each operation; fails if one is wrong."""
    from dnnlib.tflib import selftest as test  # noqa: PLC0415 - not every step needs TensorFlow

    device = first_device(args)
    results = test.check(device)
    for name, error, ok in results:
        print(f"{'ok   ' if ok else 'WRONG'} {error:.1e} {name}")
    if not all(result.ok for result in results):
        write(args.json, {name: error for name, error, _ in results})
        sys.exit(f"{device} computes wrong numbers")
    return {"device": device, "largest relative error": {r.name: r.error for r in results}}


def native_check(args):
    """Build the native library; compare with the reference, second derivatives included."""
    from dnnlib.tflib import native  # noqa: PLC0415
    from dnnlib.tflib.native import check  # noqa: PLC0415

    start = time.time()
    first_device(args)
    native.set_custom_ops("auto")
    if native.library() is None:
        skip("native operations cannot be compiled here")
    seconds = time.time() - start
    if not args.small:
        check.check()
    return dict(build_seconds=seconds, has_cuda=native.has_cuda())


def conformance(args):
    """Published snapshots: largest difference from what the code that wrote them gave."""
    import published_calls as calls  # noqa: PLC0415

    from dnnlib import tflib  # noqa: PLC0415

    first_device(args)
    errors = {}
    for name in calls.NETWORKS[-1 if args.small else 0 :]:
        tflib.init_tf()
        path = CONFORMANCE / name
        data = np.load(str(path.with_suffix(".npz")))
        _, D, Gs = tflib.load_networks(str(path.with_suffix(".pkl")))
        code = calls.HEAD if name.startswith("head") else calls.LEGACY
        code = calls.STYLEGAN2 if "config" in name else code
        labels = data["labels"] if "labels" in data.files else None
        found = calls.run_generator(Gs, code, data["z"], labels, truncation_psi=1)
        worst = np.abs(found.images - data["Gs_psi1_images"]).max()
        c = data["D_labels_in"] if "D_labels_in" in data.files else None
        scores = calls.run_discriminator(D, code, data["D_images_in"], c)
        worst = max(worst, np.abs(scores - data["D_scores_batch8"]).max())
        errors[name] = float(worst)
        print(f"{name}: {worst:.1e}", flush=True)
    if not max(errors.values()) < 1e-4:
        write(args.json, errors)
        sys.exit("a published snapshot does not give what it should")
    return {"largest error": errors}


def first_device(args):
    """TensorFlow's name of the first GPU; of the CPU with --small. float32 is float32."""
    from dnnlib.tflib import compat  # noqa: PLC0415

    compat.configure()
    found = compat.local_gpu_names() or ["/cpu:0"] * args.small
    if not found:
        sys.exit("TensorFlow sees no GPU here; see which libraries unpack.py finds")
    return found[0]


def training(args):
    """Train on scenes for some minutes; the last rows of its statistics."""
    size, kimg = (8, 0.008) if args.small else (64, 10000)
    run = [sys.executable, str(ROOT / "prepare_data.py"), "--scenes", "--resolution", str(size)]
    run += ["--images-num", str(40 if args.small else 20000), "--data-dir", "datasets"]
    work = args.json.with_suffix("")
    work.mkdir(exist_ok=True)
    subprocess.run(run, cwd=work, check=True)
    run = [sys.executable, str(ROOT / "run_network.py"), "--train", "--gansformer-default"]
    run += ["--data-dir", "datasets", "--dataset", "scenes", "--expname", "gpu"]
    run += ["--resolution", str(size), "--total-kimg", str(kimg), "--result-dir", "results"]
    run += ["--precision", args.precision]
    if args.small:
        run += ["--batch-size", "4", "--channel-max", "8", "--components-num", "2"]
        run += ["--latent-size", "32", "--tick", "0.004", "--custom-ops", "ref"]
    else:
        run += ["--batch-size", "64", "--channel-base", "8192", "--channel-max", "256"]
        run += ["--tick", "4", "--snapshot-ticks", "4"]
    trainer = subprocess.Popen(run, cwd=work)
    try:
        status = trainer.wait(args.seconds)
    except subprocess.TimeoutExpired:
        trainer.send_signal(signal.SIGINT)  # it saves its state, and ends
        status = trainer.wait()
    files = sorted(work.glob("results/*/stats.jsonl"))
    if not files:
        sys.exit(f"the training ended with status {status} before its first tick")
    rows = [json.loads(line) for line in files[-1].read_text(encoding="utf-8").splitlines()]
    return dict(resolution=size, last=rows[-1], ticks=len(rows))


def largest_batch(args):
    """Largest batch, a power of two, of a training step with R1; and the memory that it takes."""
    import common  # noqa: PLC0415
    import train_speed  # noqa: PLC0415

    from dnnlib.tflib.compat import tf  # noqa: PLC0415

    sizes = ["--resolution", "8", "--channel-max", "8", "--components-num", "2"]
    argv = [*sizes, "--custom-ops", "ref"] if args.small else ["--full", "--resolution", "256"]
    options = common.build_parser("").parse_args([*argv, "--precision", args.precision])
    common.start(options)
    found = {}
    for size in (2, 4) if args.small else (8, 16, 32, 64, 128, 256):
        options.batch_size = options.batch_gpu = size
        try:
            trainer = train_speed.Trainer("GANsformer", options)
            trainer.iteration(with_reg=True)
        except tf.errors.ResourceExhaustedError:
            break
        peak = common.gpu_peak_memory_mb() or common.peak_memory_mb()
        found = dict(batch_size=size, peak_mb=peak, resolution=options.resolution)
        write(args.json, found)  # a larger one may be the process's end
        print(f"batch {size}: {peak:.0f} MB", flush=True)
        trainer.session.close()
    return found


def torch_yardstick(args):
    """The convolutions of one training step in plain PyTorch, channels last."""
    import torch_convolutions  # noqa: PLC0415

    return torch_convolutions.measure(args.small, args.precision) or skip("there is no PyTorch")


STEPS = {
    "machine": machine,
    "selftest": selftest,
    "native": native_check,
    "conformance": conformance,
    "training": training,
    "largest-batch": largest_batch,
    "torch": torch_yardstick,
}


def main():
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=list(STEPS))
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    parser.add_argument("--small", action="store_true", help="small sizes, for a CPU")
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bfloat16"])
    parser.add_argument("--seconds", type=float, default=150, help="of the training")
    args = parser.parse_args()
    args.json = args.json.resolve()
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    write(args.json, STEPS[args.step](args))


if __name__ == "__main__":
    main()
