import numpy as np
import pytest

from dnnlib.errors import UserError
from vis.latents import (
    draw_z,
    interpolate,
    lerp,
    load_ws,
    parse_seeds,
    replace_components,
    replace_layers,
    save_latents,
    slerp,
    truncate,
)
from vis.noise_maps import load_noise


def _rng():
    return np.random.RandomState(5)


@pytest.mark.parametrize(
    "text, want",
    [("7", [7]), ("0-3", [0, 1, 2, 3]), ("2-4,40, 3", [2, 3, 4, 40]), ("4294967295", [2**32 - 1])],
)
def test_seeds_are_numbers_and_ranges(text, want):
    assert parse_seeds(text) == want


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no seed or range"),
        ("1,,2", "no seed or range"),
        ("\N{SUPERSCRIPT TWO}", "no seed or range"),
        ("1-\N{SUPERSCRIPT TWO}", "no seed or range"),
        ("x", "'x' is no seed or range"),
        ("-3", "'-3' is no seed"),
        ("1-", "'1-' is no seed"),
        ("1-2-3", "no seed or range"),
        ("5-3", "runs backwards; write 3-5"),
        ("4294967296", "from 0 to 4294967295"),
        ("0-4294967295", "at most 1000000"),
    ],
)
def test_bad_seeds_say_what_is_wrong(text, message):
    with pytest.raises(UserError, match=message):
        parse_seeds(text)


def test_latents_depend_on_their_seed_alone():
    z = draw_z([3, 9, 4], [5, 7])
    assert z.shape == (3, 5, 7) and z.dtype == np.float32
    np.testing.assert_array_equal(z[1:2], draw_z([9], [5, 7]))
    np.testing.assert_array_equal(z[2], np.random.RandomState(4).randn(5, 7).astype(np.float32))
    assert draw_z([], [5, 7]).shape == (0, 5, 7)


def test_truncation_draws_the_first_layers_to_the_average():
    ws, average = _rng().randn(2, 3, 4, 5).astype(np.float32), np.ones(5, np.float32)
    np.testing.assert_allclose(truncate(ws, average, 0.5), 0.5 + 0.5 * ws, atol=1e-6)
    np.testing.assert_allclose(truncate(ws, average, 0), np.ones_like(ws))
    cut = truncate(ws, average, 0, cutoff=1)
    assert (cut[:, :, 0] == 1).all()
    np.testing.assert_array_equal(cut[:, :, 1:], ws[:, :, 1:])
    assert truncate(ws, average, None) is ws and truncate(ws, average, 1) is ws


def test_slerp_walks_along_the_arc_at_constant_speed():
    a, b = np.float32([[2, 0], [0, 3]]), np.float32([[0, 2], [3, 0]])
    half, third = np.sqrt(0.5), np.pi / 6
    np.testing.assert_allclose(slerp(a, b, 0.5), [[2 * half] * 2, [3 * half] * 2], rtol=1e-6)
    want = [2 * np.cos(third), 2 * np.sin(third)]
    np.testing.assert_allclose(slerp(a, b, 1 / 3)[0], want, rtol=1e-6)


@pytest.mark.parametrize("between", [lerp, slerp])
def test_interpolations_keep_their_ends_exactly(between):
    a, b = _rng().randn(2, 6, 8).astype(np.float32)
    assert between(a, b, 0) is a and between(a, b, 1) is b
    assert between(a, b, 0.3).dtype == np.float32


def test_slerp_survives_equal_opposite_and_zero_vectors():
    a = np.float32([1, 2])
    np.testing.assert_allclose(slerp(a, a, 0.4), a, rtol=1e-6)
    np.testing.assert_allclose(slerp(a, -a, 0.25), 0.5 * a, rtol=1e-6)
    assert np.isfinite(slerp(a, 0 * a, 0.25)).all()


def test_a_loop_passes_all_keys_and_closes():
    keys = _rng().randn(3, 2, 5).astype(np.float32)
    frames = interpolate(keys, steps=4)
    assert frames.shape == (12, 2, 5)
    np.testing.assert_array_equal(frames[::4], keys)
    np.testing.assert_array_equal(frames[11], slerp(keys[2], keys[0], 0.75))


def test_an_open_path_ends_at_the_last_key():
    keys = _rng().randn(3, 5).astype(np.float32)
    frames = interpolate(keys, steps=4, between=lerp, is_loop=False)
    assert frames.shape == (9, 5)
    np.testing.assert_array_equal(frames[::4], keys)
    np.testing.assert_allclose(frames[6], (keys[1] + keys[2]) / 2, atol=1e-6)


def test_edits_leave_the_rest_bit_equal():
    a, b = _rng().randn(2, 3, 4, 6, 5).astype(np.float32)
    before = a.copy()
    edited = replace_components(a, b, [1, 3])
    np.testing.assert_array_equal(edited[:, [1, 3]], b[:, [1, 3]])
    np.testing.assert_array_equal(edited[:, [0, 2]], a[:, [0, 2]])
    mixed = replace_layers(a, b, 2)
    np.testing.assert_array_equal(mixed[..., :2, :], b[..., :2, :])
    np.testing.assert_array_equal(mixed[..., 2:, :], a[..., 2:, :])
    np.testing.assert_array_equal(a, before)


def test_saved_latents_come_back_equal(tmp_path):
    z, ws = _rng().randn(2, 3, 4), _rng().randn(2, 3, 6, 4).astype(np.float32)
    save_latents(tmp_path / "a.npz", z, ws, seeds=[1, 2])
    np.testing.assert_array_equal(load_ws(tmp_path / "a.npz", [3, 6, 4]), ws)
    with np.load(str(tmp_path / "a.npz")) as arrays:
        assert sorted(arrays) == ["seeds", "ws", "z"]


def test_latents_that_do_not_fit_say_why(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_ws(tmp_path / "a.npz", [3])
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"not an \.npz file"):
        load_ws(tmp_path / "a.npz", [3])
    np.savez(str(tmp_path / "b.npz"), z=np.zeros([2, 3]))
    with pytest.raises(UserError, match="holds z, but no array 'ws'"):
        load_ws(tmp_path / "b.npz", [3])
    np.savez(str(tmp_path / "c.npz"), ws=np.zeros([2, 4, 5, 6]))
    with pytest.raises(UserError, match=r"\[2, 4, 5, 6\], this network takes \[N, 4, 5, 8\]"):
        load_ws(tmp_path / "c.npz", [4, 5, 8])


def _damage(tmp_path):
    """Files that cannot be latents, by what is wrong with them."""
    np.savez(str(tmp_path / "whole.npz"), ws=np.zeros([2, 3, 4]), **{"noise:a": np.zeros(5)})
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "header.npz").write_bytes(whole[:80] + b"?" * 40 + whole[120:])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    np.save(str(tmp_path / "array.npy"), np.zeros([2, 3, 4]))
    return sorted(path for path in tmp_path.iterdir() if path.name != "whole.npz")


def test_damaged_files_are_one_line(tmp_path):
    for path in _damage(tmp_path):
        reads = [lambda p: load_ws(p, [3, 4]), lambda p: load_noise(p, 2)]
        for read in reads[: 1 if path.name == "header.npz" else 2]:  # that of ws alone
            with pytest.raises(UserError, match=r"not an \.npz file of latents") as error:
                read(path)
            assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values, message",
    [
        (np.full([2, 3, 4], "1.5"), "ws must be numbers, but is of type <U3"),
        (np.full([2, 3, 4], 1j), "ws must be numbers, but is of type complex128"),
        (np.full([2, 3, 4], np.nan), "ws holds values that are not finite"),
        (np.full([2, 3, 4], 1e39), "ws holds values that are not finite"),  # as float32
    ],
)
def test_latents_are_finite_numbers(tmp_path, values, message):
    np.savez(str(tmp_path / "a.npz"), ws=values)
    with pytest.raises(UserError, match=message):
        load_ws(tmp_path / "a.npz", [3, 4])
    np.savez(str(tmp_path / "b.npz"), **{"noise:4x4": values})
    with pytest.raises(UserError, match=message.replace("ws", "noise:4x4")):
        load_noise(tmp_path / "b.npz", 2)
