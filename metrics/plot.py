"""Curves as a picture, with Pillow alone."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vis.palette import component_colors
from vis.pictures import INK, save_picture

WIDTH, HEIGHT = 720, 420  # pixels
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 44, 52  # margins around the curves
GRID = (225, 225, 225)
LOG_RANGE = 50  # curves whose values differ by more than this factor get a logarithmic axis
DETAIL = 3  # lines are drawn so much larger and then reduced, which makes them smooth


def ticks(low, high, about=5):
    """Round numbers that cover [low, high] in steps of 1, 2 or 5 times a power of ten.

    Args:
      low: smallest value.
      high: largest value.
      about: how many steps are wanted, about.

    Returns:
      List of floats, at least two; the first is at most ``low``, the last at least ``high``.
    """
    if not high > low:
        low, high = low - (abs(low) / 2 or 1), high + (abs(high) / 2 or 1)
    rough = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def decades(low, high):
    """The powers of ten from the last one up to ``low`` to the first one from ``high``."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    return [10.0**power for power in range(first, last + 1)]


def save_curves(path, curves, x_name, title):
    """Draw curves over a common axis.

    Args:
      path: of the picture.
      curves: {name: list of (x, y), in the order of x}.
      x_name: what stands below the x axis.
      title: what stands above.
    """
    points = [point for curve in curves.values() for point in curve]
    xs, ys = zip(*points)
    is_log = min(ys) > 0 and max(ys) > LOG_RANGE * min(ys)
    x_ticks, y_ticks = ticks(min(xs), max(xs)), (decades if is_log else ticks)(min(ys), max(ys))
    to_x = _scale(x_ticks, LEFT, WIDTH - RIGHT)
    to_y = _scale(y_ticks, HEIGHT - BOTTOM, TOP, math.log10 if is_log else float)
    colors = [tuple(int(v) for v in color) for color in component_colors(max(len(curves), 2))]
    picture = _draw_lines(curves, colors, x_ticks, y_ticks, to_x, to_y)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for x in x_ticks:
        _text(draw, font, f"{x:g}", to_x(x), HEIGHT - BOTTOM + 14, 0.5)
    for y in y_ticks:
        _text(draw, font, f"{y:g}", LEFT - 8, to_y(y), 1.0)
    _text(draw, font, x_name, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, 0.5)
    if list(curves) == [title]:
        _text(draw, font, title, LEFT, TOP / 2, 0.0)
    else:
        _legend(draw, font, list(curves), colors)
    save_picture(path, np.asarray(picture))


def _scale(values, start, stop, transform=float):
    """Function from the range of ticks to pixels, linear in what ``transform`` makes of a value."""
    low, high = transform(values[0]), transform(values[-1])
    return lambda value: start + (transform(value) - low) / (high - low) * (stop - start)


def _draw_lines(curves, colors, x_ticks, y_ticks, to_x, to_y):
    """The picture without text."""
    large = Image.new("RGB", (WIDTH * DETAIL, HEIGHT * DETAIL), (255, 255, 255))
    draw = ImageDraw.Draw(large)

    def line(points, color, width):
        places = [(x * DETAIL, y * DETAIL) for x, y in points]
        draw.line(places, fill=color, width=int(width * DETAIL), joint="curve")

    for x in x_ticks:
        line([(to_x(x), TOP), (to_x(x), HEIGHT - BOTTOM)], GRID, 1)
    for y in y_ticks:
        line([(LEFT, to_y(y)), (WIDTH - RIGHT, to_y(y))], GRID, 1)
    for curve, color in zip(curves.values(), colors):
        places = [(to_x(x), to_y(y)) for x, y in curve]
        line(places, color, 2)
        for x, y in places:
            box = [(v + side) * DETAIL for side in (-3, 3) for v in (x, y)]
            draw.ellipse(box, fill=color)
    return large.resize((WIDTH, HEIGHT), Image.LANCZOS)


def _legend(draw, font, names, colors):
    """Names in a line above the curves, each behind a square of its colour."""
    left = LEFT
    for name, color in zip(names, colors):
        draw.rectangle((left, TOP / 2 - 5, left + 10, TOP / 2 + 5), fill=color)
        left += 16 + _text(draw, font, name, left + 16, TOP / 2, 0.0) + 20


def _text(draw, font, text, x, y, align):
    """Write text around (x, y), ``align`` of it left of x; returns its width."""
    left, top, right, bottom = font.getbbox(text)
    draw.text((x - left - align * (right - left), y - (top + bottom) / 2), text, INK, font=font)
    return right - left
