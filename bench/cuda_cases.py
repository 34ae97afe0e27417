"""Cases for the CUDA launchers: arrays on a device, calls, the difference from double precision."""

from collections import namedtuple

import cuda_harness as harness
import numpy as np

from dnnlib import numpy_ops

# run: calls the launcher, for timing. found: dict of device arrays. wanted: dict of float64 arrays.
# moved: bytes that have to be read and written once.
Job = namedtuple("Job", "name run found wanted moved")
MAPS = ("x", "dx")  # names of arrays of the kernel's type


def errors(job):
    """Largest difference of each result, relative to its largest value."""
    job.run()
    result = {}
    for name, array in job.found.items():
        wanted = job.wanted[name]
        difference = np.abs(harness.from_type(array.get(), array.type) - wanted).max()
        result[name] = difference / (np.abs(wanted).max() or 1.0)
    return result


class Maker:
    """Makes jobs for one library and one type.

    Args:
      kernels: harness.Kernels.
      type_: 0 float32, 1 float16, 2 bfloat16.
      seed: of the random numbers.
    """

    def __init__(self, kernels, type_=0, seed=0):
        self.kernels, self.type = kernels, type_
        self.rng = np.random.RandomState(seed)

    def random(self, *shape):
        """Numbers that the type can hold, as float64."""
        return harness.from_type(harness.to_type(self.rng.randn(*shape), self.type), self.type)

    def put(self, array, name="x"):
        """Onto the device; None stays None. Maps have the type, whatever else there is float32."""
        if array is None:
            return None
        type_ = self.type if name in MAPS else 0
        return self.kernels.memory.put(harness.to_type(array, type_), type_)

    def room(self, shape, name="x"):
        """For results, filled with what no result is."""
        return self.put(np.full(shape, np.nan), name)

    def work(self, shape):
        """Float32 to work in."""
        return self.room(shape, "work")

    def upfirdn(self, shape, up, down, pads, kernel=None, factors=None):
        """A filter: a kernel, or (column, row) whose outer product it is."""
        x = self.random(*shape)
        kernel = np.outer(*factors) if kernel is None else kernel
        wanted = numpy_ops.upfirdn(x, kernel, up, down, pads)
        source, y = self.put(x), self.room(wanted.shape)
        before = (pads[0][0], pads[1][0])

        def run():
            self.kernels.upfirdn(source, y, kernel, up, down, before, factors)

        moved = _bytes(source, y)
        return Job(f"upfirdn {shape} up {up} down {down}", run, {"y": y}, {"y": wanted}, moved)

    def bias_act(self, shape, act, extras="sbn", clamp=None):
        """Forward and backward jobs; extras: letters of s(cale), b(ias), n(oise)."""
        size, positions, channels = shape
        arrays = dict(
            x=self.random(*shape),
            scale=self.random(size, channels) if "s" in extras else None,
            noise=self.random(size, positions) if "n" in extras else None,
            bias=self.random(channels) if "b" in extras else None,
        )
        dy = self.random(*shape)
        if clamp is not None:  # Rounding may carry a result to the limit.
            free = numpy_ops.bias_act(arrays, dy, act, 0.3, 1.5, None)["y"]
            dy = np.where(np.abs(np.abs(free) - clamp) < 0.01, 0.0, dy)
        wanted = numpy_ops.bias_act(arrays, dy, act, 0.3, 1.5, clamp)
        limit = np.nan if clamp is None else clamp
        params = harness.BiasAct(*shape, harness.ACTS.index(act), 0.3, 1.5, limit)
        inputs, y = {name: self.put(x, name) for name, x in arrays.items()}, self.room(shape)
        present = dict(dx="", dnoise="n", dbias="b", dscale="s")
        results = {
            name: self.room(wanted[name].shape, name)
            for name, letter in present.items()
            if letter in extras
        }
        sums = self.work([size * -(-positions // harness.BIAS_BLOCK), 2 * channels])
        source, given = self.put(dy), self.put(wanted["y"])

        def forward():
            self.kernels.bias_act(params, inputs, y)

        def backward():
            self.kernels.bias_act_grad(params, inputs, source, given, results, sums)
            sums.get_guarded()

        name = f"bias_act {shape} {act} {extras}"
        needs_x = [inputs["x"]] if "s" in extras or act == "swish" else []
        return [
            Job(name, forward, {"y": y}, wanted, _bytes(inputs["x"], y)),
            Job(
                f"{name} backward",
                backward,
                results,
                wanted,
                _bytes(source, given, results["dx"], *needs_x),
            ),
        ]

    def attend(
        self, shape, slots, heads=1, integration="mul", normalise=True, extras="", shared=""
    ):
        """Forward and backward jobs; extras: letters of s(cale), L(ogits), k(eep), b(ias), n(oise),
        a(ctivation); shared: of k(eys), l(ogits), v(alues), p: logits without positions.
        """
        arrays = self._attend_arrays(shape, slots, integration, extras, shared)
        dy = self.random(*shape)
        alpha, gain = (0.2, 1.4) if "a" in extras else (1.0, 1.0)
        wanted = numpy_ops.attend(arrays, dy, heads, integration, normalise, alpha, gain)
        size, positions, channels = shape
        params = harness.Attend(
            *shape,
            heads,
            slots // heads,
            harness.INTEGRATIONS.index(integration),
            normalise,
            arrays["keys"].shape[0] == 1,
            arrays["logits"] is not None and arrays["logits"].shape[0] == 1,
            "p" in shared,
            arrays["values"].shape[0] == 1,
            alpha,
            gain,
        )
        inputs, y = {name: self.put(x, name) for name, x in arrays.items()}, self.room(shape)
        results = {name: self.room(x.shape, name) for name, x in arrays.items() if x is not None}
        width = channels * (2 if integration == "both" else 1)
        rows = self.work([size * positions, 2 * (-(-slots // 4) * 4) + 4])
        total = slots * (channels + width) + width + 2 * channels + slots
        sums = self.work([size * -(-positions // harness.ATTEND_BLOCK), total])
        source, given = self.put(dy), self.put(wanted["y"])

        def forward():
            self.kernels.attend(params, inputs, y)

        def backward():
            self.kernels.attend_grad(params, inputs, source, given, results, rows, sums)
            rows.get_guarded()
            sums.get_guarded()

        name = f"attend {shape} {slots} slots, {heads} heads, {integration} {extras}"
        read = _bytes(source, given, inputs["x"], results["x"])
        return [
            Job(name, forward, {"y": y}, wanted, _bytes(inputs["x"], y)),
            Job(f"{name} backward", backward, results, wanted, read),
        ]

    def _attend_arrays(self, shape, slots, integration, extras, shared):
        size, positions, channels = shape
        width = channels * (2 if integration == "both" else 1)

        def optional(letter, *dims):
            return self.random(*dims) if letter in extras else None

        def samples(letter):
            return 1 if letter in shared else size

        keys = self.rng.randn(samples("k"), slots, channels) / np.sqrt(channels)
        return dict(
            x=self.random(*shape),
            scale=optional("s", size, channels),
            keys=harness.from_type(harness.to_type(keys, self.type), self.type),
            logits=optional("L", samples("l"), 1 if "p" in shared else positions, slots),
            keep=optional("k", size, positions, slots),
            values=self.random(samples("v"), slots, width),
            bias=optional("b", width),
            noise=optional("n", size, positions),
            act_bias=optional("a", channels),
        )


def _bytes(*arrays):
    return sum(array.nbytes for array in arrays)
