"""A small ray caster: spheres, cubes and upright cylinders on a ground plane, in NumPy.

Made for speed at low resolution: every object is intersected analytically, with only those rays
that pass its bounding sphere. Light and matter are simple but go by the rules: a key light of some
size (soft shadows), a fill light, light from the sky that neighbours shade off, matte rubber with a
faint gloss, metal that mirrors its surroundings once.

Vectors are float32 [3, P], one column a ray. World coordinates: z is up, the ground is z = 0.
"""

from __future__ import annotations

import numpy as np

GROUND, NOTHING = -1, -2  # what a ray hits besides objects 0, 1, ...
_FAR = np.float32(1e9)

# Linear light. Key and fill: colour times strength; the sky lights from above and fills mirrors.
_KEY = np.array([1.10, 1.06, 1.00], np.float32)[:, None]
_FILL = np.array([0.22, 0.24, 0.27], np.float32)[:, None]
_SKY = np.array([0.34, 0.35, 0.36], np.float32)[:, None]
_GROUND_COLOUR = np.array([0.255, 0.25, 0.245], np.float32)[:, None]


def _dot(a, b):
    """[3, P], [3, P] => [P]."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _unit(a):
    """[3, P] => [3, P] of length 1."""
    return a / np.sqrt(_dot(a, a))


# Intersections: (object, origins, directions) => distance [P] (_FAR where missed), normal [3, P]


def _hit_sphere(solid, o, d):
    """First hit of a ball of radius ``solid.radius``."""
    to_center = o - solid.center
    b = _dot(to_center, d)
    rest = b * b - _dot(to_center, to_center) + solid.radius**2
    t = -b - np.sqrt(np.maximum(rest, 0))
    t = np.where((rest > 0) & (t > 0), t, _FAR)
    return t, (to_center + t * d) / solid.radius


def _hit_cube(solid, o, d):
    """First hit of a cube of half side ``solid.radius``, turned about z; slab by slab."""
    turn = solid.turn
    o, d = turn @ (o - solid.center), turn @ d
    inverse = 1 / np.where(np.abs(d) < 1e-7, np.float32(1e-7), d)
    side = np.sign(inverse)
    enter = (-solid.radius * side - o) * inverse
    leave = (solid.radius * side - o) * inverse
    t = enter.max(0)
    t = np.where((t < leave.min(0)) & (t > 0), t, _FAR)
    normal = np.where(enter == enter.max(0), -side, np.float32(0))
    return t, turn.T @ normal


def _hit_cylinder(solid, o, d):
    """First hit of an upright cylinder of radius and half height ``solid.radius``: side or top."""
    r = solid.radius
    o = o - solid.center
    a = np.maximum(d[0] * d[0] + d[1] * d[1], np.float32(1e-9))
    b = o[0] * d[0] + o[1] * d[1]
    rest = b * b - a * (o[0] * o[0] + o[1] * o[1] - r * r)
    side = (-b - np.sqrt(np.maximum(rest, 0))) / a
    z = o[2] + side * d[2]
    side = np.where((rest > 0) & (side > 0) & (np.abs(z) <= r), side, _FAR)
    top = (r - o[2]) / np.where(np.abs(d[2]) < 1e-7, np.float32(1e-7), d[2])
    x, y = o[0] + top * d[0], o[1] + top * d[1]
    top = np.where((d[2] < 0) & (top > 0) & (x * x + y * y <= r * r), top, _FAR)
    t = np.minimum(side, top)
    on_top = top < side
    normal = np.stack(
        [
            np.where(on_top, np.float32(0), (o[0] + t * d[0]) / r),
            np.where(on_top, np.float32(0), (o[1] + t * d[1]) / r),
            on_top.astype(np.float32),
        ]
    )
    return t, normal


_HIT = {"sphere": _hit_sphere, "cube": _hit_cube, "cylinder": _hit_cylinder}


class Solid:
    """An object ready to be rendered.

    Args:
      shape: "sphere", "cube" or "cylinder".
      radius: of sphere and cylinder; half the side of a cube.
      position: (x, y) on the ground.
      angle: turn about z, in radians.
      colour: linear RGB.
      metal: shiny rather than matte.
    """

    def __init__(self, shape, radius, position, angle, colour, metal):
        self.shape, self.radius, self.metal = shape, np.float32(radius), metal
        self.center = np.array([*position, radius], np.float32)[:, None]
        c, s = np.cos(angle), np.sin(angle)
        self.turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)
        self.colour = np.array(colour, np.float32)[:, None]
        self.bound = np.float32(radius * {"sphere": 1.0, "cylinder": 2**0.5, "cube": 3**0.5}[shape])

    def hit(self, o, d):
        """Distances [P] and normals [3, P] for rays from ``o`` in direction ``d`` (unit)."""
        return _HIT[self.shape](self, o, d)

    def near(self, o, d):
        """Indices of the rays that pass the bounding sphere in front of their origin."""
        to_center = self.center - o
        along = _dot(to_center, d)
        beside = _dot(to_center, to_center) - along * along
        return np.flatnonzero((beside < self.bound**2) & (along > 0))


def trace(solids, o, d, own=None):
    """Follow rays to what they hit first.

    Args:
      solids: the objects.
      o: origins, [3, P] or [3, 1].
      d: unit directions, [3, P].
      own: [P] index of the object a ray starts from, which it cannot hit (all are convex).

    Returns:
      what [P] (index of the object, GROUND or NOTHING), t [P], normal [3, P].
    """
    down = d[2] < -1e-4
    t = np.where(down, -o[2] / np.where(down, d[2], np.float32(-1)), _FAR)
    what = np.where(down, GROUND, NOTHING).astype(np.int32)
    normal = np.zeros(d.shape, np.float32)
    normal[2] = 1
    for index, solid in enumerate(solids):
        rays = solid.near(o, d)
        if own is not None:
            rays = rays[own[rays] != index]
        if len(rays):
            t_solid, n_solid = solid.hit(o if o.shape[1] == 1 else o[:, rays], d[:, rays])
            first = t_solid < t[rays]
            rays = rays[first]
            t[rays], what[rays], normal[:, rays] = t_solid[first], index, n_solid[:, first]
    return what, t, normal


def _lit(solids, points, to_light, own):
    """[P] share of the key light (0 or 1) that reaches each point along ``to_light`` (unit)."""
    lit = np.ones(points.shape[1], np.float32)
    for index, solid in enumerate(solids):
        rays = solid.near(points, to_light)
        rays = rays[(own[rays] != index) & (lit[rays] > 0)]
        if len(rays):
            t, _ = solid.hit(points[:, rays], to_light[:, rays])
            lit[rays[t < _FAR]] = 0
    return lit


def _sky_seen(solids, points, normal, own):
    """[P] share of the sky light not shaded off by near objects, each taken as a ball."""
    seen = np.ones(points.shape[1], np.float32)
    for index, solid in enumerate(solids):
        to_center = solid.center - points
        square = _dot(to_center, to_center)
        close = np.flatnonzero((square < 16 * solid.radius**2) & (own != index))
        if len(close):
            square = square[close]
            cosine = _dot(normal[:, close], to_center[:, close]) / np.sqrt(square)
            shaded = np.clip(cosine + 0.3, 0, 1) * solid.radius**2 / square
            seen[close] *= 1 - np.minimum(shaded, np.float32(0.85))
    # Objects stand on the ground, which shades their lower half.
    return seen * (0.62 + 0.38 * np.clip(normal[2] + 0.3, 0, 1))


def _shade(solids, light, what, points, normal, to_eye, lit):
    """Colour of hit points without mirror images, linear RGB [3, P]."""
    colours = np.concatenate([s.colour for s in solids] + [_GROUND_COLOUR], axis=1)
    gloss = np.array([1.2 if s.metal else 0.06 for s in solids] + [0.0], np.float32)[what]
    power = np.array([70.0 if s.metal else 12.0 for s in solids] + [1.0], np.float32)[what]
    to_key, to_fill = _unit(light["key"] - points), light["fill"]
    key = np.maximum(_dot(normal, to_key), 0) * lit
    fill = np.maximum(_dot(normal, to_fill), 0)
    sky = _sky_seen(solids, points, normal, what)
    # The pool of light around the middle fades outwards.
    away = points[0] ** 2 + points[1] ** 2
    pool = 0.55 + 0.45 / (1 + away * np.float32(1 / 90))
    halfway = np.maximum(_dot(normal, _unit(to_key + to_eye)), np.float32(1e-3))
    shine = gloss * halfway**power * lit
    return (colours[:, what] * (_KEY * key + _FILL * fill + _SKY * sky) + shine) * pool


def _sky_colour(light, d):
    """What a mirror sees above the ground: a studio with two lamps, brighter upwards, [3, P]."""
    key = np.clip((_dot(_unit(light["key"]), d) - 0.90) * 14, 0, 1)
    fill = np.clip((_dot(light["fill"], d) - 0.80) * 8, 0, 1)
    return _SKY * (0.9 + 1.6 * np.clip(d[2], 0, 1) ** 2) + 3.0 * _KEY * key + 3.0 * _FILL * fill


def _mirrored(solids, light, points, d, own):
    """Colour that comes back along mirrored rays, [3, P]; nothing is mirrored twice."""
    what, t, normal = trace(solids, points, d, own)
    out = _sky_colour(light, d)
    seen = np.flatnonzero(what != NOTHING)
    if len(seen):
        hits = points[:, seen] + t[seen] * d[:, seen]
        lit = _lit(solids, hits, _unit(light["key"] - hits), what[seen])
        out[:, seen] = _shade(solids, light, what[seen], hits, normal[:, seen], -d[:, seen], lit)
    return out


def render(solids, eye, d, light, key_points):
    """Colour and object of each ray from the eye.

    Args:
      solids: the objects.
      eye: [3, 1] position of the camera.
      d: [3, P] unit directions.
      light: dict of "key" [3, 1] (centre of the key light) and "fill" [3, 1] (unit direction).
      key_points: list of [3, P], points of the key light; the shadow is the mean of their
        shadows.

    Returns:
      rgb: [3, P] linear light.
      what: [P] index of the object, GROUND or NOTHING.
    """
    what, t, normal = trace(solids, eye, d)
    points = eye + np.minimum(t, np.float32(1e3)) * d
    lit = sum(_lit(solids, points, _unit(key - points), what) for key in key_points)
    lit /= np.float32(len(key_points))
    rgb = _shade(solids, light, np.maximum(what, GROUND), points, normal, -d, lit)
    metal = np.array([s.metal for s in solids] + [False])
    shiny = np.flatnonzero(metal[np.maximum(what, GROUND)])
    if len(shiny):
        d, normal, own = d[:, shiny], normal[:, shiny], what[shiny]
        facing = -_dot(d, normal)
        mirror = d + 2 * facing * normal
        image = _mirrored(solids, light, points[:, shiny], mirror, own)
        colours = np.concatenate([s.colour for s in solids], axis=1)[:, own]
        fresnel = colours + (1 - colours) * np.clip(1 - facing, 0, 1) ** 5
        rgb[:, shiny] = 0.5 * rgb[:, shiny] + 1.15 * fresnel * image
    far = what == NOTHING
    rgb[:, far] = _GROUND_COLOUR * 0.55
    return rgb, what
