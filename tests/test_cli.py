import os

import pytest

from dnnlib import cli
from dnnlib.errors import UserError


@pytest.fixture
def parser():
    parser = cli.Parser(prog="paint.py")
    parser.add_argument("--colour", choices=("red", "green"), default="red")
    parser.add_argument("--size", type=cli.positive_int, default=1)
    parser.add_argument("--psi", type=cli.float_list, default=[1.0])
    parser.add_argument("--scale", type=cli.positive_float)
    return parser


def test_good_arguments_pass(parser):
    args = parser.parse_args(["--colour=green", "--size", "3", "--psi", "0.5,-1", "--scale", ".5"])
    assert (args.colour, args.size, args.psi, args.scale) == ("green", 3, [0.5, -1.0], 0.5)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--color=green"], "--color: no such flag; did you mean '--colour'?"),
        (["--zzz"], "--zzz: no such flag; see paint.py --help"),
        (["stray"], "stray: no such flag; see paint.py --help"),
        (["--colour", "gren"], "must be one of red, green, got 'gren'; did you mean 'green'?"),
        (["--colour", "x"], "--colour: must be one of red, green, got 'x'"),
        (["--size", "0"], "--size: must be at least 1, got 0"),
        (["--size", "1.5"], "--size: must be an integer, got '1.5'"),
        (["--psi", "0.5,"], "--psi: must be a number, got ''"),
        (["--psi", "nan"], "--psi: must be finite, got nan"),
        (["--psi=-inf"], "--psi: must be finite, got -inf"),
        (["--scale", "0"], "--scale: must be above 0, got 0"),
        (["--scale", "inf"], "--scale: must be at least 0, got inf"),
        (["--size"], "--size: expected one argument"),
    ],
)
def test_bad_arguments_get_one_line(parser, argv, message):
    with pytest.raises(UserError) as error:
        parser.parse_args(argv)
    assert message in str(error.value) and "\n" not in str(error.value)


def _raise(error):
    raise error


def test_scripts_turn_errors_into_exit_statuses(capsys):
    assert cli.run_script(lambda argv: None) == 0
    assert cli.run_script(lambda argv: _raise(UserError("no such thing"))) == 2
    assert capsys.readouterr().err == "no such thing\n"
    assert cli.run_script(lambda argv: _raise(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert cli.run_script(lambda argv: _raise(ModuleNotFoundError("", name="tensorflow"))) == 2
    line = capsys.readouterr().err
    assert "supported are 3.7, with TensorFlow 1.15, and 3.10 to 3.13" in line
    assert line.count("\n") == 1
    with pytest.raises(ModuleNotFoundError):
        cli.run_script(lambda argv: _raise(ModuleNotFoundError("", name="numpy")))
    with pytest.raises(ZeroDivisionError):  # a mistake of ours keeps its traceback
        cli.run_script(lambda argv: 1 // 0)


@pytest.mark.parametrize(
    "gpus, want, devices",
    [
        ("0,1,2,5", "0,1,2,5", ["/gpu:0", "/gpu:1", "/gpu:2", "/gpu:3"]),
        ("none", "-1", ["/cpu:0"]),
        ("", "-1", ["/cpu:0"]),
        ("cpu", "-1", ["/cpu:0"]),
        ("cpu:3", "-1", ["/cpu:0", "/cpu:1", "/cpu:2"]),
        (None, "5", None),
    ],
)
def test_chosen_gpus_are_the_visible_ones(monkeypatch, gpus, want, devices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert cli.choose_gpus(gpus) == devices
    assert os.environ["CUDA_VISIBLE_DEVICES"] == want


def test_gpus_are_numbers():
    with pytest.raises(UserError, match="--gpus=a: give numbers separated by commas"):
        cli.choose_gpus("a")
    with pytest.raises(UserError, match="--gpus=2,0,2: a GPU is named twice"):
        cli.choose_gpus("2,0,2")
    with pytest.raises(UserError, match="or cpu:2 for two logical CPU devices"):
        cli.choose_gpus("cpu:0")


def test_a_machine_without_gpus_says_so_at_once(monkeypatch):
    monkeypatch.setattr(cli.sys, "platform", "linux")
    monkeypatch.setattr(cli.glob, "glob", lambda pattern: [])
    with pytest.raises(UserError, match="--gpus=0,1: this machine has no GPU that its system"):
        cli.refuse_missing_gpus("0,1")
    for gpus in (None, "none", "cpu:2"):
        cli.refuse_missing_gpus(gpus)
    monkeypatch.setattr(cli.glob, "glob", lambda pattern: ["/dev/nvidia0"])
    cli.refuse_missing_gpus("0")
