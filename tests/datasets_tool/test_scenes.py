import math

import numpy as np
import pytest

from datasets_tool import raycast, scenes
from datasets_tool.raycast import Solid, trace


def fan(eye, count=4000, seed=0):
    """Random rays from ``eye`` towards the neighbourhood of the origin."""
    rng = np.random.RandomState(seed)
    d = rng.uniform(-1.5, 1.5, [3, count]) - eye
    return (d / np.sqrt((d * d).sum(0))).astype(np.float32)


def inside(solid, p, margin):
    """Whether points [3, P] are inside, with the boundary moved outwards by ``margin``."""
    q, r = p - solid.center, solid.radius + margin
    if solid.shape == "sphere":
        return (q * q).sum(0) < r * r
    if solid.shape == "cylinder":
        return (q[0] ** 2 + q[1] ** 2 < r * r) & (abs(q[2]) < r)
    return (abs(solid.turn @ q) < r).all(0)


@pytest.mark.parametrize("shape", scenes.SHAPES)
def test_hits_agree_with_marching_along_the_ray(shape):
    solid = Solid(shape, 0.8, (0.3, -0.2), 0.7, (1, 1, 1), False)
    eye = np.array([[4.0], [-3.0], [3.5]], np.float32)
    d = fan(eye)
    t, normal = solid.hit(eye, d)
    steps = np.arange(0, 10, 0.004, dtype=np.float32)
    marched = np.full(d.shape[1], np.inf)
    for step in steps[::-1]:
        marched[inside(solid, eye + step * d, 0)] = step
    sure = np.isfinite(marched)
    graze = np.zeros(d.shape[1], bool)
    for step in steps:
        graze |= inside(solid, eye + step * d, 0.01)
    assert (t[sure] < 100).all() and abs(t[sure] - marched[sure]).max() < 0.15
    assert np.median(abs(t[sure] - marched[sure])) < 0.005
    assert (t[~graze] > 1e6).all()
    assert 100 < sure.sum() < 3900
    hit = t < 100
    n = normal[:, hit]
    assert np.allclose((n * n).sum(0), 1, atol=1e-4)
    assert ((n * d[:, hit]).sum(0) < 1e-3).all()  # towards the eye
    outward = eye + t[hit] * d[:, hit] + 0.02 * n
    assert not inside(solid, outward, 0).any()
    assert inside(solid, outward - 0.04 * n, 1e-3).all()


def test_the_nearest_object_wins_and_own_surfaces_are_not_hit():
    near = Solid("sphere", 0.5, (2.0, 0.0), 0, (1, 1, 1), False)
    far = Solid("cube", 0.5, (-1.0, 0.0), 0, (1, 1, 1), False)
    eye = np.array([[6.0], [0.0], [0.5]], np.float32)
    d = np.array([[-1.0], [0.0], [0.0]], np.float32)
    for order in ([near, far], [far, near]):
        what, t, _ = trace(order, eye, d)
        assert order[what[0]] is near and abs(t[0] - 3.5) < 1e-4
        what, t, _ = trace(order, eye, d, own=np.array([order.index(near)]))
        assert order[what[0]] is far and abs(t[0] - 6.5) < 1e-4


def test_rays_without_objects_meet_the_ground_or_nothing():
    eye = np.array([[0.0], [0.0], [2.0]], np.float32)
    d = np.array([[0.6, 0.6], [0, 0], [-0.8, 0.8]], np.float32)
    what, t, _ = trace([], eye, d)
    assert what.tolist() == [raycast.GROUND, raycast.NOTHING] and abs(t[0] - 2.5) < 1e-5


@pytest.mark.parametrize("index", range(12))
def test_scenes_keep_the_rules(index):
    camera, light, objects, _ = scenes.sample_scene(3, index)
    assert 3 <= len(objects) <= 10 and light["key"][2] > 5
    for item in objects:
        x, y, z = item["3d_coords"]
        size = scenes.SIZES[item["size"]]
        assert z == pytest.approx(
            size / (2**0.5 if item["shape"] == "cube" else 1)
        )  # on the ground
        assert item["color"] in scenes.COLOURS and item["material"] in scenes.MATERIALS
        for dx, dy, dz in ((z, 0, 0), (-z, 0, 0), (0, z, 0), (0, -z, 0), (0, 0, z), (0, 0, -z)):
            u, v, _ = camera.project((x + dx, y + dy, z + dz))
            assert max(abs(u), abs(v)) < 1  # in view
    for i, a in enumerate(objects):
        for b in objects[:i]:
            (x, y, r), (p, q, s) = a["3d_coords"], b["3d_coords"]
            reach = sum(k * (2**0.5 if o["shape"] == "cube" else 1) for k, o in ((r, a), (s, b)))
            assert math.hypot(x - p, y - q) > reach + 0.2


def test_masks_boxes_and_centres_agree():
    image, mask, scene = scenes.render_scene(0, 1, 64)
    assert image.shape == (3, 64, 64) and image.dtype == np.uint8
    assert mask.shape == (64, 64) and set(np.unique(mask)) == set(range(len(scene["objects"]) + 1))
    for number, item in enumerate(scene["objects"], 1):
        rows, columns = np.nonzero(mask == number)
        left, top, right, bottom = item["box"]
        assert left - 1 < columns.min() and columns.max() < right
        assert top - 1 < rows.min() and rows.max() < bottom
        assert abs(columns.min() - left) < 1.4 and abs(bottom - rows.max()) < 2.4
        u, v = item["pixel_coords"]
        assert left - 4 < u < right + 4 and top - 4 < v < bottom + 4


def test_every_object_can_be_seen():
    for index in range(30):
        _, mask, scene = scenes.render_scene(11, index, 32)
        assert all(item["box"] is not None for item in scene["objects"])
        assert len(np.unique(mask)) >= len(scene["objects"])  # at most one is below a pixel


def test_colours_are_recognisable():
    """The hue of an object's pixels is that of its colour."""
    near = total = 0
    names = [name for name in scenes.COLOURS if name != "gray"]
    chroma = np.array([scenes.COLOURS[name] for name in names], float) ** scenes._GAMMA
    chroma /= chroma.sum(1, keepdims=True)
    for index in range(20):
        image, mask, scene = scenes.render_scene(5, index, 64)
        for number, item in enumerate(scene["objects"], 1):
            pixels = image[:, mask == number].astype(float)
            if item["color"] == "gray" or pixels.shape[1] < 20:
                continue
            mean = np.median(pixels, axis=1) ** scenes._GAMMA
            nearest = names[int(((mean / mean.sum() - chroma) ** 2).sum(1).argmin())]
            near += nearest == item["color"]
            total += 1
    assert total > 60 and near / total > 0.9


def test_shadows_darken_the_ground_and_lie_opposite_to_the_light():
    solid = Solid("sphere", 0.7, (0.0, 0.0), 0, (0.5, 0.5, 0.5), False)
    light = {"key": np.array([[-8.0], [0.0], [8.0]], np.float32)}
    points = np.array([[0.9, -0.9, 0.1, 3.0], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    own = np.full(4, raycast.GROUND)
    lit = raycast._lit([solid], points, raycast._unit(light["key"] - points), own)
    assert lit.tolist() == [0, 1, 0, 1]


def test_an_image_depends_on_seed_and_number_alone():
    image, mask, scene = scenes.render_scene(9, 4, 32)
    again = scenes.render_scene(9, 4, 32)
    assert (image == again[0]).all() and (mask == again[1]).all() and scene == again[2]
    for seed, index in ((9, 5), (10, 4), (9 + (1 << 32), 4)):
        assert (scenes.render_scene(seed, index, 32)[0] != image).any()


def test_resolutions_show_the_same_scene():
    small, large = scenes.render_scene(2, 0, 16)[0], scenes.render_scene(2, 0, 64)[0]
    shrunk = large.reshape(3, 16, 4, 16, 4).astype(float).mean((2, 4))
    assert abs(shrunk - small).mean() < 4
