"""The documentation's picture of a run's page: python tests/report_picture.py RUN_DIR OUT.png."""

import pathlib
import sys

import chromium
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from vis.report.page import write_report

SIZE = (1280, 1072)  # of the window in pixels
MAX_BYTES = 200000


def take(run_dir, path):
    """Write a PNG of the page on a run.

    Args:
      run_dir: of the run; its report.html is written anew.
      path: of the PNG.
    """
    chromium.screenshot(write_report(run_dir).resolve().as_uri(), path, SIZE)
    with Image.open(str(path)) as taken:
        picture = taken.convert("RGB").quantize(256, Image.MEDIANCUT, dither=Image.NONE)
    picture.save(str(path), optimize=True)


if __name__ == "__main__":
    take(*sys.argv[1:])
