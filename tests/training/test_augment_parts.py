"""Each transformation against NumPy or SciPy, its derivatives, and images that pass to the bit."""

import augment_picture
import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.signal
import tensorflow.compat.v1 as tf
from PIL import Image

from config.options import AugmentOptions
from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.random import RandomSource, StepRandom
from training.augment import PIPES, augment
from training.augment import diffaugment as cheap
from training.augment.color import change_color, recolor
from training.augment.corruptions import add_noise, cut_out
from training.augment.filters import SYM2, SYM6, amplify, band_filters
from training.augment.geometry import blit, inverse_matrix, move_pixels, resample, warp
from training.augment.pipe import PARTS, TRANSFORMATIONS, shares

pytestmark = pytest.mark.usefixtures("session")


class Given(RandomSource):
    """Stands in for StepRandom: gives arrays by site, [N, *shape]."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def child(self, prefix):
        return self

    def normal(self, site, shape):
        array = np.float32(self.arrays[site])
        assert list(array.shape[1:]) == list(shape), site
        return tf.constant(array)

    uniform = normal


def pictures(num=2, height=7, width=10, channels=3, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, [num, height, width, channels]).astype("f")


def constants(*values):
    return [tf.constant(np.float32(value)) for value in values]


# Filters


@pytest.mark.parametrize("taps, moments", [(SYM2, 2), (SYM6, 6)])
def test_the_filters_are_those_of_orthogonal_symlets(taps, moments):
    """These properties leave only the choice of roots; sym6's is the most symmetric one."""
    f, n = np.array(taps), np.arange(len(taps))
    assert len(f) == 2 * moments and f.sum() == pytest.approx(np.sqrt(2), abs=1e-7)
    for k in range(moments):
        assert (f[: len(f) - 2 * k] * f[2 * k :]).sum() == pytest.approx(float(k == 0), abs=1e-7)
        # The high-pass partner does not see polynomials up to this degree.
        assert ((-1.0) ** n * f * (n / len(n)) ** k).sum() == pytest.approx(0, abs=1e-7)


def test_the_bands_split_the_spectrum():
    bands = band_filters()
    assert bands.shape == (4, 43)
    np.testing.assert_allclose(bands, bands[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(bands.sum(axis=0), np.arange(43) == 21, atol=1e-12)
    response = np.abs(np.fft.rfft(bands, 256, axis=1))  # [4, 129] from 0 to half a turn a pixel
    for band, centre in enumerate((0, 24, 48, 96)):
        assert np.argmax(response[:, centre]) == band and response[band, centre] > 0.7


def test_amplify_against_scipy():
    x = pictures(height=9, width=14)
    normals = np.random.RandomState(1).randn(2, 4)
    gates = np.array([[0.1, 0.9, 0.2, 0.1], [0.9, 0.3, 0.9, 0.9]])
    found = tflib.run(amplify(tf.constant(x), 0.5, Given(gates=gates, gains=normals)))
    for image, normal, gate, y in zip(x, normals, gates, found):
        gains = np.ones(4)
        for band in range(4):
            own = np.ones(4)
            own[band] = 2 ** normal[band] if gate[band] < 0.5 else 1
            gains *= own / np.sqrt((10 * own[0] ** 2 + (own[1:] ** 2).sum()) / 13)
        taps = gains @ band_filters()
        want = scipy.ndimage.convolve1d(image.astype(float), taps, axis=0, mode="mirror")
        want = scipy.ndimage.convolve1d(want, taps, axis=1, mode="mirror")
        np.testing.assert_allclose(y, want, atol=1e-5)


# Geometry


@pytest.mark.parametrize(
    "mirror, quarters, shift", [(1, 0, (0, 0)), (0, 1, (2, -1)), (1, 3, (1, 2))]
)
def test_blitting_against_numpy(mirror, quarters, shift):
    x = pictures(height=8, width=8)
    args = constants([0, mirror], [0, quarters], [(0, 0), shift])
    found = tflib.run(move_pixels(tf.constant(x), *args))
    want = np.rot90(x[1, :, ::-1] if mirror else x[1], -quarters)
    want = np.pad(want, [(3, 3), (3, 3), (0, 0)], "reflect")
    want = want[3 - shift[1] : 11 - shift[1], 3 - shift[0] : 11 - shift[0]]
    np.testing.assert_array_equal(found[1], want)
    np.testing.assert_array_equal(found[0], x[0])


def test_each_blit_is_drawn_as_published():
    """Gates in the order mirror, turn, shift; shifts up to an eighth of each side."""
    x = pictures(num=3, height=16, width=16)
    gates = 1 - np.eye(3)
    draws = np.tile([0.5, 0.75, 0.999, 0.3], [3, 1])
    found = tflib.run(blit(tf.constant(x), 0.4, Given(gates=gates, blit=draws)))
    np.testing.assert_array_equal(found[0], x[0, :, ::-1])
    np.testing.assert_array_equal(found[1], np.rot90(x[1], 1))
    np.testing.assert_array_equal(found[2, 2:-1, 2:], x[2, 3:, :-2])  # round(-0.8), round(2)


FAR = 70  # pixels beyond the border


def up(x):
    """SciPy's up-sampling of a reflected image; its first sample is pixel -FAR - 1/4."""
    x = np.pad(x.astype(float), FAR + 3, "reflect")
    for _ in range(2):
        y = scipy.signal.upfirdn(np.sqrt(2) * np.array(SYM6), x, up=2, axis=0)
        x = y[11 : 11 + 2 * (x.shape[0] - 6)].T
    return x


def down(x):
    for _ in range(2):
        x = scipy.signal.upfirdn(np.array(SYM6)[::-1] / np.sqrt(2), x, down=1, axis=0)[11:-11:2].T
    return x


def test_resampling_against_scipy():
    x = pictures(height=10, width=12)
    matrix = np.array([[[0.9, 0.5], [-0.3, 1.2]], [[-1.5, 0.1], [0.2, 0.6]]])
    shift = np.array([[1.3, -0.4], [-20.0, 3.7]])
    found = tflib.run(resample(tf.constant(x), *constants(matrix, shift)))
    assert found.shape == x.shape
    # The filter's centre of mass is not in the middle of its taps.
    beside = np.average(np.arange(12), weights=SYM6) - 5.5
    q = np.meshgrid(np.arange(34) - 16.5 - beside, np.arange(30) - 14.5 - beside)
    q = np.stack(q) / 2  # [(x, y), 30, 34]
    for image, a, t, y in zip(x, matrix, shift, found):
        source = np.einsum("ij,jhw->ihw", a, q - t[:, None, None])
        for channel in range(3):
            fine = up(image[..., channel])
            index = [2 * source[i] + m + beside + 2 * FAR for i, m in ((1, 9.5), (0, 11.5))]
            moved = scipy.ndimage.map_coordinates(fine, index, order=1, cval=np.nan)
            np.testing.assert_allclose(y[..., channel], down(moved), atol=2e-4)


def test_resampling_that_does_not_move_is_the_identity():
    x = pictures(height=8, width=12)
    eye = np.tile(np.eye(2), [2, 1, 1])
    y = resample(tf.constant(x), *constants(eye, np.zeros([2, 2])))
    np.testing.assert_allclose(tflib.run(y), x, atol=1e-5)
    # Turned by a quarter: the pixels of x again, but for the filter's small asymmetry.
    square = scipy.ndimage.gaussian_filter(pictures(height=16, width=16), [0, 1.5, 1.5, 0])
    turn = np.tile([[0, 1], [-1, 0]], [2, 1, 1])
    y = resample(tf.constant(square), *constants(turn, np.zeros([2, 2])))
    want = np.rot90(square, -1, axes=(1, 2))
    np.testing.assert_allclose(tflib.run(y)[:, 3:-3, 3:-3], want[:, 3:-3, 3:-3], atol=0.02)


def test_the_inverse_matrix_against_numpy():
    scale, before, stretch, after = np.random.RandomState(0).uniform(0.5, 2, [4, 3])
    found = tflib.run(inverse_matrix(*constants(scale, before, stretch, after)))
    for i in range(3):
        c, s, d, e = np.cos(before[i]), np.sin(before[i]), np.cos(after[i]), np.sin(after[i])
        first = np.array([[c, -s], [s, c]]) * scale[i]
        last = np.array([[d, -e], [e, d]])
        forward = last @ np.diag([stretch[i], 1 / stretch[i]]) @ first
        np.testing.assert_allclose(found[i], np.linalg.inv(forward), rtol=1e-4, atol=1e-5)


def test_each_warp_is_drawn_as_published():
    x = pictures(num=5, height=8, width=12)
    normals = np.random.RandomState(2).randn(5, 4)
    turns = np.random.RandomState(3).rand(5, 2)
    rng = Given(gates=1 - np.eye(5), warp=normals, turns=turns)
    found = tflib.run(warp(tf.constant(x), tf.constant(0.4), rng))
    angles, one, still = np.pi * (2 * turns - 1), np.ones(5), np.zeros(5)
    scales = 2 ** (0.2 * normals[:, :2])
    for i, (s, b, a, t) in enumerate(
        [
            (scales[:, 0], still, one, still),
            (one, angles[:, 0], one, still),
            (one, still, scales[:, 1], still),
            (one, still, one, angles[:, 1]),
            (one, still, one, still),
        ]
    ):
        shift = 0.125 * normals[:, 2:] * [12, 8] * (i == 4)
        inverse = inverse_matrix(*constants(s, b, a, t))
        want = tflib.run(resample(tf.constant(x), inverse, *constants(shift)))
        np.testing.assert_allclose(found[i], want[i], atol=1e-4)


# Colors


def color_matrix(brightness, contrast, flip, hue, saturation):
    """Products of 4x4 matrices as in App. B; scipy's rotation by the matrix exponential."""
    v = np.array([1, 1, 1, 0]) / np.sqrt(3)
    eye = np.eye(4)
    translate = eye.copy()
    translate[:3, 3] = brightness
    householder = eye - 2 * np.outer(v, v) * (flip < 0)
    cross = np.zeros([4, 4])
    cross[:3, :3] = np.cross(np.eye(3), v[:3]).T * -1
    axis = np.outer(v, v)
    rotate = scipy.linalg.expm(hue * cross)
    saturate = axis + (eye - axis) * saturation
    saturate[3, 3] = 1
    return saturate @ rotate @ householder @ np.diag([contrast] * 3 + [1]) @ translate


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colors_against_products_of_matrices(channels):
    x = pictures(num=3, channels=channels)
    b, c, h, s = np.random.RandomState(4).uniform(0.3, 1.6, [4, 3])
    flip = np.array([1, -1, -1])
    found = tflib.run(change_color(tf.constant(x), *constants(b, c, flip, h, s)))
    for i in range(3):
        matrix = color_matrix(b[i], c[i], flip[i], h[i], s[i])
        rgb = x[i, ..., :3] if channels > 1 else np.repeat(x[i], 3, axis=2)
        want = rgb @ matrix[:3, :3].T + matrix[:3, 3]
        want = want.mean(axis=2, keepdims=True) if channels == 1 else want
        np.testing.assert_allclose(found[i, ..., :3], want, atol=1e-5)
        np.testing.assert_array_equal(found[i, ..., 3:], x[i, ..., 3:])


def test_each_color_change_is_drawn_as_published():
    x = pictures(num=6)
    normals = np.random.RandomState(5).randn(6, 3)
    uniforms = np.tile([0.6, 0.2], [6, 1])
    gates = np.concatenate([1 - np.eye(5), np.ones([1, 5])])
    rng = Given(gates=gates, normals=normals, uniforms=uniforms)
    found = tflib.run(recolor(tf.constant(x), 0.5, rng))
    neutral = np.tile([0.0, 1, 1, 0, 1], [6, 1])
    drawn = np.stack(
        [
            0.2 * normals[:, 0],
            2 ** (0.5 * normals[:, 1]),
            -np.ones(6),
            np.full(6, -0.6 * np.pi),
            2 ** normals[:, 2],
        ],
        axis=1,
    )
    for i in range(5):
        neutral[i, i] = drawn[i, i]
    want = tflib.run(change_color(tf.constant(x), *constants(*neutral.T)))
    np.testing.assert_allclose(found[:5], want[:5], atol=1e-6)
    np.testing.assert_array_equal(found[5], x[5])


def test_other_channels_are_refused():
    message = "1, 3 or 4 channels, not 2; choose --aug=ada --aug-pipe=bg"
    with pytest.raises(UserError, match=message):
        change_color(tf.zeros([1, 4, 5, 2]), *constants([0], [1], [1], [0], [1]))


# Corruptions


def test_noise_and_cutout_against_numpy():
    x, rng = pictures(height=8, width=12), np.random.RandomState(6)
    noise, deviation, gates = rng.randn(*x.shape), rng.randn(2, 1), [[0.2], [0.8]]
    given = Given(gates=gates, noise=noise, deviation=deviation)
    found = tflib.run(add_noise(tf.constant(x), 0.5, given))
    np.testing.assert_allclose(found[0], x[0] + 0.1 * np.abs(deviation[0]) * noise[0], atol=1e-6)
    np.testing.assert_array_equal(found[1], x[1])

    given = Given(gates=[[0.2], [0.2]], centre=[(0.5, 0.25), (0.99, 0.4)])
    found = tflib.run(cut_out(tf.constant(x), 0.5, given))
    want = x.copy()
    want[0, :4, 3:9] = 0
    want[1, 1:5, 9:] = 0  # columns from 0.74 * 12, rows from 0.15 * 8 - 0.5 to 0.65 * 8 - 0.5
    np.testing.assert_array_equal(found, want)


# DiffAugment


def test_diffaugment_against_numpy():
    x = pictures(height=8, width=16, channels=4)
    draws = np.float32([(0.3, 0.9, 0.1), (0.8, 0.2, 0.6)])
    found = tflib.run(cheap.jitter_color(tf.constant(x), tf.constant(draws)))
    for image, (brightness, saturation, contrast), y in zip(x.astype(float), draws, found):
        want = image[..., :3] + brightness - 0.5
        grey = want.mean(axis=2, keepdims=True)
        want = grey + (want - grey) * 2 * saturation
        want = want.mean() + (want - want.mean()) * (contrast + 0.5)
        np.testing.assert_allclose(y[..., :3], want, atol=1e-5)
        np.testing.assert_array_equal(y[..., 3], image[..., 3].astype("f"))

    draws = np.float32([(0.99, 0.0), (0.5, 0.5)])  # shifts of (2, -1) and (0, 0)
    found = tflib.run(cheap.shift(tf.constant(x), tf.constant(draws)))
    want = np.zeros_like(x[0])
    want[:7, 2:] = x[0, 1:, :14]
    np.testing.assert_array_equal(found[0], want)
    np.testing.assert_array_equal(found[1], x[1])

    draws = np.float32([(0.5, 0.5), (0.0, 0.999)])
    found = tflib.run(cheap.cut(tf.constant(x), tf.constant(draws)))
    want = x.copy()
    want[0, 2:6, 4:12] = 0  # centre: column 8 of 0 to 16, row 4 of 0 to 8
    want[1, 6:, :4] = 0  # centre: column 0, row 8
    np.testing.assert_array_equal(found, want)


# All of it


def step_random(num=5, nimg=40, offset=0, stride=1):
    return StepRandom(1, tf.constant(nimg, tf.int64), num, offset, stride)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_p_zero_is_the_identity_to_the_bit(channels):
    x = pictures(5, 8, 8, channels).transpose([0, 3, 1, 2]) - 0.0
    options = AugmentOptions(name="fixed", pipe="bgcfnc")
    y = augment(tf.constant(x), step_random(), options, tf.constant(0.0))
    assert tflib.run(y).tobytes() == x.tobytes()
    moved = tflib.run(augment(tf.constant(x), step_random(), options, tf.constant(1.0)))
    assert moved.shape == x.shape
    assert all(not np.array_equal(a, b) for a, b in zip(moved, x))


@pytest.mark.parametrize("name", [pytest.param("fixed", marks=pytest.mark.slow), "diffaugment"])
def test_a_part_of_the_batch_gets_what_the_whole_gives_it(name):
    x = pictures(6, 8, 8).transpose([0, 3, 1, 2])
    options, p = AugmentOptions(name=name, pipe="bgcfnc"), tf.constant(0.7)
    whole = tflib.run(augment(tf.constant(x), step_random(6), options, p))
    for offset in range(3):
        part = augment(tf.constant(x[offset::3]), step_random(6, 40, offset, 3), options, p)
        np.testing.assert_allclose(tflib.run(part), whole[offset::3], atol=1e-5)


@pytest.mark.slow
def test_every_pipe_draws_its_own_parts():
    x = tf.constant(pictures(5, 8, 8).transpose([0, 3, 1, 2]))
    p, rng = tf.constant(0.8), step_random()
    seen = tflib.run(
        {name: augment(x, rng, AugmentOptions(name="fixed", pipe=name), p) for name in PIPES}
    )
    assert len({value.tobytes() for value in seen.values()}) == len(PIPES) == 23
    joint = augment(x, rng, AugmentOptions(name="fixed", pipe="blit"), p)
    joint = augment(joint, rng, AugmentOptions(name="fixed", pipe="geom"), p)
    np.testing.assert_array_equal(tflib.run(joint), seen["bg"])
    assert PIPES["bgc"] == ("blit", "geom", "color") and PIPES["bgcfnc"] == tuple(PARTS)


def test_single_transformations_make_up_their_part():
    assert shares("cutout,blit,geom") == shares("bg,cutout") == dict(blit=1, geom=1, cutout=1)
    assert list(shares("xint,hue,rotate90,xflip")) == ["blit", "color"]
    for part, names in TRANSFORMATIONS.items():
        assert shares(",".join(names)) == {part: 1.0}
        for i, name in enumerate(names):
            np.testing.assert_array_equal(shares(name)[part], np.eye(len(names))[i])


def test_only_chosen_transformations_are_drawn():
    """Each leaves something as it was, which all of its part would change."""
    x = pictures(6, 8, 8).transpose([0, 3, 1, 2])

    def draw(pipe):
        options = AugmentOptions(name="fixed", pipe=pipe)
        return augment(tf.constant(x), step_random(6), options, tf.constant(1.0))

    flipped, turned, tinted = tflib.run([draw("xflip"), draw("rotate90"), draw("hue")])
    for image, flip, turn in zip(x, flipped, turned):
        assert any(np.array_equal(flip, y) for y in (image, image[..., ::-1]))
        turns = [np.rot90(image, i, axes=(1, 2)) for i in range(4)]
        assert any(np.array_equal(turn, y) for y in turns)
    assert len({(a == b).all() for a, b in zip(x, flipped)}) == 2
    np.testing.assert_allclose(tinted.mean(axis=1), x.mean(axis=1), atol=1e-6)
    assert np.abs(tinted - x).max() > 0.1


@pytest.mark.parametrize("chosen, gates", [(0, [0]), (1, [1, 3]), (2, [2]), (3, [4])])
def test_both_turns_of_a_warp_are_one_choice(chosen, gates):
    x = tf.constant(pictures(height=8, width=12))
    draws = {"warp": np.random.RandomState(2).randn(2, 4), "turns": [(0.1, 0.7), (0.4, 0.8)]}
    some = warp(x, np.eye(4, dtype="f")[chosen] * 0.4, Given(gates=np.full([2, 5], 0.1), **draws))
    closed = np.tile([float(gate not in gates) for gate in range(5)], [2, 1])
    np.testing.assert_array_equal(*tflib.run([some, warp(x, 0.4, Given(gates=closed, **draws))]))


@pytest.mark.parametrize(
    "name, pipe",
    [pytest.param("fixed", "bgcfnc", marks=pytest.mark.slow), ("diffaugment", "bgc")],
)
def test_first_and_second_derivatives(name, pipe):
    """Linear in the image: the directional derivative is the difference; through a cube, twice."""
    rng = np.random.RandomState(7)
    x = tf.constant(rng.uniform(-1, 1, [3, 3, 8, 8]), tf.float32)
    direction = tf.constant(rng.randn(3, 3, 8, 8), tf.float32)
    weight = tf.constant(rng.randn(3, 3, 8, 8), tf.float32)
    options, p = AugmentOptions(name=name, pipe=pipe), tf.constant(0.9)

    def fn(images):
        return augment(images, step_random(3), options, p)

    y, change = fn(x), fn(x + direction) - fn(x)
    (slope,) = tf.gradients(y, [x], weight)
    first = tf.reduce_sum(slope * direction), tf.reduce_sum(change * weight)
    # d/dx of sum(w y^3) is J^T (3 w y^2); its derivative along d has the product with d
    # sum(6 w y (J d)^2).
    (slope,) = tf.gradients(tf.reduce_sum(weight * y**3), [x])
    (curvature,) = tf.gradients(tf.reduce_sum(slope * direction), [x])
    second = tf.reduce_sum(curvature * direction), tf.reduce_sum(6 * weight * y * change**2)
    (a, b), (c, d) = tflib.run([first, second])
    assert a == pytest.approx(b, rel=1e-3) and c == pytest.approx(d, rel=2e-3)
    assert abs(a) > 1 and abs(c) > 1


@pytest.mark.slow
def test_what_was_turned_at_p_below_one_can_be_told_apart():
    """A toy whose answer is known: of images that stand upright, 1 - p + p / 4 still do.

    Turns map a distribution over the four orientations by (1 - p) I + p / 4, which is invertible
    for p < 1: what was generated can be recovered (ADA, Sec. 2.2 and App. C).
    """
    num, p = 8000, 0.6
    x = np.zeros([num, 1, 4, 4], np.float32)
    x[:, 0, 0, 1] = 1  # upright: one bright pixel
    turned = [np.rot90(x[0, 0], -k) for k in range(4)]
    source = Turned(num)
    y = tflib.run(augment(tf.constant(x), source, AugmentOptions("fixed", "blit"), tf.constant(p)))
    shares = [np.mean([np.array_equal(image[0], want) for image in y]) for want in turned]
    np.testing.assert_allclose(shares, [1 - p + p / 4, p / 4, p / 4, p / 4], atol=0.02)
    matrix = np.stack([np.roll(shares, k) for k in range(4)])
    np.testing.assert_allclose(np.linalg.eigvals(matrix).real.min(), 1 - p, atol=0.03)


class Turned(RandomSource):
    """Draws of StepRandom, with the gates of mirroring and shifting closed."""

    def __init__(self, num):
        self.source = step_random(num)

    def child(self, prefix):
        return self

    def uniform(self, site, shape):
        draws = self.source.uniform(site, shape)
        closed = np.float32([1, 0, 1]) if site == "gates" else np.float32(0)
        return tf.maximum(draws, closed)


@pytest.mark.slow
def test_the_documentations_sheet_is_drawn(root, tmp_path):
    augment_picture.draw(str(tmp_path / "a.png"))
    committed = root / "docs" / "images" / "augmentation.png"
    with Image.open(str(tmp_path / "a.png")) as found, Image.open(str(committed)) as want:
        assert found.size == want.size
        far = np.abs(np.int32(found.convert("RGB")) - np.int32(want.convert("RGB")))
    assert far.mean() < 3 and committed.stat().st_size < augment_picture.MAX_BYTES
