import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from vis.attention_maps import (
    SAMPLE_GAP,
    attention_overlay,
    attention_sheet,
    blend,
    hard_segmentation,
    join_maps,
    layer_regions,
    resize_maps,
    save_attention_overlay,
    save_layer_strips,
    soft_segmentation,
    split_layers,
    spotlights,
)
from vis.palette import component_colors
from vis.pictures import TEXT_HEIGHT, crop_to_ratio, grid_shape, to_pictures

N, K, LAYERS, M, SIZE = 5, 3, 4, 2, 16


def _softmax(logits, axis=1):
    e = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return (e / e.sum(axis=axis, keepdims=True)).astype(np.float32)


@pytest.fixture
def images():
    return np.random.RandomState(0).uniform(-1, 1, [N, 3, SIZE, SIZE]).astype(np.float32)


@pytest.fixture
def layers():
    """Per-layer maps at 4x4, 8x8, 8x8, 16x16."""
    rng = np.random.RandomState(1)
    return [_softmax(3 * rng.randn(N, K, M, size, size)) for size in (4, 8, 8, 16)]


def _published(layers):
    """Every layer at image resolution: [N, K, LAYERS, M, H, W]."""
    return np.stack([resize_maps(layer, SIZE, SIZE) for layer in layers], axis=2)


def test_resizing_maps_repeats_and_picks_pixels():
    maps = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(resize_maps(maps, 6, 8), maps.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(resize_maps(maps, 3, 2), maps[:, ::2])


def test_both_forms_of_maps_mean_the_same(layers):
    for choice in ({}, {"layer": 1}, {"layer": -1, "head": 1}, {"head": 0}):
        a = join_maps(layers, SIZE, SIZE, **choice)
        b = join_maps(_published(layers), SIZE, SIZE, **choice)
        assert a.shape == (N, K, SIZE, SIZE)
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_joined_maps_are_the_mean_and_sum_to_one(layers):
    joined = join_maps(layers, SIZE, SIZE)
    want = _published(layers)[3, 2, :, :, 9, 5].mean()
    assert joined[3, 2, 9, 5] == pytest.approx(want, abs=1e-6)
    np.testing.assert_allclose(joined.sum(axis=1), 1, atol=1e-5)


def test_one_layer_and_head_are_taken_as_they_are(layers):
    got = join_maps(layers, 8, 8, layer=2, head=1)
    np.testing.assert_array_equal(got, layers[2][:, :, 1])


@pytest.mark.parametrize("choice, text", [({"layer": 4}, "layers 0 to 3"), ({"head": -3}, "heads")])
def test_a_layer_or_head_that_is_not_there(layers, choice, text):
    with pytest.raises(UserError, match=text):
        join_maps(layers, SIZE, SIZE, **choice)


@pytest.mark.parametrize("nothing", [None, [], np.zeros([4])])
def test_a_network_without_attention_says_so(images, nothing):
    with pytest.raises(UserError, match="no attention"):
        attention_overlay(images, nothing)


def test_maps_of_another_form_are_refused():
    with pytest.raises(ValueError, match=r"\[N, K, M, H, W\], got \[2, 3, 4\]"):
        split_layers(np.zeros([2, 3, 4]))


def test_segmentations_follow_the_attention():
    maps = np.zeros([1, K, 2, 2], np.float32)
    maps[0, :, 0, 0] = [0, 0, 1]  # sure
    maps[0, :, 0, 1] = [0.25, 0.75, 0]
    maps[0, :, 1, 0] = [0.1, 0, 0]  # gated: does not sum to one
    colors = component_colors(K).astype(int)
    hard, soft = hard_segmentation(maps), soft_segmentation(maps)
    np.testing.assert_array_equal(hard[0, 0], colors[[2, 1]])
    np.testing.assert_array_equal(soft[0, 0, 0], colors[2])
    np.testing.assert_allclose(soft[0, 0, 1], (colors[0] + 3 * colors[1]) / 4, atol=0.5)
    np.testing.assert_array_equal(soft[0, 1, 0], colors[0])


def test_blending_weighs_the_image_by_alpha():
    white, black = np.full([2, 2, 3], 255, np.uint8), np.zeros([2, 2, 3], np.uint8)
    assert (blend(white, black, 0.3) == 76).all()  # rint(76.5) is even
    assert (blend(black, white, 1.0) == 0).all()


def test_the_overlay_is_image_blend_and_segmentation(images, layers):
    got = attention_overlay(images, layers, layer=3, alpha=0.5)
    assert got.shape == (N, 3, SIZE, SIZE, 3) and got.dtype == np.uint8
    maps = layers[3].mean(axis=2)
    np.testing.assert_array_equal(got[:, 0], to_pictures(images))
    np.testing.assert_array_equal(got[:, 2], component_colors(K)[maps.argmax(axis=1)])
    middle = (got[:, 0].astype(int) + got[:, 2]) / 2
    assert np.abs(got[:, 1] - middle).max() <= 0.5


def _cells_of(sheet, titles, num_columns):
    """Undo the layout of a sheet of 128-pixel cells: [rows, num_columns, titles, 128, 128, 3]."""
    cell, block = 128, titles * 130 - 2
    inside = sheet[8 + TEXT_HEIGHT :, 8:]
    rows = []
    while len(rows) * 142 + cell <= len(inside):
        top = len(rows) * 142
        lefts = [c * (block + 14) + t * 130 for c in range(num_columns) for t in range(titles)]
        cells = [inside[top : top + cell, left : left + cell] for left in lefts]
        rows.append(np.reshape(cells, [num_columns, titles, cell, cell, 3]))
    return np.stack(rows)


def test_the_overlay_file_shows_every_sample_and_its_colours(tmp_path, images, layers):
    save_attention_overlay(tmp_path / "a.png", images, layers)
    with Image.open(tmp_path / "a.png") as picture:
        sheet = np.asarray(picture)
    columns = grid_shape(N, aspect=0.5)[0]
    cells = _cells_of(sheet, titles=3, num_columns=columns)
    want = attention_overlay(images, layers)
    for i in range(N):
        np.testing.assert_array_equal(cells[i // columns, i % columns, :, ::8, ::8], want[i])
    legend = sheet[-8 - TEXT_HEIGHT : -8]
    for color in component_colors(K):
        assert (legend == color).all(axis=-1).any()


def test_layer_strips_go_from_coarse_to_fine(tmp_path, images, layers):
    save_layer_strips(tmp_path / "a.png", images, layers, head=1)
    with Image.open(tmp_path / "a.png") as picture:
        cells = _cells_of(np.asarray(picture), titles=1 + LAYERS, num_columns=1)[:N, 0]
    assert len(cells) == N
    np.testing.assert_array_equal(cells[:, 0, ::8, ::8], to_pictures(images))
    for idx, probs in enumerate(layers):
        step = 128 // probs.shape[-1]
        want = component_colors(K)[probs[:, :, 1].argmax(axis=1)]
        np.testing.assert_array_equal(cells[:, 1 + idx, ::step, ::step], want)


def test_a_sheet_crops_images_and_maps_alike(images, layers):
    whole = attention_overlay(images, layers)
    cut = attention_overlay(images, layers, ratio=0.75)
    np.testing.assert_array_equal(cut, whole[:, :, 2:14])
    regions = layer_regions(layers, SIZE, SIZE)[0]
    cut = layer_regions(layers, SIZE, SIZE, ratio=0.5)[0]
    np.testing.assert_array_equal(cut, regions[:, :, 4:12])


def test_spotlights_darken_what_a_component_does_not_see():
    images = np.full([1, 3, 2, 2], 200, np.uint8)
    maps = np.float32([[[[0.4, 0.2], [0.1, 0]], [[0.6, 0.8], [0.9, 1]]]])
    got = spotlights(images, maps)
    assert got.shape == (1, 2, 2, 2, 3)
    np.testing.assert_array_equal(got[0, 0, :, :, 0], [[200, 100], [50, 0]])
    assert got[0, 1, 1, 1, 2] == 200


def test_the_sheet_of_one_sample_shows_everything(images, layers):
    sheet = attention_sheet(images[1:2], [layer[1:2] for layer in layers], ratio=0.75)
    maps = crop_to_ratio(join_maps(layers, SIZE, SIZE, layer=-1), 0.75)
    overlays = attention_overlay(images, layers, ratio=0.75)[1]
    blocks = [[*overlays, soft_segmentation(maps)[1]]]
    blocks.append(spotlights(crop_to_ratio(images, 0.75), maps)[1])
    blocks.append(layer_regions(layers, SIZE, SIZE, ratio=0.75)[0][1])
    top, columns = 8, grid_shape(4 + K + LAYERS)[0]
    for cells in blocks:
        for i, cell in enumerate(cells):
            y = top + i // columns * (TEXT_HEIGHT + 96 + 4) + TEXT_HEIGHT
            x = 8 + i % columns * (128 + 4)
            np.testing.assert_array_equal(sheet[y : y + 96 : 8, x : x + 128 : 8], cell)
        top = y + 96 + SAMPLE_GAP
