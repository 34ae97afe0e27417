import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from vis import palette
from vis.pictures import (
    TEXT_HEIGHT,
    cell_size,
    crop_to_ratio,
    grid_shape,
    legend,
    resize,
    save_picture,
    save_sample_grid,
    stack,
    text_line,
    tile,
    to_pictures,
)


def _read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _pictures(num, height, width):
    return np.random.RandomState(0).randint(0, 256, [num, height, width, 3]).astype(np.uint8)


def test_conversion_rounds_to_the_nearest_level_and_clips():
    levels = np.arange(256)
    exact = (levels / 127.5 - 1).astype(np.float32)
    values = np.concatenate([exact, [-7.0, 7.0, 0.4 / 127.5, 0.6 / 127.5]])
    got = to_pictures(np.tile(values, [1, 3, 1, 1]))[0, 0]
    want = [*levels, 0, 255, 128, 128]  # 127.9 and 128.1
    assert got.shape == (260, 3) and got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.stack([want] * 3, axis=-1))


def test_conversion_moves_channels_last_and_repeats_grey():
    images = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(to_pictures(images)[1, 2, 3], images[1, :, 2, 3])
    np.testing.assert_array_equal(to_pictures(images[:, :1])[1, 2, 3], [images[1, 0, 2, 3]] * 3)


def test_conversion_refuses_what_is_no_image():
    with pytest.raises(ValueError, match=r"got \[2, 5, 8, 8\]"):
        to_pictures(np.zeros([2, 5, 8, 8]))
    with pytest.raises(UserError, match="not a number"):
        to_pictures(np.full([1, 3, 2, 2], np.nan))


@pytest.mark.parametrize("ratio, rows", [(1.0, 256), (0.75, 192), (0.5, 128), (188 / 256, 188)])
def test_cropping_keeps_the_middle(ratio, rows):
    column = np.arange(256)[:, np.newaxis] * np.ones([1, 256])
    kept = crop_to_ratio(column, ratio)
    assert kept.shape == (rows, 256)
    assert kept[0, 0] + kept[-1, 0] == 255  # as many rows above as below
    np.testing.assert_array_equal(crop_to_ratio(column.T, 1 / ratio), kept.T)


@pytest.mark.parametrize("ending", [".png", ".webp", ".jpg"])
def test_saved_pictures_read_back(tmp_path, ending):
    picture = np.full([6, 9, 3], [250, 10, 128], np.uint8)
    save_picture(tmp_path / f"a{ending}", picture, {"seed": "7"})
    error = np.abs(_read(tmp_path / f"a{ending}").astype(int) - picture)
    assert error.max() <= (4 if ending == ".jpg" else 0)
    assert [p.name for p in tmp_path.iterdir()] == [f"a{ending}"]


def test_a_png_carries_its_text(tmp_path):
    save_picture(tmp_path / "a.png", _pictures(1, 2, 2)[0], {"seed": "7"})
    with Image.open(tmp_path / "a.png") as image:
        assert image.text == {"seed": "7"}


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path):
    save_picture(tmp_path / "a.png", _pictures(1, 2, 2)[0])
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(TypeError):
        save_picture(tmp_path / "a.png", np.zeros([2, 2, 7], np.uint8))
    assert (tmp_path / "a.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_an_unknown_format_names_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"\.png, \.jpg.*not as '\.bmp'"):
        save_picture(tmp_path / "a.bmp", _pictures(1, 2, 2)[0])


@pytest.mark.parametrize(
    "cell, columns, rows, want",
    [
        ((32, 32), 6, 4, (128, 128)),
        ((24, 32), 3, 2, (96, 128)),
        ((64, 64), 32, 32, (64, 64)),  # twice as large would make a sheet of 4096
        ((256, 256), 6, 4, (256, 256)),
        ((1024, 1024), 8, 4, (512, 512)),
        ((512, 1024), 4, 16, (256, 512)),
        ((8, 8), 1000, 1, (4, 4)),
    ],
)
def test_cells_are_readable_and_sheets_are_not_huge(cell, columns, rows, want):
    assert cell_size(*cell, columns, rows) == want


def test_enlarging_keeps_pixels_sharp_and_reducing_averages():
    picture = _pictures(2, 3, 5)
    large = resize(picture, 6, 15)
    np.testing.assert_array_equal(large[:, ::2, ::3], picture)
    np.testing.assert_array_equal(large[:, 1::2, 2::3], picture)
    checks = np.indices([8, 8]).sum(axis=0) % 2 * np.ones([1, 1, 1]) * 200
    checks = np.repeat(checks.transpose(1, 2, 0)[np.newaxis], 3, axis=-1).astype(np.uint8)
    assert np.abs(resize(checks, 2, 2).astype(int) - 100).max() <= 12


@pytest.mark.parametrize(
    "num, want", [(1, (1, 1)), (6, (3, 2)), (16, (4, 4)), (24, (6, 4)), (32, (8, 4))]
)
def test_grids_are_wide_and_full(num, want):
    assert grid_shape(num) == want


def test_tiles_lie_row_by_row_with_white_between():
    pictures = _pictures(5, 3, 4)
    sheet = tile(pictures, columns=2, gap=1)
    assert sheet.shape == (11, 9, 3)
    for i, picture in enumerate(pictures):
        top, left = i // 2 * 4, i % 2 * 5
        np.testing.assert_array_equal(sheet[top : top + 3, left : left + 4], picture)
    assert (sheet[3] == 255).all() and (sheet[:, 4] == 255).all() and (sheet[8:, 5:] == 255).all()


def test_stacks_align_left_on_white():
    first, second = _pictures(1, 2, 3)[0], _pictures(1, 4, 5)[0]
    sheet = stack([first, second], gap=1)
    assert sheet.shape == (7, 5, 3)
    np.testing.assert_array_equal(sheet[:2, :3], first)
    np.testing.assert_array_equal(sheet[3:], second)
    assert (sheet[:3, 3:] == 255).all() and (sheet[2] == 255).all()


def test_a_saved_grid_holds_each_image(tmp_path):
    images = np.random.RandomState(1).uniform(-1, 1, [6, 3, 16, 16])
    save_sample_grid(tmp_path / "grid.png", images, columns=3)
    sheet = _read(tmp_path / "grid.png")
    assert sheet.shape == (2 * 128, 3 * 128, 3)
    np.testing.assert_array_equal(sheet[128::8, 256::8], to_pictures(images)[5])


def test_text_stays_in_its_column():
    line = text_line(["one", "", "two"], width=300)
    ink = (line < 128).any(axis=(0, 2))
    assert ink[:100].any() and not ink[100:200].any() and ink[200:].any()


@pytest.mark.parametrize("num, width", [(3, 200), (17, 150), (64, 90)])
def test_a_legend_shows_every_colour_once(num, width):
    colors = palette.component_colors(num)
    sheet = legend(colors, width)
    assert sheet.shape[1] == width
    for color in colors:
        assert (sheet == color).all(axis=-1).sum() == (TEXT_HEIGHT - 6) ** 2


@pytest.mark.parametrize("num, least", [(8, 16), (16, 16), (32, 12), (64, 8), (128, 5), (256, 4)])
def test_colours_differ_for_every_kind_of_vision(num, least):
    seen = palette.appearances(palette.component_colors(num))
    gaps = np.linalg.norm(seen[:, np.newaxis] - seen[np.newaxis], axis=-1)
    gaps[np.arange(num), np.arange(num)] = np.inf
    assert gaps.min() > least


def test_lab_of_known_colours():
    # Reference values of sRGB white, red and mid grey under D65.
    seen = palette.appearances(np.uint8([[255, 255, 255], [255, 0, 0], [119, 119, 119]]))[:, 0]
    want = [[100, 0, 0], [53.24, 80.09, 67.20], [50.03, 0, 0]]
    np.testing.assert_allclose(seen, want, atol=0.05)


def test_a_component_keeps_its_colour():
    many = palette.component_colors(64)
    np.testing.assert_array_equal(palette.component_colors(5), many[:5])
    # The same on every machine and version: sheets of different runs can be compared.
    want = [[0, 114, 178], [135, 0, 240], [105, 45, 120], [165, 240, 225]]
    np.testing.assert_array_equal(many[[0, 7, 15, 31]], want)


def test_any_number_of_components_has_colours():
    many = palette.component_colors(600)
    np.testing.assert_array_equal(many[:256], palette.component_colors(256))
    assert len(np.unique(many[:256], axis=0)) == 256
    np.testing.assert_array_equal(many[256:512], many[:256])
    np.testing.assert_array_equal(many[512:], many[:88])
