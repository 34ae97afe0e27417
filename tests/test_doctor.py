"""What --doctor says of a machine, and that a device which is wrong is noticed."""

import pytest

import run_network
from dnnlib import cli, doctor
from dnnlib.errors import UserError
from dnnlib.tflib import compat, selftest


def test_a_sound_machine_passes(capsys):
    assert cli.run_script(run_network.main, ["--doctor", "--gpus=cpu:2", "--custom-ops=ref"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert not [line for line in lines if line.startswith("FAIL")]
    for name in ("Python", "TensorFlow", "Devices", "/cpu:0 product of matrices"):
        assert any(line.startswith(f"ok   {name}") for line in lines), name
    assert "/cpu:0 convolution, gradient of w" in out
    assert lines[-1].startswith("All ")


def test_a_wrong_device_fails_with_advice_and_is_not_trained_on(monkeypatch, capsys):
    multiply = compat.tf.matmul
    monkeypatch.setattr(compat.tf, "matmul", lambda *a, **b: multiply(*a, **b) * 1.02)
    argv = ["--doctor", "--gpus=none", "--custom-ops=ref"]
    assert cli.run_script(run_network.main, argv) == cli.EXIT_USER_ERROR
    out, err = capsys.readouterr()
    failed = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1 and "product of matrices" in failed[0] and "differs" in failed[0]
    assert "this TensorFlow or processor is broken" in failed[0]
    assert err.startswith("--doctor: 1 of ")
    with pytest.raises(UserError, match=r"/cpu:0 computes wrong numbers: product .* by 0.02"):
        selftest.refuse_wrong(["/cpu:0"])


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
