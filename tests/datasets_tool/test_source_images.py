import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from datasets_tool.channels import to_channels
from datasets_tool.decode import (
    UnreadableImageError,
    check_resolution,
    decode,
    fit,
    levels,
    natural_resolution,
    to_picture,
)
from dnnlib.errors import UserError


def ramp(width=12, height=8):
    """An RGB image whose every pixel differs."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 20, y * 30, 255 - x * 10 - y * 10], axis=2).astype(np.uint8)


def encoded(image, kind="png", **kwargs):
    file = io.BytesIO()
    image.save(file, kind, **kwargs)
    return file.getvalue()


# Decoding rules


def test_rgb_passes_unchanged_and_unremarked():
    image, notes = decode(encoded(Image.fromarray(ramp())))
    assert (np.asarray(image) == ramp()).all() and notes == set()


def test_grey_stays_grey():
    grey = ramp()[:, :, 0]
    for kind in ("L", "LA"):
        image, notes = decode(encoded(Image.fromarray(grey).convert(kind)))
        assert image.mode == "L" and (np.asarray(image) == grey).all() and notes == {"grey"}


def test_sixteen_bits_are_rounded_to_eight():
    values = np.array([[0, 128, 129, 65535, 32768, 257 * 77]], np.uint16)
    image, notes = decode(encoded(Image.fromarray(values)))
    assert np.asarray(image)[0].tolist() == [0, 0, 1, 255, 128, 77]
    assert notes == {"16-bit", "grey"}


def png_of_16_bits(values):
    """uint16 [H, W, 3] as a PNG, which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_sixteen_bits_of_colour_are_scaled_and_said():
    values = ramp().astype(np.uint16) * 257
    image, notes = decode(png_of_16_bits(values))
    assert (np.asarray(image) == ramp()).all() and notes == {"16-bit"}


def test_transparency_is_kept_where_there_is_any():
    rgba = np.dstack([ramp(), np.full([8, 12], 255, np.uint8)])
    image, notes = decode(encoded(Image.fromarray(rgba)))
    assert (np.asarray(image) == ramp()).all() and notes == set()  # opaque after all
    rgba[2, 3], rgba[4, 5] = [10, 20, 30, 0], [0, 0, 0, 127]
    image, notes = decode(encoded(Image.fromarray(rgba)))
    assert image.mode == "RGBA" and (np.asarray(image) == rgba).all() and notes == {"transparent"}


def test_palettes_are_looked_up_also_transparent_ones():
    palette = Image.fromarray(ramp()).quantize(16)
    image, notes = decode(encoded(palette))
    assert notes == {"palette"} and (np.asarray(image) == np.asarray(palette.convert("RGB"))).all()
    index = palette.getpixel((0, 0))
    image, notes = decode(encoded(palette, transparency=index))
    assert notes == {"palette", "transparent"} and image.getpixel((0, 0))[3] == 0


def test_cmyk_jpeg_keeps_its_colours():
    plain = np.full([16, 16, 3], [200, 40, 90], np.uint8)
    data = encoded(Image.fromarray(plain).convert("CMYK"), "jpeg", quality=95)
    image, notes = decode(data)
    assert notes == {"CMYK"} and abs(np.asarray(image).astype(int) - plain).max() < 8


@pytest.mark.parametrize("orientation, turn", [(3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, notes = decode(encoded(Image.fromarray(ramp()), "png", exif=exif))
    assert (np.asarray(image) == np.rot90(ramp(), turn)).all() and notes == {"turned (EXIF)"}


def test_the_first_frame_of_an_animation():
    frames = [Image.fromarray(np.full([8, 8, 3], v, np.uint8)) for v in (10, 200)]
    image, notes = decode(encoded(frames[0], "webp", save_all=True, append_images=frames[1:]))
    assert "animated (first frame)" in notes and abs(np.asarray(image).astype(int) - 10).max() < 5


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "gif", "tiff"])
def test_truncated_files_are_unreadable_with_a_reason(kind):
    noise = np.random.RandomState(0).randint(0, 256, [64, 64, 3]).astype(np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UnreadableImageError) as error:
        decode(data[: len(data) // 2])
    assert str(error.value) and "\n" not in str(error.value) and "BytesIO" not in str(error.value)


def test_other_unreadable_files():
    for data, reason in [(b"", "empty"), (b"hello", "cannot identify")]:
        with pytest.raises(UnreadableImageError, match=reason):
            decode(data)
    floats = Image.fromarray(np.ones([4, 4], np.float32))
    with pytest.raises(UnreadableImageError, match="floating-point"):
        decode(encoded(floats, "tiff"))
    wide = Image.fromarray(np.full([4, 4], 70000, np.int32))
    with pytest.raises(UnreadableImageError, match="32 bits"):
        decode(encoded(wide, "tiff"))


def test_damaged_pngs_never_raise_anything_else():
    data = encoded(Image.fromarray(ramp()))
    rng = np.random.RandomState(0)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[rng.randint(len(data))] = rng.randint(256)
        with contextlib.suppress(UnreadableImageError):
            decode(bytes(damaged))


def test_arrays_become_pictures():
    array = ramp().transpose(2, 0, 1)
    assert (np.asarray(to_picture(array)) == ramp()).all()
    assert to_picture(array[:1]).mode == "L"
    with pytest.raises(UnreadableImageError, match="float32"):
        to_picture(array.astype(np.float32))


# Channels


def test_transparent_parts_are_laid_on_the_background_or_kept():
    rgba = np.dstack([ramp(), np.full([8, 12], 255, np.uint8)])
    rgba[2, 3], rgba[4, 5] = [10, 20, 30, 0], [0, 0, 0, 127]
    picture = Image.fromarray(rgba)
    for background, hidden, half in [(None, [255] * 3, [128] * 3), ("#002040", [0, 32, 64], None)]:
        laid = np.asarray(to_channels(picture, 3, background))
        assert laid[2, 3].tolist() == hidden and laid[4, 5].tolist() == (half or [0, 16, 32])
        assert (laid[5:] == ramp()[5:]).all()
    assert np.asarray(to_channels(picture, 1))[2, 3] == 255
    kept = np.asarray(to_channels(picture, 4))
    assert not kept[2, 3].any() and (np.delete(kept, 2, 0) == np.delete(rgba, 2, 0)).all()


def test_grey_and_rgb_become_each_other():
    grey = Image.fromarray(ramp()[:, :, 0])
    assert (np.asarray(to_channels(grey, 3)) == ramp()[:, :, :1]).all()
    assert (
        np.asarray(to_channels(grey, 4))
        == np.dstack([ramp()[:, :, [0, 0, 0]], 255 + 0 * ramp()[:, :, 0]])
    ).all()
    luma = ramp() @ [0.299, 0.587, 0.114]
    assert abs(np.asarray(to_channels(Image.fromarray(ramp()), 1)) - luma).max() < 1.01


def test_smaller_sizes_of_rgba_weigh_colours_by_opacity():
    image = np.zeros([4, 8, 8], np.uint8)
    image[:, ::2, ::2] = np.array([200, 100, 40, 255]).reshape(4, 1, 1)
    assert [level[:, 1, 2].tolist() for level in levels(image)][1] == [200, 100, 40, 64]


# Geometry


def test_a_square_of_the_right_size_is_not_touched():
    image = np.random.RandomState(0).randint(0, 256, [16, 16, 3]).astype(np.uint8)
    assert (np.asarray(fit(Image.fromarray(image), 16)) == image).all()


def test_center_crop_keeps_the_middle():
    image = ramp(12, 8)
    assert (np.asarray(fit(Image.fromarray(image), 8)) == image[:, 2:10]).all()
    assert (np.asarray(fit(Image.fromarray(image), 8, crop="top")) == image[:, 2:10]).all()
    tall = image.transpose(1, 0, 2)
    assert (np.asarray(fit(Image.fromarray(tall), 8)) == tall[2:10]).all()
    assert (np.asarray(fit(Image.fromarray(tall), 8, crop="top")) == tall[:8]).all()


@pytest.mark.parametrize("crop, rows", [("center", slice(4, 12)), ("top", slice(0, 8))])
def test_a_ratio_cuts_height_and_adds_bars(crop, rows):
    image = np.random.RandomState(0).randint(1, 256, [16, 16, 3]).astype(np.uint8)
    out = np.asarray(fit(Image.fromarray(image), 16, ratio=0.5, crop=crop))
    assert (out[4:12] == image[rows]).all() and not out[:4].any() and not out[12:].any()


def test_crop_none_adds_bars_to_the_whole_picture():
    out = np.asarray(fit(Image.fromarray(ramp(12, 8)), 12, crop="none"))
    pasted = np.zeros([12, 12, 3], np.uint8)
    pasted[2:10] = ramp(12, 8)
    assert (out == pasted).all()


def test_stretch_uses_the_whole_picture_without_bars():
    halves = np.zeros([8, 16, 3], np.uint8)
    halves[:, 8:] = 255
    out = np.asarray(fit(Image.fromarray(halves), 8, crop="stretch"))
    assert (out[:, :3] < 3).all() and (out[:, 5:] > 252).all()


def test_the_published_box():
    """As the published tool computes it: a 72x40 picture cut to ratio 0.5 is 72x36, then 72x72."""
    image = np.random.RandomState(1).randint(1, 256, [40, 72, 3]).astype(np.uint8)
    pasted = np.zeros([72, 72, 3], np.uint8)
    pasted[18:54] = image[2:38]
    expected = Image.fromarray(pasted).resize((64, 64), Image.LANCZOS)
    out = fit(Image.fromarray(image), 64, ratio=0.5)
    assert (np.asarray(out) == np.asarray(expected)).all()
    assert natural_resolution((72, 40), 0.5) == 64


@pytest.mark.parametrize(
    "size, ratio, crop, expected",
    [
        ((256, 256), 1, "center", 256),
        ((300, 200), 1, "center", 256),  # the side is 200; log2 is nearer to 256
        ((300, 200), 1, "none", 256),
        ((480, 320), 0.75, "center", 512),  # 426.7 x 320
        ((480, 320), 0.75, "top", 512),
        ((1, 1), 1, "center", 4),
        ((90, 90), 1, "center", 64),
        ((91, 91), 1, "center", 128),
    ],
)
def test_natural_resolution(size, ratio, crop, expected):
    assert natural_resolution(size, ratio, crop) == expected


def test_levels_are_means_of_the_unrounded():
    image = np.random.RandomState(2).randint(0, 256, [3, 32, 32]).astype(np.uint8)
    sizes = list(levels(image))
    assert [size.shape for size in sizes] == [(3, s, s) for s in (32, 16, 8, 4)]
    for size in sizes:
        factor = 32 // size.shape[1]
        blocks = image.reshape(3, size.shape[1], factor, size.shape[2], factor).astype(float)
        assert (size == np.rint(blocks.mean((2, 4)))).all()


def test_resolutions():
    for good in (4, 64, 4096):
        check_resolution(good)
    for bad, near in ((48, "32 or 64"), (3, "4"), (5000, "4096"), (2, "4")):
        with pytest.raises(UserError, match=f"power of two from 4 to 4096; nearest: {near}"):
            check_resolution(bad)
