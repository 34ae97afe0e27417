"""Objects and layouts by segmentation, against scenes whose masks are known and closed forms."""

import numpy as np
import pytest

from datasets_tool.scenes import render_scene
from metrics import scenes
from metrics.checks import UnfitError
from metrics.scenes import count_objects, layouts_num, occupied, positions_used, segment


@pytest.fixture(scope="module", params=[32, 64])
def rendered(request):
    """(images, masks of coloured objects, numbers of coloured objects that can be seen)."""
    images, masks, counts = [], [], []
    for index in range(60):
        image, mask, scene = render_scene(7, index, request.param)
        numbers = [i + 1 for i, o in enumerate(scene["objects"]) if o["color"] != "gray"]
        images.append(image)
        masks.append(np.isin(mask, numbers))
        counts.append(sum((mask == number).sum() > 1 for number in numbers))
    return np.stack(images), np.stack(masks), np.array(counts)


def test_segmentation_finds_the_objects_of_rendered_scenes(rendered):
    images, masks, counts = rendered
    segments = segment(images)
    is_thing = segments > 0
    assert (is_thing & masks).sum() / (is_thing | masks).sum() > 0.88
    found = count_objects(segments)
    assert np.corrcoef(found[:, 0], counts)[0, 1] > 0.94
    assert abs(found[:, 0].mean() - counts.mean()) < 0.35
    assert (found[:, 1] <= found[:, 0]).all()


def paint(boxes, height=24, width=32):
    """A grey picture with boxes (top, left, height, width, RGB)."""
    image = np.full([3, height, width], 150, np.uint8)
    for top, left, high, wide, rgb in boxes:
        image[:, top : top + high, left : left + wide] = np.array(rgb)[:, None, None]
    return image


RED, BLUE, DARK = (173, 35, 35), (42, 75, 215), (60, 60, 60)


def test_objects_are_patches_of_one_colour():
    pictures = np.stack(
        [
            paint([]),
            paint([(2, 3, 3, 4, RED), (10, 3, 2, 2, RED), (10, 9, 5, 3, BLUE)]),
            paint([(2, 3, 3, 4, RED), (2, 7, 3, 4, BLUE)]),  # they touch
            paint([(2, 3, 3, 4, DARK), (9, 9, 1, 1, RED)]),  # a shadow and a speck
        ]
    )
    counts = count_objects(segment(pictures))
    assert counts.tolist() == [[0, 0], [3, 2], [2, 2], [0, 0]]


def test_patches_of_neighbouring_pictures_stay_apart():
    pictures = np.stack([paint([(4, 5, 3, 3, RED)])] * 5)
    assert count_objects(segment(pictures)).tolist() == [[1, 1]] * 5


def test_occupied_is_the_share_of_a_cell():
    maps = occupied(segment(paint([(0, 2, 2, 2, RED), (23, 30, 1, 1, BLUE)], 32, 48)[None]))
    maps = maps.reshape(16, 16)  # cells of 2x3 pixels
    assert maps[0, 0] == pytest.approx(1 / 3) and maps[0, 1] == pytest.approx(1 / 3)
    assert maps[11, 10] == pytest.approx(1 / 6)
    assert maps.sum() == pytest.approx(5 / 6)


def test_positions_and_layouts_have_closed_forms():
    layouts = np.eye(7)[:5]  # five layouts of one position each
    maps = np.tile(layouts, [6, 1])
    assert positions_used(maps) == pytest.approx(5)
    assert layouts_num(maps) == pytest.approx(4)
    assert layouts_num(maps[:1].repeat(9, axis=0)) == 0
    assert positions_used(0 * maps) == 0


class Context:
    def __init__(self, real, fake):
        self._real, self._fake = real, fake

    def _find(self, images, role, num):
        return scenes.Segmenter().extract(images[:num], [role])[role]

    def real_features(self, role, num):
        return self._find(self._real, role, num)

    def fake_features(self, role, num):
        return self._find(self._fake, role, num)


def test_a_collapsed_generator_is_told(rendered):
    images = rendered[0]
    halves = Context(images[:30], images[30:])
    collapsed = Context(images[:30], images[[30, 31]].repeat(15, axis=0))
    alike, few = (scenes.layout(context, 30, 30) for context in (halves, collapsed))
    assert 0.8 < alike["_spread"] < 1.25 and 0.7 < alike["_variety"] < 1.4
    assert few["_spread"] < 0.6 and few["_variety"] < 0.1
    assert scenes.objects(halves, 30, 30)["_real"] > 4
    with pytest.raises(UnfitError, match="made for scenes"):
        scenes.layout(Context(images * 0, images), 30, 30)
