import shutil
import subprocess
import weakref

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dnnlib.errors import UserError
from vis import animation


def _frames(num=5):
    """Pictures of a white bar that moves over a blue ground."""
    for i in range(num):
        frame = np.full([16, 24, 3], [0, 0, 200], np.uint8)
        frame[:, 4 * i : 4 * i + 4] = 255
        yield frame


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png"])
def test_animations_hold_every_frame_and_loop(tmp_path, ending):
    animation.save_animation(tmp_path / f"a{ending}", _frames(), frame_ms=80)
    with Image.open(tmp_path / f"a{ending}") as file:
        assert file.n_frames == 5
        assert file.info.get("loop") == 0  # for ever
        for got, want in zip(ImageSequence.Iterator(file), _frames()):
            error = np.abs(np.asarray(got.convert("RGB")).astype(int) - want)
            assert error.max() <= (60 if ending == ".webp" else 0)  # WebP rounds colours
            got.load()
            assert got.info["duration"] == 80
    assert len(list(tmp_path.iterdir())) == 1


def test_frames_of_a_gif_are_taken_one_by_one(tmp_path, monkeypatch):
    made, before, save = [], [], Image.Image.save

    def watch(self, *args, **kwargs):
        before.append(len(made))
        save(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", watch)
    frames = (made.append(i) or frame for i, frame in enumerate(_frames()))
    animation.save_animation(tmp_path / "a.gif", frames)
    assert before[0] == 1 and len(made) == 5  # Pillow asks for the others


@pytest.mark.parametrize("ending", [".webp", ".png"])
def test_only_the_present_frame_is_held(tmp_path, monkeypatch, ending):
    made, alive, fromarray = [], [], Image.fromarray

    def watch(array):
        image = fromarray(array)
        made.append(weakref.ref(image))
        alive.append(sum(ref() is not None for ref in made))
        return image

    monkeypatch.setattr(Image, "fromarray", watch)
    animation.save_animation(tmp_path / f"a{ending}", _frames(12))
    assert len(alive) == 12 and max(alive) <= 2


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png"])
def test_one_frame_is_an_animation_too(tmp_path, ending):
    animation.save_animation(tmp_path / f"a{ending}", _frames(1))
    with Image.open(tmp_path / f"a{ending}") as file:
        assert file.n_frames == 1


def test_an_unknown_format_names_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"animations are \.gif.*not '\.avi'"):
        animation.save_animation(tmp_path / "a.avi", _frames())


def test_mp4_without_ffmpeg_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"needs ffmpeg, which is not installed; write \.webp"):
        animation.save_animation(tmp_path / "a.mp4", _frames())
    assert not list(tmp_path.iterdir())


def test_mp4_is_what_ffmpeg_makes_of_the_frames(tmp_path, monkeypatch):
    # A stand-in that stores its input: shows what is piped and that the file arrives.
    fake = tmp_path / "ffmpeg"
    fake.write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    animation.save_animation(tmp_path / "a.mp4", _frames())
    piped = np.frombuffer((tmp_path / "a.mp4").read_bytes(), np.uint8)
    np.testing.assert_array_equal(piped.reshape(5, 16, 24, 3), list(_frames()))


@pytest.mark.parametrize("before", ["cat > /dev/null", ":"])
def test_a_failing_ffmpeg_leaves_no_file(tmp_path, monkeypatch, before):
    fake = tmp_path / "ffmpeg"
    fake.write_text(f"#!/bin/sh\n{before}\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UserError, match="ffmpeg failed with status 3"):
        animation.save_animation(tmp_path / "a.mp4", list(_frames()) * 40)
    assert [p.name for p in tmp_path.iterdir()] == ["ffmpeg"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_real_mp4(tmp_path):
    animation.save_animation(tmp_path / "a.mp4", _frames())
    probe = ["ffmpeg", "-i", str(tmp_path / "a.mp4"), "-f", "null", "-"]
    assert subprocess.run(probe, capture_output=True, check=False).returncode == 0
