"""What the command-line scripts share: one-line errors, hints at misspelt flags, exit statuses."""

from __future__ import annotations

import argparse
import glob
import os
import re
import sys
from typing import Callable, Sequence

from dnnlib.errors import UserError, closest, must_be_one_of

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
GPU_FILES = ("/dev/nvidia[0-9]*", "/dev/dxg", "/dev/kfd")  # of NVIDIA; WSL; AMD
MAX_RATIO = 100  # of height to width, and of width to height


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line each, raised as UserError."""

    def error(self, message: str) -> None:  # noqa: D102 - see argparse
        start = "argument "
        raise UserError(message[len(start) :] if message.startswith(start) else message)

    def parse_args(  # noqa: D102 - see argparse
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> argparse.Namespace:
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].partition("=")[0]
            hint = closest(flag, self._option_string_actions) or f"see {self.prog} --help"
            raise UserError(f"{flag}: no such flag; {hint}")
        return known

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Name the closest choice, and all of them."""
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, must_be_one_of(value, action.choices))


class Once(argparse.Action):
    """Argparse action: store a value; a second one is an error, not silently the better one."""

    def __call__(  # noqa: D102 - see argparse
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values, option=None
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, "is given twice; run the command once for each")
        setattr(namespace, self.dest, values)


def positive_int(text: str) -> int:
    """Argparse type: an integer from 1 up."""
    return _number(text, int, 1)


def positive_float(text: str) -> float:
    """Argparse type: a finite number above 0."""
    value = _number(text, float, 0)
    if value == 0:
        raise argparse.ArgumentTypeError("must be above 0, got 0")
    return value


def float_list(text: str) -> list[float]:
    """Argparse type: finite numbers, separated by commas."""
    return [_number(part, float, -float("inf")) for part in text.split(",")]


def _number(text: str, kind: Callable, least: float):
    """A finite number that is not below ``least``."""
    try:
        value = kind(text)
    except ValueError:
        what = "an integer" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"must be {what}, got {text!r}") from None
    if not least <= value < float("inf") or value == -float("inf"):
        rule = f"at least {least}" if least > -float("inf") else "finite"
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text}")
    return value


def ratio(text: str) -> float:
    """Argparse type: height / width of pictures, as a number or as a fraction such as 3/4."""
    over, _, under = text.partition("/")
    value = positive_float(over) / (positive_float(under) if under else 1.0)
    if not 1 / MAX_RATIO <= value <= MAX_RATIO:
        rule = f"must be height / width, from 1/{MAX_RATIO} to {MAX_RATIO}"
        raise argparse.ArgumentTypeError(f"{rule}, got {text}")
    return value


def add_model_flags(parser: Parser) -> None:
    """Add the flags of all scripts that open a model."""
    add = parser.add_argument
    add("--model", required=True, metavar="FILE", help="snapshot: a path, URL, gdrive: or hf: name")
    add(
        "--ratio",
        type=ratio,
        metavar="H/W",
        help="height / width of the pictures, such as 3/4; the black bars around them are cut off "
        "(default: as in the set that the model was trained on)",
    )
    add("--gpus", metavar="LIST", help="GPUs to use, e.g. 0; none for the CPU (default: all)")


def device_names(gpus: str | None) -> list[str] | None:
    """TensorFlow's names of the devices that ``--gpus`` chooses.

    Args:
      gpus: numbers like "0,1"; "none" for the CPU; "cpu:2" for two logical CPU devices, which do
        what two GPUs would; None for all GPUs that there are.

    Returns:
      Their names; None if they are all GPUs that there are.

    Raises:
      UserError: anything else.
    """
    if gpus is None:
        return None
    cpus = re.fullmatch(r"(?:none|cpu(?::([1-9]\d?))?)?", gpus)
    if cpus:
        return [f"/cpu:{index}" for index in range(int(cpus.group(1) or 1))]
    numbers = gpus.split(",")
    if not re.fullmatch(r"\d+(,\d+)*", gpus):
        raise UserError(
            f"--gpus={gpus}: give numbers separated by commas, e.g. 0,1, or none, "
            "or cpu:2 for two logical CPU devices"
        )
    if len(set(numbers)) < len(numbers):
        raise UserError(f"--gpus={gpus}: a GPU is named twice; name each of them once")
    return [f"/gpu:{index}" for index in range(len(numbers))]


def choose_gpus(gpus: str | None) -> list[str] | None:
    """Let TensorFlow see the chosen GPUs only; has to come before it is imported.

    Args:
      gpus: see :func:`device_names`, whose result is returned.
    """
    names = device_names(gpus)
    if names is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus if names[0].startswith("/gpu:") else "-1"
    return names


def refuse_missing_gpus(gpus: str | None) -> None:
    """Raise UserError if GPUs are chosen and Linux has none; TensorFlow takes seconds to say so.

    Args:
      gpus: see :func:`choose_gpus`.
    """
    is_chosen = gpus is not None and gpus[:1].isdigit()
    if is_chosen and sys.platform.startswith("linux"):
        if not any(glob.glob(pattern) for pattern in GPU_FILES):
            raise UserError(
                f"--gpus={gpus}: this machine has no GPU that its system knows (no "
                f"{', '.join(GPU_FILES)}); see nvidia-smi, or use --gpus none for the CPU"
            )


def start_tensorflow(
    gpus: str | None = None,
    custom_ops: str = "auto",
    xla: bool = False,
    precision: str = "float32",
    bf16_res: int | None = None,
    refuse_wrong: bool = True,
) -> tuple[list[str], dict]:
    """Load TensorFlow and prepare it as the flags of these names say.

    Args:
      gpus: see :func:`choose_gpus`.
      custom_ops: see dnnlib.tflib.native.set_custom_ops.
      xla: let XLA compile what it can.
      precision: see dnnlib.tflib.precision.set_precision.
      bf16_res: likewise.
      refuse_wrong: test GPUs that are newer than TensorFlow's libraries, which may be wrong without
        an error.

    Returns:
      Names of the devices to compute on, and settings for ``init_tf`` or ``create_session``.

    Raises:
      UserError: TensorFlow does not see the GPUs, they compute wrong numbers, or it cannot do what
        a flag asks for.
    """
    refuse_missing_gpus(gpus)
    chosen = choose_gpus(gpus)  # TensorFlow reads the environment when it is imported
    from dnnlib.tflib import compat, native, selftest  # noqa: PLC0415 - TensorFlow takes seconds to load
    from dnnlib.tflib.precision import session_settings, set_precision  # noqa: PLC0415

    compat.configure()
    found = compat.local_gpu_names()
    devices = found or ["/cpu:0"] if chosen is None else chosen
    if chosen and chosen[0] == "/gpu:0" and len(found) != len(chosen):
        raise UserError(
            f"--gpus={gpus}: TensorFlow can use {len(found)} of these; see nvidia-smi, "
            "or use --gpus none for the CPU"
        )
    native.set_custom_ops(custom_ops)
    set_precision(precision, bf16_res)
    if found and refuse_wrong:
        selftest.refuse_new_gpus(devices)
    settings = {**(compat.xla_settings() if xla else {}), **session_settings()}
    if devices[-1].startswith("/cpu:") and len(devices) > 1:
        settings["device_count"] = {"CPU": len(devices)}
    return devices, settings


def run_script(function: Callable[[Sequence[str] | None], None], argv=None) -> int:
    """Call a script's function with its arguments and turn what happens into an exit status.

    Args:
      function: takes the list of arguments (None: those of the process).
      argv: passed on.

    Returns:
      0; or 2 after a UserError, which is written to standard error as one line, or without
      TensorFlow; or 130 if the user pressed Ctrl-C.
    """
    try:
        function(argv)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USER_ERROR
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        version = ".".join(map(str, sys.version_info[:2]))
        sys.stderr.write(
            f"TensorFlow is not installed for this Python {version}; supported are 3.7, with "
            "TensorFlow 1.15, and 3.10 to 3.13: pip install -r requirements.txt, or make env\n"
        )
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    return 0
