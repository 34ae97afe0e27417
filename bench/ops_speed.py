"""Native operations against their references, forward and backward, on this machine's CPU.

    python bench/ops_speed.py [--threads 2] [--rounds 20]

The forms of one operation take turns in one process and the fastest call of each counts, so that
other work on the machine does not decide. The references are good forms of their own, so two
operations are also compared with their literal forms: the filter with StyleGAN2's, which inserts
zeros, pads and convolves, channels taken for samples; the attention with one that projects every
position. A copy of the map bounds all that reads and writes it once.
"""

import argparse
import functools
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib import native
from dnnlib.tflib.compat import configure, tf
from dnnlib.tflib.native import check

KERNEL = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
MAPS = [[8, 64, 64, 64], [8, 32, 32, 128], [8, 8, 8, 512], [8, 64, 64, 3]]
CONVOLVED = [[8, 64, 64, 64], [8, 32, 32, 128], [8, 16, 16, 128], [4, 16, 16, 512]]
DOWN = [([8, 65, 65, 64], 128), ([8, 33, 33, 128], 128), ([8, 17, 17, 128], 128)]  # and outputs
UP = [([8, 32, 32, 128], 64), ([8, 16, 16, 128], 128), ([8, 8, 8, 128], 128)]
ATTENDED = [[8, 4096, 64], [8, 1024, 128], [8, 256, 128]]  # [N, P, C]
SLOTS = 8


def literal_attention(x, keys, values, **_):
    """What the folded attention saves: queries and messages of every position, [N, P, C] each."""
    channels = x.shape.as_list()[2]
    weights = [
        tf.constant(np.random.RandomState(i).randn(channels, channels) / channels, tf.float32)
        for i in range(2)
    ]
    flat = tf.reshape(x, [-1, channels])
    query = tf.reshape(tf.matmul(flat, weights[0]), tf.shape(x))
    probs = tf.nn.softmax(tf.matmul(query, keys, transpose_b=True))
    message = tf.matmul(probs, values)
    message = tf.reshape(tf.matmul(tf.reshape(message, [-1, channels]), weights[1]), tf.shape(x))
    x *= tf.rsqrt(tf.reduce_mean(tf.square(x), axis=2, keepdims=True) + 1e-8)
    return x * message


def literal_filter(x, up=1, down=1, pad=(2, 1)):
    """StyleGAN2's form: maps of one channel, which [N, C, H, W] are without a transposition."""
    _, height, width, _ = x.shape.as_list()
    x = tf.reshape(x, [-1, height, 1, width, 1])
    x = tf.pad(x, [[0, 0], [0, 0], [0, up - 1], [0, 0], [0, up - 1]])
    x = tf.reshape(x, [-1, height * up, width * up, 1])
    x = tf.pad(x, [[0, 0], pad, pad, [0, 0]])
    kernel = tf.constant(KERNEL[:, :, np.newaxis, np.newaxis], x.dtype)
    x = tf.nn.conv2d(x, kernel, strides=[1, 1, 1, 1], padding="VALID")
    return x[:, ::down, ::down]


LITERAL = {
    "filter": literal_filter,
    "filter, up": functools.partial(literal_filter, up=2),
    "filter, down": functools.partial(literal_filter, down=2, pad=(1, 1)),
    "attention": literal_attention,
}


def cases():
    """Pairs of a name and a Case; a Case's forms get the same inputs."""
    for shape in MAPS:
        yield "filter", check.upfirdn_case(shape, KERNEL, pad_y=(2, 1), pad_x=(2, 1))
    for shape in MAPS[:2]:
        small = [shape[0], shape[1] // 2, shape[2] // 2, shape[3]]
        up = check.upfirdn_case(small, KERNEL, up=(2, 2), pad_y=(2, 1), pad_x=(2, 1))
        yield "filter, up", up
        down = check.upfirdn_case(shape, KERNEL, down=(2, 2), pad_y=(1, 1), pad_x=(1, 1))
        yield "filter, down", down
    for shape in MAPS:
        yield "bias, lrelu", check.bias_act_case(shape, "lrelu", "b")
        yield "scale, noise, bias, lrelu", check.bias_act_case(shape, "lrelu", "bsn")
    yield "bias, swish", check.bias_act_case(MAPS[0], "swish", "b")
    if not native.has_cuda():
        for shape in CONVOLVED:
            yield "convolution 3x3", check.conv3x3_case(shape, shape[3])
        for form, sizes in (("down", DOWN), ("up", UP)):
            for shape, num_out in sizes:
                yield f"convolution 3x3, {form}", check.conv3x3_case(shape, num_out, form=form)
        for shape in MAPS[:2]:
            yield "convolution 3x3 to RGB", check.conv_narrow_case(shape, 3)
    for shape in ATTENDED:
        yield "attention", check.attend_case(shape, SLOTS, extras="")
        yield "attention and the rest", check.attend_case(shape, SLOTS, extras="lsna", shared="kl")


def graph_of(forms, shapes):
    """For each form, the ops that compute the value and the gradients; and a copy of x."""
    rng = np.random.RandomState(0)
    inputs = {
        key: tf.get_variable(key, initializer=rng.randn(*shape).astype(np.float32)).read_value()
        for key, shape in shapes.items()
    }
    targets = {"copy": [(inputs["x"] + 1.0).op]}
    for name, form in forms.items():
        y = form(**inputs)
        dy = tf.get_variable(f"dy_{name}", initializer=tf.ones(y.shape)).read_value()
        gradients = tf.gradients(y, list(inputs.values()), dy)
        targets[name, "forward"] = [y.op]
        targets[name, "backward"] = [g.op for g in gradients if g is not None]
    return targets


def measure(forms, shapes, threads, rounds):
    """Milliseconds of the fastest call of everything that graph_of() returns."""
    config = tf.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
    )
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        targets = graph_of(forms, shapes)
        session.run(tf.global_variables_initializer())
        best = dict.fromkeys(targets, float("inf"))
        for _ in range(rounds):
            for name, ops in targets.items():
                start = time.perf_counter()
                session.run(ops)
                best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    configure()
    native.set_custom_ops("native")
    try:
        native.library()
    except UserError as error:
        sys.exit(str(error))
    print(f"TensorFlow {tf.__version__}, {args.threads} threads; ms: forward, backward; gain in ()")
    for name, case in cases():
        forms = dict(reference=case.reference, native=case.native)
        if name in LITERAL:
            forms["literal"] = LITERAL[name]
        best = measure(forms, case.shapes, args.threads, args.rounds)
        cells = [f"{name:26s} {case.shapes['x']!s:18s} copy {best['copy']:6.2f}"]
        for form in forms:
            both = [best[form, direction] for direction in ("forward", "backward")]
            ours = [best["native", direction] for direction in ("forward", "backward")]
            text = f"{form} {both[0]:6.2f} {both[1]:6.2f}"
            if form != "native":
                text += f" ({both[0] / ours[0]:.1f}, {both[1] / ours[1]:.1f})"
            cells.append(text)
        print(" | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
