import numpy as np
import pytest
from tiny_painter import SIZE, D, K, L, painter_network, shared_session

from dnnlib.errors import UserError
from vis import latent_sheets
from vis.attention_maps import join_maps, spotlights
from vis.latent_sheets import (
    component_frames,
    edit_sheet,
    edits_of_each,
    frames_of,
    interpolate_ws,
    mixing_sheet,
    noise_deviation,
    noise_sheet,
    truncation_frames,
)
from vis.pictures import TEXT_HEIGHT, to_pictures
from vis.sampler import Sampler

SEEDS = [5, 0, 7, 2, 9]


@pytest.fixture(scope="module", autouse=True)
def sampler():
    with shared_session():
        yield Sampler(painter_network(), batch_size=4)


def _pictures(sampler, ws):
    return to_pictures(sampler.images(ws))


def _titled_cells(sheet, rows, columns):
    """Undo im.with_margin(im.titled(...)) of cells enlarged from SIZE to 128."""
    cells = np.zeros([rows, columns, SIZE, SIZE, 3], np.uint8)
    for row in range(rows):
        for column in range(columns):
            y = 8 + row * (128 + TEXT_HEIGHT + 4) + TEXT_HEIGHT
            x = 8 + column * (128 + 4)
            cells[row, column] = sheet[y : y + 128 : 16, x : x + 128 : 16]
    return cells


@pytest.mark.parametrize("space", ["z", "w"])
def test_interpolations_pass_through_the_pictures_of_their_seeds(sampler, space):
    ws = interpolate_ws(sampler, SEEDS, 4, space=space, psi=0.7)
    assert ws.shape == (20, K + 1, L, D)
    keys = sampler.ws_of_seeds(SEEDS, psi=0.7)
    np.testing.assert_allclose(ws[::4], keys, atol=1e-6)
    between = np.linalg.norm(ws - np.roll(ws, -1, axis=0), axis=(2, 3)).max(axis=1)
    direct = np.linalg.norm(keys - np.roll(keys, -1, axis=0), axis=(2, 3)).max(axis=1)
    assert between[-1] < direct[-1]  # the last frame is on its way back to the first


def test_interpolations_pass_through_classes_too():
    sampler = Sampler(painter_network(c_dim=3))
    ws = interpolate_ws(sampler, [1, 2], 2)
    np.testing.assert_allclose(ws[::2], sampler.ws_of_seeds([1, 2]), atol=1e-6)


def test_a_walk_through_w_is_straight(sampler):
    ws = interpolate_ws(sampler, [1, 2], 2, space="w", is_loop=False)
    np.testing.assert_allclose(ws[1], (ws[0] + ws[2]) / 2, atol=1e-6)


def test_frames_are_readable_pictures(sampler):
    ws = sampler.ws_of_seeds([1, 2, 3])
    sampler = Sampler(sampler.Gs, ratio=0.5)
    frames = list(frames_of(sampler, ws))
    assert len(frames) == 3 and frames[0].shape == (64, 128, 3)


def _grid_cells(sheet, columns):
    """Undo im.sample_grid."""
    rows = len(sheet) // 128
    cells = sheet[::16, ::16].reshape(rows, SIZE, columns, SIZE, 3)
    return cells.transpose(0, 2, 1, 3, 4).reshape(-1, SIZE, SIZE, 3)


def test_a_truncation_sweep_goes_to_full_variety_and_back(sampler):
    frames = list(truncation_frames(sampler, [1, 2], steps=3))
    assert len(frames) == 6
    np.testing.assert_array_equal(frames[1], frames[5])
    average, full = _grid_cells(frames[0], 2), _grid_cells(frames[3], 2)
    np.testing.assert_array_equal(average[0], average[1])  # psi 0: one picture for all seeds
    np.testing.assert_array_equal(full, _pictures(sampler, sampler.ws_of_seeds([1, 2])))


def test_a_component_sweep_moves_one_component_in_each_cell(sampler):
    frames = list(component_frames(sampler, 1, 2, steps=2, psi=0.8))
    assert len(frames) == 4
    start, end = sampler.ws_of_seeds([1, 2], 0.8)
    first, half = _grid_cells(frames[0], 2), _grid_cells(frames[2], 2)
    want = _pictures(sampler, start[np.newaxis])[0]
    for cell in first:
        np.testing.assert_array_equal(cell, want)
    for i in range(K + 1):
        edited = start.copy()
        edited[i] = end[i]
        np.testing.assert_array_equal(half[i], _pictures(sampler, edited[np.newaxis])[0])


def test_an_edit_of_one_component_leaves_the_others_bit_equal(sampler):
    start, end = sampler.ws_of_seeds([1, 2])
    edited = edits_of_each(start, end)
    assert edited.shape == (K + 1, K + 1, L, D)
    for i, ws in enumerate(edited):
        for k in range(K + 1):
            np.testing.assert_array_equal(ws[k], end[k] if k == i else start[k])


def _edit_cells(sheet, columns, kinds):
    """Undo the layout of an edit sheet of one group: the picture, and cells by kind and column."""
    top = 8 + TEXT_HEIGHT
    picture = sheet[top : top + 128 : 16, 8 : 8 + 128 : 16]
    cells = np.zeros([kinds, columns, SIZE, SIZE, 3], int)
    for kind in range(kinds):
        y = top + 128 + TEXT_HEIGHT + kind * (128 + TEXT_HEIGHT) + TEXT_HEIGHT
        for column in range(columns):
            x = 8 + column * (128 + 4)
            cells[kind, column] = sheet[y : y + 128 : 16, x : x + 128 : 16]
    return picture, cells


def test_the_edit_sheet_shows_change_and_attention(sampler):
    sheet = edit_sheet(sampler, 1, 2, psi=0.9)
    picture, (edited, difference, attention) = _edit_cells(sheet, K + 1, 3)
    start, end = sampler.ws_of_seeds([1, 2], 0.9)
    before = _pictures(sampler, start[np.newaxis])[0]
    after = _pictures(sampler, edits_of_each(start, end)).astype(int)
    images, maps = sampler.images_and_maps(start[np.newaxis])
    lights = spotlights(images, join_maps(maps, SIZE, SIZE, layer=-1))[0]
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(edited, after)
    np.testing.assert_array_equal(difference, np.minimum(4 * np.abs(after - before), 255))
    np.testing.assert_array_equal(attention[:K], lights)
    assert (attention[K] == 255).all()  # the global latent attends to nothing
    # The painter's pictures do not depend on the global latent, but on every other one.
    changed = difference.max(axis=(1, 2, 3)) > 0
    np.testing.assert_array_equal(changed, [True] * K + [False])


def test_many_components_are_shown_in_groups(sampler, monkeypatch):
    monkeypatch.setattr(latent_sheets, "EDIT_COLUMNS", 3)
    sheet = edit_sheet(sampler, 1, 2)
    cell = 128 + TEXT_HEIGHT
    # The picture; 3 components with attention; the global latent without.
    assert sheet.shape[:2] == (16 + (1 + 3 + 2) * cell + 2 * TEXT_HEIGHT, 16 + 3 * 132 - 4)


def test_a_network_without_attention_is_edited_without_it():
    sampler = Sampler(painter_network(attention=False))
    sheet = edit_sheet(sampler, 1, 2)
    cell = 128 + TEXT_HEIGHT
    assert sheet.shape[0] == 16 + 3 * cell + TEXT_HEIGHT
    start, end = sampler.ws_of_seeds([1, 2])
    after = _pictures(sampler, edits_of_each(start, end))
    np.testing.assert_array_equal(_edit_cells(sheet, K + 1, 2)[1][0], after)


def test_mixing_takes_first_layers_from_the_row(sampler):
    sheet = mixing_sheet(sampler, [1, 2], [3, 4, 5], psi=0.9)
    tables = sheet.shape[0] // (3 * (128 + TEXT_HEIGHT))
    assert tables == 2  # of 6 layers, the first 2 or 5
    cells = _titled_cells(sheet, 3, 4)
    ws = sampler.ws_of_seeds([1, 2, 3, 4, 5], 0.9)
    np.testing.assert_array_equal(cells[0, 1:], _pictures(sampler, ws[2:]))
    np.testing.assert_array_equal(cells[1:, 0], _pictures(sampler, ws[:2]))
    assert (cells[0, 0] == 255).all()
    mixed = ws[3].copy()
    mixed[:, :2] = ws[1][:, :2]
    np.testing.assert_array_equal(cells[2, 2], _pictures(sampler, mixed[np.newaxis])[0])


def test_mixing_by_components(sampler):
    sheet = mixing_sheet(sampler, [1], [3], by="components")
    ws = sampler.ws_of_seeds([1, 3])
    mixed = np.concatenate([ws[0, :2], ws[1, 2:]])
    cells = _titled_cells(sheet, 2, 2)
    np.testing.assert_array_equal(cells[1, 1], _pictures(sampler, mixed[np.newaxis])[0])


def test_noise_deviation_is_that_of_many_draws(sampler):
    ws = sampler.ws_of_seeds([1, 2])
    got = noise_deviation(sampler, ws, draws=10)
    for one, picture in zip(ws, got):
        images = sampler.images(np.repeat(one[np.newaxis], 10, axis=0), "random")
        grey = to_pictures(images).astype(float).mean(axis=-1)
        want = np.clip(np.rint(4 * grey.std(axis=0)), 0, 255)
        np.testing.assert_allclose(picture[..., 1], want, atol=1)
    sheet = noise_sheet(sampler, [1, 2], draws=10)
    cells = _titled_cells(sheet, 2, 2)
    np.testing.assert_array_equal(cells[0], _pictures(sampler, ws))
    np.testing.assert_array_equal(cells[1], got)


def test_a_single_latent_has_no_components_to_edit(sampler, monkeypatch):
    monkeypatch.setattr(sampler, "ws_shape", [L, D])
    for show in (edit_sheet, component_frames):
        with pytest.raises(UserError, match="at least 2 latent components, this model has 1"):
            list(show(sampler, 1, 2, **({"steps": 2} if show is not edit_sheet else {})))
    with pytest.raises(UserError, match="at least 3 latent components"):
        mixing_sheet(sampler, [1], [2], by="components")
