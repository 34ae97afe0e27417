"""Cost of augmentation as a share of a training step.

    python bench/augment_cost.py [--pipes bgc,diffaugment] [--resolution 64] [--batch-size 8] ...

The same networks without augmentation and with each pipe at p = 0.5 (the cost does not depend on
p). All are built in one process and take turns. A step is G, D and R1 at its interval. Beside the
time on the clock stands the processors' time for it, which depends less on how busy the machine is.
"""

import time

import common
import numpy as np
from train_speed import Trainer

from dnnlib.tflib.compat import tf


def flags_of(pipe):
    """Flags that choose a pipe, or DiffAugment."""
    if pipe == "diffaugment":
        return ["--aug", "diffaugment"]
    return ["--aug", "fixed", "--aug-p", "0.5", "--aug-pipe", pipe]


def turn(trainer):
    """Seconds per image on the clock, and of processors, of one step."""
    found = []
    for with_reg, repeats in ((False, 3), (True, 2)):
        times = []
        for _ in range(repeats):
            clock, cpu = time.perf_counter(), time.process_time()
            trainer.iteration(with_reg)
            times.append((time.perf_counter() - clock, time.process_time() - cpu))
        found.append(np.min(times, axis=0))
    plain, reg = found
    share = np.maximum(reg - plain, 0) / trainer.config["loop"]["d_reg_interval"]
    return (plain + share) / trainer.batch_size


def main():
    """Print a line for each pipe."""
    parser = common.build_parser(__doc__.splitlines()[0])
    parser.add_argument("--pipes", default="bgc,diffaugment", help="comma-separated")
    args = parser.parse_args()
    common.start(args)
    forms = {"none": [], **{pipe: flags_of(pipe) for pipe in args.pipes.split(",")}}
    preset = common.MODELS["GANsformer"]
    common.MODELS.update({form: [*preset, *more] for form, more in forms.items()})
    trainers = {form: Trainer(form, args) for form in forms}
    for trainer in trainers.values():
        trainer.warm_up()
    times = {form: [] for form in forms}
    for _ in range(args.rounds):
        for form, trainer in trainers.items():
            times[form].append(turn(trainer))
    print(
        f"TensorFlow {tf.__version__}, {args.threads} threads, "
        f"{args.resolution}x{args.resolution}, batch {args.batch_size}, "
        f"custom ops {args.custom_ops}"
    )
    for form, found in times.items():
        # Each turn is compared with that of its round: the machine may be busier in another.
        more = np.median(np.array(found) / np.array(times["none"]), axis=0) - 1
        wall, cpu = 1000 * np.median(found, axis=0)
        print(
            f"{form:12s} {wall:8.2f} ms/image ({more[0]:+.1%}), "
            f"{cpu:8.2f} ms/image of processors ({more[1]:+.1%})"
        )


if __name__ == "__main__":
    main()
