"""Compile the CUDA kernels without TensorFlow; on a GPU, check them and measure their bandwidth.

    python bench/cuda_kernels.py [--arch 80 --arch 90]

Every kernel is compiled for sm_70, sm_80 and sm_90, or those of them that nvcc knows: the one that
NVCC names, else that below CUDA_HOME, or on the path. CUDA 13 no longer knows sm_70. On a machine
with a GPU the launchers are called through ctypes, compared with NumPy in double precision, and
timed: bytes that must be moved per second, over those of a copy in the same run. Where PyTorch is
installed, its bias and leaky ReLU are timed as well.
"""

import argparse
import concurrent.futures
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import cuda_cases
import cuda_harness as harness
import numpy as np

from dnnlib.nvcc import find_nvcc, refusals, runtime_folders

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "dnnlib" / "tflib" / "native" / "src"
WANTED_ARCHS = ["70", "80", "90"]
TOLERANCE = [2e-5, 4e-3, 3e-2]  # of float32, float16, bfloat16
TAPS = np.array([1, 3, 3, 1]) / 8.0
SIZES = [[8, 64, 64, 64], [8, 128, 128, 128], [4, 256, 256, 64], [8, 32, 32, 512]]


def compile_kernels(nvcc, archs, folder, library=None):
    """Compile every source, several at once; returns the library, which may lie elsewhere."""
    command = [nvcc, "-std=c++17", "-O3", "-Xcompiler", "-fPIC", "-cudart", "shared"]
    for arch in archs:
        command += ["-gencode", f"arch=compute_{arch},code=sm_{arch}"]

    def compile_one(source):
        start, target = time.time(), folder / f"{source.name}.o"
        subprocess.run([*command, "-c", "-o", str(target), str(source)], check=True)
        print(f"{source.name}: compiled in {time.time() - start:.0f} s", flush=True)
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sorted(SOURCES.glob("*.cu"))))
    library = library or folder / "kernels.so"
    subprocess.run([*command, "-shared", "-o", str(library), *objects], check=True)
    return library


class DeviceMemory:
    """Arrays on the current GPU, through the CUDA runtime library."""

    def __init__(self, nvcc):
        found = [path for place in runtime_folders(nvcc) for path in place.glob("libcudart.so*")]
        self.runtime = ctypes.CDLL(str(found[0]) if found else "libcudart.so")

    def call(self, name, *arguments):
        """Call a function of the runtime; RuntimeError if it fails."""
        status = getattr(self.runtime, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} failed with status {status}")

    def put(self, array, type_=0):
        """Copy an array to the device."""
        return DeviceArray(self, array, type_)

    def milliseconds(self, run, repeats=20):
        """Time of one call: the fastest of some, by events on the device."""
        events = [ctypes.c_void_p() for _ in range(2)]
        for event in events:
            self.call("cudaEventCreate", ctypes.byref(event))
        best, elapsed = float("inf"), ctypes.c_float()
        for _ in range(repeats):
            self.call("cudaEventRecord", events[0], None)
            run()
            self.call("cudaEventRecord", events[1], None)
            self.call("cudaEventSynchronize", events[1])
            self.call("cudaEventElapsedTime", ctypes.byref(elapsed), *events)
            best = min(best, elapsed.value)
        return best


class DeviceArray:
    """See DeviceMemory."""

    TO_DEVICE, TO_HOST, ON_DEVICE = 1, 2, 3

    def __init__(self, memory, array, type_):
        self.memory, self.type = memory, type_
        self.shape, self.dtype, self.nbytes = array.shape, array.dtype, array.nbytes
        self.pointer = ctypes.c_void_p()
        size = ctypes.c_size_t(max(1, self.nbytes))
        memory.call("cudaMalloc", ctypes.byref(self.pointer), size)
        self._copy(self.pointer, np.ascontiguousarray(array).ctypes.data_as(ctypes.c_void_p), 1)

    def __del__(self):
        self.memory.runtime.cudaFree(self.pointer)

    def _copy(self, to, source, kind):
        self.memory.call("cudaMemcpy", to, source, ctypes.c_size_t(self.nbytes), kind)

    def get(self):
        """A copy in the CPU's memory."""
        array = np.empty(self.shape, self.dtype)
        self._copy(array.ctypes.data_as(ctypes.c_void_p), self.pointer, self.TO_HOST)
        return array

    def get_guarded(self):
        """Arrays on a device have no guards."""

    def copy_from(self, other):
        """A copy on the device."""
        self._copy(self.pointer, other.pointer, self.ON_DEVICE)


def random_jobs(kernels, seed):
    """Odd sizes, 1 to 64 latents, channels that are no multiple of 4; all types."""
    rng = np.random.RandomState(seed)
    type_ = seed % 3
    maker = cuda_cases.Maker(kernels, type_, seed)
    height, width, channels = rng.randint(4, 40, size=3)
    up, down = rng.randint(1, 4, size=2)
    pads = tuple(tuple(rng.randint(1, 4, size=2)) for _ in range(2))
    kernel, factors = (rng.randn(3, 5), None) if seed % 2 else (None, (TAPS, TAPS))
    shape = [2, int(height), int(width), int(channels)]
    yield type_, maker.upfirdn(shape, (up, 1), (down, 2), pads, kernel, factors)
    act = harness.ACTS[seed % len(harness.ACTS)]
    for job in maker.bias_act([3, int(height * width), int(rng.randint(1, 300))], act):
        yield (1 if act == "softplus" and type_ == 0 else type_), job
    heads = int(rng.choice([1, 2]))
    slots = heads * int(rng.randint(1, 64 // heads + 1))
    shape = [2, int(height * width), int(rng.randint(1, 600))]
    integration = harness.INTEGRATIONS[seed % 3]
    for job in maker.attend(shape, slots, heads, integration, seed % 4 > 0, "sLkbna", "kl"):
        yield type_, job


def check(kernels, rounds):
    """Compare with double precision; returns how many results are wrong."""
    wrong = 0
    for seed in range(rounds):
        for type_, job in random_jobs(kernels, seed):
            found = cuda_cases.errors(job)
            name = max(found, key=found.get)
            bad = not found[name] <= TOLERANCE[type_]
            wrong += bad
            print(f"{'WRONG' if bad else 'ok   '} {found[name]:.1e} ({name}) {job.name}")
    return wrong


def torch_milliseconds(memory, shape):
    """PyTorch's bias and leaky ReLU on the same map, or None."""
    try:
        import torch  # noqa: PLC0415 - optional
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    x, b = torch.randn(*shape, device="cuda"), torch.randn(shape[-1], device="cuda")
    with torch.no_grad():
        run = lambda: torch.nn.functional.leaky_relu(x + b, 0.2)  # noqa: E731
        run()
        return memory.milliseconds(run)


def measure(kernels, memory):
    """Print bytes per second of every kernel over those of a copy; returns all figures."""
    figures = {}
    for height_width in SIZES:
        size, height, width, channels = height_width
        maker = cuda_cases.Maker(kernels)
        flat = [size, height * width, channels]
        a, b = (maker.work(flat) for _ in range(2))
        copy = 2 * a.nbytes / memory.milliseconds(lambda a=a, b=b: a.copy_from(b))
        print(f"{height_width}: a copy moves {copy / 1e6:.0f} GB/s", flush=True)
        figures[f"copy {flat}"] = dict(gb_per_second=copy / 1e6)
        pads = ((2, 1), (2, 1))
        jobs = [maker.upfirdn(height_width, (1, 1), (1, 1), pads, None, (TAPS, TAPS))]
        jobs += maker.bias_act(flat, "lrelu", "b") + maker.bias_act(flat, "lrelu", "sbn")
        jobs += maker.attend(flat, 16, 1, "mul", True, "sLna", "kl")
        for job in jobs:
            job.run()
            time = memory.milliseconds(job.run)
            share = job.moved / time / copy
            print(f"  {share:5.0%} of a copy's bandwidth, {time:7.3f} ms: {job.name}", flush=True)
            figures[job.name] = dict(milliseconds=time, share_of_copy=share)
        other = torch_milliseconds(memory, flat)
        if other is not None:
            print(f"  PyTorch, bias and leaky ReLU: {other:.3f} ms")
            figures[f"PyTorch, bias and leaky ReLU {flat}"] = dict(milliseconds=other)
    return figures


def gpu_arch():
    """Architecture of the first GPU, such as "90", or None without one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, digits = ctypes.c_int(), [ctypes.c_int(), ctypes.c_int()]
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    for digit, attribute in zip(digits, (75, 76)):  # compute capability, major and minor
        driver.cuDeviceGetAttribute(ctypes.byref(digit), attribute, 0)
    return "".join(str(digit.value) for digit in digits)


def main():
    """Compile; check and measure if there is a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", action="append", help="compile for this one; may be repeated")
    parser.add_argument("--rounds", type=int, default=24, help="of random shapes")
    parser.add_argument(
        "--library", type=pathlib.Path, metavar="FILE", help="compiled one; made if it is not there"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    nvcc, present = find_nvcc(), gpu_arch()
    if nvcc is None:
        sys.exit("there is no CUDA compiler; install the CUDA toolkit or set NVCC")
    wanted = args.arch or sorted({*WANTED_ARCHS, *([present] if present else [])})
    refused = refusals(nvcc, wanted)
    archs = [arch for arch in wanted if arch not in refused]
    for arch, reason in refused.items():
        print(f"sm_{arch}: not compiled: it {reason}")
    if not archs:
        sys.exit("nothing to compile for")
    with tempfile.TemporaryDirectory() as folder:
        library = args.library
        if library is None or not library.exists():
            library = compile_kernels(nvcc, archs, pathlib.Path(folder), library)
        for arch in archs:
            print(f"sm_{arch}: compiled")
        if present is None:
            print("There is no GPU here: nothing was run.")
            return
        memory = DeviceMemory(nvcc)
        kernels = harness.Kernels(library, memory)
        wrong = check(kernels, args.rounds)
        if wrong:
            sys.exit(f"{wrong} results are wrong")
        figures = measure(kernels, memory)
        if args.json:
            args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
