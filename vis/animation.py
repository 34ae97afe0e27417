"""Moving pictures: GIF, WebP and APNG through Pillow, MP4 through ffmpeg where it is installed."""

import contextlib
import itertools
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from dnnlib.errors import UserError
from dnnlib.util import atomic_write

FRAME_MS = 50  # milliseconds a frame, as in the published animations
FORMATS = (".gif", ".webp", ".png", ".mp4")


def check_format(path, flag=None):
    """Raise UserError unless an animation can be written under this name, which a flag chose."""
    chosen = flag or path
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"{chosen}: animations are {', '.join(FORMATS)}, not {ending!r}")
    if ending == ".mp4" and shutil.which("ffmpeg") is None:
        raise UserError(f"{chosen}: MP4 needs ffmpeg, which is not installed; write .webp or .gif")


def save_animation(path, frames, frame_ms=FRAME_MS):
    """Write an animation that repeats for ever, complete or not at all.

    Args:
      path: file name; its ending chooses the format (.gif, .webp, .png for APNG, .mp4).
      frames: iterable of [H, W, 3] uint8 pictures of one size, at least one.
      frame_ms: milliseconds a frame.

    Raises:
      UserError: unknown format, or MP4 without ffmpeg.
    """
    check_format(path)
    writer = _write_mp4 if Path(path).suffix.lower() == ".mp4" else _write_pillow
    with atomic_write(path) as file:
        writer(file, path, iter(frames), frame_ms)


def _write_pillow(file, path, frames, frame_ms):
    """GIF, WebP and APNG."""
    ending = Path(path).suffix.lower()
    images = (Image.fromarray(frame) for frame in frames)
    options = {"duration": frame_ms, "loop": 0, "save_all": True}
    if ending == ".gif":  # 256 colours of its own for every frame
        images = (image.quantize(256, Image.MEDIANCUT) for image in images)
        options["disposal"] = 1
    if ending == ".webp":
        options.update(quality=90, method=4)
    first = next(images)
    kind = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}[ending]
    # Pillow writes a GIF frame by frame; for the others it goes through all of them twice.
    others = images if ending == ".gif" else list(images)
    first.save(file, kind, append_images=others, **options)


def _write_mp4(file, path, frames, frame_ms):
    """H.264, raw pictures piped to ffmpeg; it needs a file it can seek in."""
    first = next(frames)
    height, width = first.shape[:2]
    source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {1000 / frame_ms} -i -".split()
    # Players want even sizes and 4:2:0 colour.
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
    target = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-vf", even]
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        command = ["ffmpeg", "-loglevel", "error", "-y", *source, *target, str(video)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        # A program that stops early says so by its status.
        with contextlib.suppress(BrokenPipeError), process:
            for frame in itertools.chain([first], frames):
                process.stdin.write(frame.tobytes())
        if process.returncode != 0:
            raise UserError(f"{path}: ffmpeg failed with status {process.returncode}")
        with video.open("rb") as source_file:
            shutil.copyfileobj(source_file, file)
