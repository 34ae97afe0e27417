"""Grey, RGB and RGBA images as files, as pictures, and as networks for RGB see them."""

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from training import misc
from vis.channels import checkerboard, convert, to_pictures, to_pixels, to_rgb
from vis.pictures import read_picture, save_picture


def _images(channels, seed=0):
    random = np.random.RandomState(seed)
    return random.randint(0, 256, [2, channels, 6, 9]).astype(np.uint8)


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_files_have_the_channels_of_the_images(tmp_path, channels, mode):
    images = _images(channels)
    for ending in (".png", ".webp"):
        save_picture(tmp_path / f"a{ending}", to_pixels(images)[1])
        with Image.open(str(tmp_path / f"a{ending}")) as file:
            assert file.mode == ("RGB" if (mode, ending) == ("L", ".webp") else mode)
            pixels = np.asarray(file.convert(mode)).reshape(6, 9, channels)
        shown = pixels[..., 3:] > 0 if channels == 4 else True  # WebP drops hidden colors
        np.testing.assert_array_equal(pixels * shown, images[1].transpose(1, 2, 0) * shown)


def test_jpeg_is_refused_for_transparency(tmp_path):
    with pytest.raises(UserError, match=r"a.jpg: JPEG has no transparency; write .png or .webp"):
        save_picture(tmp_path / "a.jpg", to_pixels(_images(4))[0])
    assert not list(tmp_path.iterdir())


def test_transparency_is_shown_on_a_checkerboard():
    images = _images(4)
    images[0, 3], images[1, 3] = 0, 255
    pictures = to_pictures(images)
    ground = checkerboard(6, 9)
    assert set(np.unique(ground)) == {204, 255} and ground[0, 0] != ground[0, 1]
    np.testing.assert_array_equal(pictures[0], np.repeat(ground, 3, axis=2))
    np.testing.assert_array_equal(pictures[1], images[1, :3].transpose(1, 2, 0))
    assert checkerboard(64, 128)[0, :24, 0].tolist() == [255] * 8 + [204] * 8 + [255] * 8


def test_networks_for_rgb_see_white_under_transparency_in_bytes_and_in_floats():
    images = _images(4)
    alpha = images[:, 3:] / 255.0
    want = images[:, :3] * alpha + 255 * (1 - alpha)
    assert np.abs(to_rgb(images) - want).max() <= 0.5 + 1e-6
    floats = to_rgb(images.astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose((floats + 1) * 127.5, want, atol=1e-3)
    grey = _images(1)
    np.testing.assert_array_equal(to_rgb(grey), np.concatenate([grey] * 3, axis=1))
    assert to_rgb(_images(3)).shape == (2, 3, 6, 9)
    with pytest.raises(ValueError, match="1, 3 or 4"):
        to_rgb(_images(2))


def test_picture_files_lose_transparency_to_white_only_where_they_must(tmp_path):
    images = _images(4)
    picture = Image.fromarray(to_pixels(images)[0])
    picture.save(str(tmp_path / "a.png"))
    on_white = to_rgb(images)[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), on_white)
    np.testing.assert_array_equal(np.asarray(convert(picture, 4)), to_pixels(images)[0])
    np.testing.assert_array_equal(convert(picture, 1), Image.fromarray(on_white).convert("L"))
    palette = Image.new("P", (2, 1), 7)
    palette.info["transparency"] = 7
    np.testing.assert_array_equal(np.asarray(convert(palette, 3)), 255)


def test_stylegan2s_scripts_get_pictures_of_all_kinds(tmp_path):
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        images = _images(channels)
        picture = misc.convert_to_pil_image(images[0], [0, 255])
        assert picture.mode == mode
        np.testing.assert_array_equal(
            np.asarray(picture).reshape(6, 9, channels), images[0].transpose(1, 2, 0)
        )
        misc.save_image_grid(images, tmp_path / "grid.png", [0, 255], (2, 1))
        assert read_picture(tmp_path / "grid.png").shape == (6, 18, 3)
