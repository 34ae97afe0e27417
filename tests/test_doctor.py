"""What --doctor says of a machine, and that a device which is wrong is noticed."""

import numpy as np
import pytest

import run_network
from dnnlib import cli, doctor
from dnnlib.errors import UserError
from dnnlib.tflib import compat


def test_a_sound_machine_passes(capsys):
    assert cli.run_script(run_network.main, ["--doctor", "--gpus=cpu:2", "--custom-ops=ref"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert not [line for line in lines if line.startswith("FAIL")]
    for name in ("Python", "TensorFlow", "Devices", "/cpu:0 matmul 67x131x59"):
        assert any(line.startswith(f"ok   {name}") for line in lines), name
    assert "/cpu:1 convolution 64 to 40, stride 2, dw" in out
    assert lines[-1].startswith("All ")


def test_a_wrong_device_fails_with_advice_and_is_not_trained_on(monkeypatch, capsys):
    multiply = compat.tf.matmul
    monkeypatch.setattr(compat.tf, "matmul", lambda a, b: multiply(a, b) * 1.02)
    argv = ["--doctor", "--gpus=none", "--custom-ops=ref"]
    assert cli.run_script(run_network.main, argv) == cli.EXIT_USER_ERROR
    out, err = capsys.readouterr()
    failed = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 2 and "matmul 67x131x59" in failed[0] and "differs" in failed[0]
    assert "this TensorFlow or processor is broken" in failed[0]
    assert err.startswith("--doctor: 2 of ")
    with pytest.raises(UserError, match=r"/cpu:0 computes wrong numbers: matmul 67x131x59 .* 0.02"):
        doctor.refuse_wrong(["/cpu:0"])


def test_what_is_not_finite_is_wrong():
    assert doctor._relative_error(np.array([1.0, np.nan]), np.ones(2)) == float("inf")
    assert doctor._relative_error(np.array([1.0, -3.0]), np.array([1.0, -4.0])) == 0.25


def test_the_gradients_of_the_oracle():
    """Against differences of half of the sum of squares."""
    random = np.random.RandomState(1)
    x, w = random.randn(2, 6, 5, 3), random.randn(3, 3, 3, 4)
    _, x_gradient, w_gradient = doctor._convolve(x, w, 2)
    for array, gradient in ((x, x_gradient), (w, w_gradient)):
        at = tuple(random.randint(0, side) for side in array.shape)
        losses = []
        for step in (1e-5, -2e-5):
            array[at] += step
            losses.append((doctor._convolve(x, w, 2)[0] ** 2).sum() / 2)
        array[at] += 1e-5
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(gradient[at], rel=1e-5, abs=1e-6)


def test_the_driver_is_asked(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._nvidia_lines() == []
    tool.write_text("#!/bin/sh\necho '0, NVIDIA A5, 535.10, 24564 MiB'\n")
    tool.chmod(0o755)
    (line,) = doctor._nvidia_lines()
    assert str(line) == f"ok   {'GPU 0':<34} NVIDIA A5, 24564 MiB, driver 535.10"
    assert next(iter(doctor._tensorflow_lines(["/cpu:0"], True))).advice == ""
    (devices,) = [li for li in doctor._tensorflow_lines(["/cpu:0"], True) if li.name == "Devices"]
    assert "tensorflow[and-cuda]" in devices.advice
    tool.write_text("#!/bin/sh\necho 'Driver/library version mismatch'; exit 18\n")
    (line,) = doctor._nvidia_lines()
    assert "mismatch; reinstall the driver" in str(line)
