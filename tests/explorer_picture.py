"""The documentation's picture of the explorer: python tests/explorer_picture.py URL#NAME OUT.png.

URL is that of a running explorer, NAME that of a picture; the cursor rests on a region of it.
"""

import sys

import devtools

SIZE = (1032, 810)  # of the window in pixels
MAX_BYTES = 200000


def take(page, url, path, cursor=(0.6, 0.7)):
    """Write a PNG of the explorer.

    Args:
      page: devtools.Page.
      url: of the explorer, with the name of a picture behind the #.
      path: of the PNG.
      cursor: where it is on the picture, in [0, 1] x [0, 1].
    """
    page.set_size(*SIZE)
    page.set_scheme("light")
    page.open("about:blank")
    page.wait_for("location.href == 'about:blank'")
    page.open(url)
    page.wait_for("document.querySelector('#picture')?.naturalWidth > 0")
    page.wait_for("!document.body.classList.contains('busy')")
    page.type("#mix-seed", "9")  # random otherwise
    page.move("#stage", *cursor)
    page.screenshot(path)


if __name__ == "__main__":
    with devtools.open_page(SIZE) as opened:
        take(opened, *sys.argv[1:])
