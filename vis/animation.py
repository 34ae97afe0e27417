"""Moving pictures: GIF, WebP, APNG, and MP4 through ffmpeg where it is installed."""

import contextlib
import io
import itertools
import shutil
import struct
import subprocess
import tempfile
import zlib
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
    """Write an animation that repeats for ever, frame by frame, complete or not at all.

    Args:
      path: file name; its ending chooses the format (.gif, .webp, .png for APNG, .mp4).
      frames: iterable of [H, W, 3] uint8 pictures of one size, at least one.
      frame_ms: milliseconds a frame.

    Raises:
      UserError: unknown format, or MP4 without ffmpeg.
    """
    check_format(path)
    ending = Path(path).suffix.lower()
    with atomic_write(path) as file:
        if ending == ".mp4":
            _write_mp4(file, path, iter(frames), frame_ms)
        else:
            images = (Image.fromarray(frame) for frame in frames)
            {".gif": _write_gif, ".webp": _write_webp, ".png": _write_apng}[ending](
                file, images, frame_ms
            )


def _write_gif(file, images, frame_ms):
    """Pillow writes a GIF frame by frame; each has 256 colours of its own."""
    images = (image.quantize(256, Image.MEDIANCUT) for image in images)
    first = next(images)
    first.save(
        file, "GIF", append_images=images, duration=frame_ms, loop=0, save_all=True, disposal=1
    )


# Pillow goes through all frames of a WebP or PNG twice. Both formats are files of still pictures'
# chunks with a line about each frame between them, so here the chunks are put together.


def _write_webp(file, images, frame_ms):
    """Animated WebP: RIFF chunks VP8X, ANIM, and an ANMF for each frame (WebP Container Spec)."""
    file.write(b"RIFF\0\0\0\0WEBP")
    for number, image in enumerate(images):
        size = b"".join((side - 1).to_bytes(3, "little") for side in image.size)
        if number == 0:
            _write_riff(file, b"VP8X", b"\x02\0\0\0" + size)  # animated, without alpha
            _write_riff(file, b"ANIM", bytes(6))  # black, for ever
        header = bytes(6) + size + frame_ms.to_bytes(3, "little") + b"\x02"  # replaces all
        still = _encoded(image, "WEBP", quality=90, method=4)
        data = b"".join(still[i:j] for kind, i, j in _riff_chunks(still) if kind[:3] == b"VP8")
        _write_riff(file, b"ANMF", header + data)
    length = file.tell() - 8
    file.seek(4)
    file.write(length.to_bytes(4, "little"))


def _riff_chunks(data):
    """Yield (kind, begin, end) of the chunks in a WebP file; ends count the padding."""
    begin = 12
    while begin < len(data):
        size = int.from_bytes(data[begin + 4 : begin + 8], "little")
        end = begin + 8 + size + size % 2
        yield data[begin : begin + 4], begin, end
        begin = end


def _write_riff(file, kind, data):
    """A chunk: kind, length, data, padded to an even length."""
    file.write(kind + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2))


def _write_apng(file, images, frame_ms):
    """Animated PNG: acTL, then fcTL and data for each frame (PNG Specification, 11.3.6)."""
    sequence, place = itertools.count(), None
    for number, image in enumerate(images):
        chunks = list(_png_chunks(_encoded(image, "PNG")))
        if number == 0:
            file.write(b"\x89PNG\r\n\x1a\n")
            _write_png(file, b"IHDR", chunks[0][1])
            place = file.tell()
            _write_png(file, b"acTL", bytes(8))
        control = struct.pack(">IIIIIHHBB", next(sequence), *image.size, 0, 0, frame_ms, 1000, 0, 0)
        _write_png(file, b"fcTL", control)
        for kind, data in chunks:
            if kind == b"IDAT" and number == 0:
                _write_png(file, b"IDAT", data)
            elif kind == b"IDAT":
                _write_png(file, b"fdAT", struct.pack(">I", next(sequence)) + data)
    _write_png(file, b"IEND", b"")
    file.seek(place)
    _write_png(file, b"acTL", struct.pack(">II", number + 1, 0))  # frames; 0: for ever


def _png_chunks(data):
    """Yield (kind, data) of the chunks in a PNG file."""
    begin = 8
    while begin < len(data):
        size = int.from_bytes(data[begin : begin + 4], "big")
        yield data[begin + 4 : begin + 8], data[begin + 8 : begin + 8 + size]
        begin += size + 12


def _write_png(file, kind, data):
    """A chunk: length, kind, data, checksum."""
    file.write(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    )


def _encoded(image, kind, **options):
    """The bytes of a still picture."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


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
