import copy

import numpy as np
import pytest
from PIL import Image
from tiny_painter import CLASSES, SIZE, D, K, L, painter_network, shared_session

from config.options import VisOptions
from dnnlib.errors import UserError
from vis import kinds
from vis.attention_maps import blend, hard_segmentation, resize_maps
from vis.kinds import SWEEP_STEPS, check_animation, chosen_kinds, save_visuals
from vis.latent_sheets import frames_of
from vis.latents import draw_z
from vis.pictures import save_picture, to_pictures
from vis.sampler import Sampler


@pytest.fixture(scope="module", autouse=True)
def sampler():
    with shared_session():
        yield Sampler(painter_network(), batch_size=4)


def _show(sampler, folder, psi=0.8, ratio=1.0, **options):
    sampler = copy.copy(sampler)
    sampler.ratio = ratio
    save_visuals(sampler, folder, VisOptions(**options), psi)
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def _read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _frames(path):
    with Image.open(path) as animation:
        return animation.n_frames


def test_images_in_files_or_in_a_sheet_whatever_the_section_size(sampler, tmp_path):
    names = _show(sampler, tmp_path / "a", images=True, num=5, section_size=2)
    assert names == [f"images/seed000{i}.png" for i in range(5)]
    want = to_pictures(sampler.images(sampler.ws_of_seeds(range(5), 0.8)))
    for name, picture in zip(names, want):
        np.testing.assert_array_equal(_read(tmp_path / "a" / name), picture)
    names = _show(sampler, tmp_path / "b", images=True, num=5, section_size=3, grid=True)
    assert names == ["images.png"]
    sheet = _read(tmp_path / "b" / "images.png")[::16, ::16]
    np.testing.assert_array_equal(sheet[SIZE:, SIZE : 2 * SIZE], want[4])  # 3 columns


def test_latents_are_those_of_the_samples(sampler, tmp_path):
    names = _show(sampler, tmp_path, latents=True, num=2)
    assert names == [f"latents-{space}/seed000{i}.npy" for space in "wz" for i in range(2)]
    np.testing.assert_array_equal(np.load(str(tmp_path / names[3])), draw_z([1], [K + 1, 4])[0])
    w = np.load(str(tmp_path / names[1]))
    assert w.shape == (K + 1, D)
    np.testing.assert_array_equal(w, sampler.ws_of_seeds([1], 0.8)[0, :, 0])


def test_maps_show_the_last_layer(sampler, tmp_path):
    options = dict(maps=True, num=3, section_size=2, blending_alpha=0.25, ratio=0.5)
    names = _show(sampler, tmp_path, **options)
    kinds = ["blends", "maps", "softblends", "softmaps"]
    assert names == ["attention.png"] + [f"{k}/seed000{i}.png" for k in kinds for i in range(3)]
    images, maps = sampler.images_and_maps(sampler.ws_of_seeds([2], 0.8))
    pictures = to_pictures(images)[:, 2:6]
    hard = hard_segmentation(maps[-1][:, :, 0])[:, 2:6]
    np.testing.assert_array_equal(_read(tmp_path / "maps" / "seed0002.png"), hard[0])
    want = blend(pictures, hard, 0.25)
    np.testing.assert_array_equal(_read(tmp_path / "blends" / "seed0002.png"), want[0])


def test_layer_maps_have_a_file_for_each_layer_and_head(sampler, tmp_path):
    names = _show(sampler, tmp_path, layer_maps=True, rich_num=2)
    files = [f"layer_maps/seed000{s}_l{i}_h0.png" for s in range(2) for i in range(2)]
    assert names == ["layer_maps.png", *files]
    maps = sampler.images_and_maps(sampler.ws_of_seeds([1], 0.8))[1]
    want = hard_segmentation(resize_maps(maps[0][:, :, 0], SIZE, SIZE))[0]
    np.testing.assert_array_equal(_read(tmp_path / files[2]), want)


def test_interpolations_are_frames_and_loops(sampler, tmp_path):
    names = _show(sampler, tmp_path, interpolations=True, rich_num=3, interpolation_density=2)
    for space in "wz":
        folder = f"interpolations-{space}"
        want = [f"{folder}/frame000{i}.png" for i in range(6)] + [f"{folder}/loop.gif"]
        assert [name for name in names if name.startswith(folder)] == want
        assert _frames(tmp_path / folder / "loop.gif") == 6
        picture = to_pictures(sampler.images(sampler.ws_of_seeds([1], 0.8)))[0]
        frame = _read(tmp_path / folder / "frame0002.png")
        np.testing.assert_array_equal(frame[::16, ::16], picture)


def test_the_other_kinds_write_what_they_say(sampler, tmp_path):
    names = _show(sampler, tmp_path, noise_var=True, style_mix=True, rich_num=2)
    assert names == ["component-mixing.png", "layer-mixing.png", "noise-variance.png"]
    names = _show(sampler, tmp_path / "b", edits=True, sweeps=True, rich_num=2)
    edits = ["edits/seed0000.png", "edits/seed0001.png"]
    assert names == [*edits, "sweeps/components.gif", "sweeps/truncation.gif"]
    for name in names[2:]:
        assert _frames(tmp_path / "b" / name) == 2 * SWEEP_STEPS


@pytest.mark.parametrize("animation, ending", [("webp", "webp"), ("apng", "png")])
def test_animations_are_of_the_chosen_format(sampler, tmp_path, animation, ending):
    options = dict(sweeps=True, interpolations=True, rich_num=2, interpolation_density=1)
    names = _show(sampler, tmp_path, animation=animation, **options)
    moving = [name for name in names if "frame" not in name]
    assert moving == [
        f"interpolations-w/loop.{ending}",
        f"interpolations-z/loop.{ending}",
        f"sweeps/components.{ending}",
        f"sweeps/truncation.{ending}",
    ]
    for name in moving:
        assert _frames(tmp_path / name) > 1


def test_mp4_without_ffmpeg_names_the_flag(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="--vis-animation=mp4: MP4 needs ffmpeg"):
        check_animation("mp4")


def test_frames_of_an_interpolation_are_written_as_they_come(sampler, tmp_path, monkeypatch):
    written = []

    def watch(*args, **kwargs):
        for frame in frames_of(*args, **kwargs):
            written.append(len(list(tmp_path.rglob("frame*.png"))))
            yield frame

    monkeypatch.setattr(kinds, "frames_of", watch)
    _show(sampler, tmp_path, interpolations=True, rich_num=2, interpolation_density=3)
    assert written == list(range(12))  # all before it, in z and then in w


def test_the_training_is_shown_in_the_order_of_its_snapshots(sampler, tmp_path):
    for kimg in (500, 20, 1000000):
        picture = np.full([4, 6, 3], kimg % 251, np.uint8)
        save_picture(tmp_path / f"fakes-{kimg:06d}.png", picture)
    folder = tmp_path / "visuals"
    _show(sampler, folder, sweeps=True, rich_num=1)
    with Image.open(folder / "sweeps" / "training.gif") as animation:
        assert animation.n_frames == 3
        for frame, kimg in enumerate((20, 500, 1000000)):
            animation.seek(frame)
            assert animation.convert("RGB").getpixel((0, 0)) == (kimg % 251,) * 3


def test_plain_vis_makes_all_that_the_model_has(sampler, tmp_path):
    _show(sampler, tmp_path / "a", num=1, rich_num=1, interpolation_density=1)
    made = {path.stem for path in (tmp_path / "a").iterdir()}
    assert made == {
        "attention",
        "blends",
        "component-mixing",
        "edits",
        "images",
        "interpolations-w",
        "interpolations-z",
        "layer-mixing",
        "layer_maps",
        "maps",
        "noise-variance",
        "softblends",
        "softmaps",
        "sweeps",
    }
    plain = Sampler(painter_network(attention=False))
    kinds = chosen_kinds(plain, VisOptions())
    assert "maps" not in kinds and "images" in kinds and "edits" in kinds


@pytest.mark.parametrize("kind", ["maps", "layer_maps"])
def test_attention_of_a_model_without_it_is_an_error(tmp_path, kind):
    plain = Sampler(painter_network(attention=False))
    with pytest.raises(UserError, match="no attention"):
        _show(plain, tmp_path, images=True, **{kind: True})
    assert not list(tmp_path.iterdir())


def test_edits_of_a_model_with_one_latent_are_an_error(sampler, tmp_path, monkeypatch):
    monkeypatch.setattr(sampler, "ws_shape", [L, D])
    assert "edits" not in chosen_kinds(sampler, VisOptions())
    with pytest.raises(UserError, match="at least 2 latent components"):
        _show(sampler, tmp_path, edits=True)


def test_conditional_models_show_their_classes_in_turn(tmp_path):
    sampler = Sampler(painter_network(c_dim=CLASSES))
    _show(sampler, tmp_path, images=True, num=2, psi=1)
    fixed = Sampler(sampler.Gs, class_idx=1)
    want = to_pictures(fixed.images(fixed.ws_of_seeds([1])))[0]
    np.testing.assert_array_equal(_read(tmp_path / "images" / "seed0001.png"), want)
