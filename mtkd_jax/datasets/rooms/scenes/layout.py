"""A furnished room with a camera in it, drawn from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mtkd_jax.datasets.rooms.scenes.furniture import (
    AGAINST_WALL,
    CORNER,
    FREE,
    ID,
    WOODS,
    Colour,
    Rng,
    pick,
    shade,
    solid,
    things,
    vivid,
)
from mtkd_jax.datasets.rooms.scenes.primitives import Primitive

Rect = tuple[float, float, float, float]  # x0, y0, x1, y1
Opening = tuple[float, float, float]  # from, to (metres along a wall), and how tall the furniture before it may be

WALLS: tuple[Colour, ...] = (
    (0.87, 0.85, 0.8),
    (0.8, 0.84, 0.86),
    (0.9, 0.86, 0.72),
    (0.74, 0.8, 0.74),
    (0.86, 0.76, 0.72),
    (0.93, 0.93, 0.92),
)
FLOORS: tuple[tuple[str, Colour], ...] = (
    ('planks', (0.6, 0.42, 0.26)),
    ('planks', (0.42, 0.28, 0.18)),
    ('tiles', (0.75, 0.72, 0.67)),
    ('carpet', (0.55, 0.5, 0.45)),
    ('carpet', (0.4, 0.42, 0.48)),
)


@dataclass(frozen=True)
class Surface:
    """How the floor, the ceiling or the walls look."""

    texture: str
    colour: Colour
    accent: Colour


@dataclass(frozen=True)
class Scene:
    """A room `[0, size]` with solids in it, seen from `eye` (metres) through `rotation`.

    The rows of `rotation` are the camera's axes: x right, y up, z towards the viewer.
    """

    size: tuple[float, float, float]
    solids: Sequence[Primitive]
    floor: Surface
    ceiling: Surface
    walls: Surface
    lamp: tuple[float, float, float]
    daylight: tuple[float, float, float]
    eye: np.ndarray
    rotation: np.ndarray
    field_of_view: float


def make_scene(seed: int) -> Scene:
    """The scene of a seed; the same at every image size."""
    rng = np.random.default_rng([seed, 1])
    size = (rng.uniform(2.8, 6.8), rng.uniform(2.8, 6.8), rng.uniform(2.4, 2.8))
    eye, rotation = _camera(rng, size)
    taken: list[Rect] = [(eye[0] - 0.75, eye[1] - 0.75, eye[0] + 0.75, eye[1] + 0.75)]
    solids: list[Primitive] = []
    openings: list[list[Opening]] = []
    daylight = (size[0] / 2, size[1] / 2, 1.5)
    for wall in range(4):
        mounted, spans, window = _mounted(rng, size, wall)
        solids += mounted
        openings.append(spans)
        daylight = window or daylight
    for wall in rng.permutation(4):
        for _ in range(2 if size[wall % 2] < 4.5 else 3):
            solids += _against_wall(rng, size, int(wall), openings[wall], taken)
    for make in rng.permutation(np.array(FREE, dtype=object))[: rng.integers(1, len(FREE))]:
        solids += _free(rng, size, make(rng), taken)
    solids += _corner(rng, size, taken)
    lamp = (size[0] / 2 + rng.normal(0, 0.3), size[1] / 2 + rng.normal(0, 0.3), size[2] - 0.12)
    shade_ = solid('objects', (-0.2, -0.2, -0.08), (0.2, 0.2, 0.12), (0.98, 0.95, 0.88), 'glow', 'cylinder')
    solids += _move([shade_], *lamp[:2], 0.0, z=lamp[2])
    colour = pick(rng, WALLS)
    floor_texture, floor_colour = FLOORS[rng.integers(len(FLOORS))]
    return Scene(
        size=size,
        solids=solids,
        floor=Surface(floor_texture, floor_colour, shade(floor_colour, 0.75)),
        ceiling=Surface('plain', (0.93, 0.93, 0.91), (0.9, 0.9, 0.9)),
        walls=Surface(str(rng.choice(['plain', 'plain', 'wallpaper', 'noise'])), colour, shade(colour, 0.9)),
        lamp=(lamp[0], lamp[1], lamp[2] - 0.15),
        daylight=daylight,
        eye=eye,
        rotation=rotation,
        field_of_view=float(np.radians(rng.uniform(56, 66))),
    )


def _camera(rng: Rng, size: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Eye height, near the edge of the room, looking across it and a little down."""
    w, d, _ = size
    along, margin = rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.6)
    eye = np.array([w * along, margin, rng.uniform(1.3, 1.7)])
    if rng.uniform() < 0.5:
        eye[:2] = margin, d * along
    if rng.uniform() < 0.5:
        eye[:2] = w - eye[0], d - eye[1]
    goal = np.array([w / 2, d / 2, 0.0]) + rng.normal(0, 0.5, 3)
    goal[2] = eye[2]
    forward = goal - eye
    forward /= np.linalg.norm(forward)
    forward[2] = np.tan(-np.radians(rng.uniform(3, 18)))
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    roll = np.radians(rng.normal(0, 1.5))
    right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
    return eye, np.stack([right, up, -forward])


def _extent(parts: Sequence[Primitive]) -> tuple[float, float]:
    """Half width and half depth of a piece that is not turned yet."""
    x = max(abs(p.centre[0]) + p.half[0] for p in parts)
    y = max(abs(p.centre[1]) + p.half[1] for p in parts)
    return x, y


def _move(parts: Sequence[Primitive], x: float, y: float, yaw: float, z: float = 0.0) -> list[Primitive]:
    """The piece turned by `yaw` and standing at (x, y, z)."""
    c, s = np.cos(yaw), np.sin(yaw)
    moved = []
    for p in parts:
        a, b, height = p.centre
        centre = (float(x + c * a - s * b), float(y + s * a + c * b), float(z + height))
        moved.append(replace(p, centre=centre, yaw=p.yaw + yaw))
    return moved


def _place(
    size: tuple[float, float, float], parts: Sequence[Primitive], x: float, y: float, yaw: float, taken: list[Rect]
) -> list[Primitive]:
    """The piece at (x, y) when it fits the room and touches nothing that stands there, else nothing."""
    a, b = _extent(parts)
    c, s = abs(np.cos(yaw)), abs(np.sin(yaw))
    hx, hy = c * a + s * b, s * a + c * b
    rect = (x - hx, y - hy, x + hx, y + hy)
    inside = rect[0] > 0.005 and rect[1] > 0.005 and rect[2] < size[0] - 0.005 and rect[3] < size[1] - 0.005
    overlaps = any(rect[0] < r[2] and r[0] < rect[2] and rect[1] < r[3] and r[1] < rect[3] for r in taken)
    if not inside or overlaps:
        return []
    taken.append(rect)
    return _move(parts, x, y, yaw)


def _wall_frame(size: tuple[float, float, float], wall: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """(a corner, direction along, direction inwards, length, yaw of a piece with its back to the wall)."""
    w, d, _ = size
    corner = np.array([(0, 0), (w, 0), (w, d), (0, d)][wall])
    along = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)][wall])
    inwards = np.array([-along[1], along[0]])
    return corner, along, inwards, (w, d, w, d)[wall], wall * np.pi / 2


def _against_wall(
    rng: Rng, size: tuple[float, float, float], wall: int, openings: Sequence[Opening], taken: list[Rect]
) -> list[Primitive]:
    parts = AGAINST_WALL[rng.integers(len(AGAINST_WALL))](rng)
    corner, along, inwards, length, yaw = _wall_frame(size, wall)
    half_width, half_depth = _extent(parts)
    height = max(p.centre[2] + p.half[2] for p in parts)
    for _ in range(6):
        offset = rng.uniform(half_width + 0.02, max(length - half_width - 0.02, half_width + 0.03))
        if any(a < offset + half_width and offset - half_width < b and height > most for a, b, most in openings):
            continue
        x, y = corner + along * offset + inwards * (half_depth + 0.02)
        placed = _place(size, parts, float(x), float(y), yaw, taken)
        if placed:
            return placed
    return []


def _free(rng: Rng, size: tuple[float, float, float], parts: list[Primitive], taken: list[Rect]) -> list[Primitive]:
    for _ in range(8):
        x, y = rng.uniform(0.7, size[0] - 0.7), rng.uniform(0.7, size[1] - 0.7)
        placed = _place(size, parts, float(x), float(y), rng.uniform(-np.pi, np.pi), taken)
        if placed:
            return placed
    return []


def _corner(rng: Rng, size: tuple[float, float, float], taken: list[Rect]) -> list[Primitive]:
    placed: list[Primitive] = []
    for x in (0.35, size[0] - 0.35):
        for y in (0.35, size[1] - 0.35):
            if rng.uniform() < 0.6:
                placed += _place(size, CORNER[rng.integers(len(CORNER))](rng), x, y, 0.0, taken)
            elif rng.uniform() < 0.5:
                placed += _place(size, things(rng, 0.3, 0.3, 0.0, 1), x, y, 0.0, taken)
    return placed


def _mounted(
    rng: Rng, size: tuple[float, float, float], wall: int
) -> tuple[list[Primitive], list[Opening], tuple[float, float, float] | None]:
    """Windows, pictures and doors side by side on a wall; its openings; where daylight comes in, if it does."""
    corner, along, inwards, length, yaw = _wall_frame(size, wall)
    solids: list[Primitive] = []
    openings: list[Opening] = []
    light = None
    cursor = rng.uniform(0.2, 0.6)
    while cursor < length - 0.6:
        kind = rng.choice(['window', 'picture', 'picture', 'door', 'gap'], p=[0.34, 0.22, 0.14, 0.1, 0.2])
        w = {'window': rng.uniform(0.9, 1.7), 'picture': rng.uniform(0.4, 1.0), 'door': 0.9, 'gap': 0.6}[kind]
        if cursor + w > length - 0.15:
            break
        x, y = corner + along * (cursor + w / 2) + inwards * 0.001
        parts = {'window': _window, 'picture': _picture, 'door': _door, 'gap': lambda rng, w: []}[kind](rng, w)
        solids += _move(parts, float(x), float(y), yaw)
        if kind in ('window', 'door'):
            openings.append((cursor, cursor + w, 1.2 if kind == 'window' else 0.0))
        if kind == 'window':
            x, y = corner + along * (cursor + w / 2) + inwards * 0.4
            light = (float(x), float(y), 1.6)
        cursor += w + rng.uniform(0.15, 0.7)
    return solids, openings, light


def _window(rng: Rng, w: float) -> list[Primitive]:
    low, high, frame = rng.uniform(0.85, 1.1), rng.uniform(1.9, 2.2), (0.92, 0.91, 0.88)
    sky = (0.72, 0.84, 0.97)
    parts = [solid('window', (-w / 2, 0, low), (w / 2, 0.015, high), sky, 'sky', gloss=0.9, accent=(0.45, 0.6, 0.4))]
    for x in (-w / 2, 0.0, w / 2):
        parts.append(solid('window', (x - 0.035, 0, low - 0.03), (x + 0.035, 0.05, high + 0.03), frame))
    for z in (low, high):
        parts.append(solid('window', (-w / 2 - 0.03, 0, z - 0.035), (w / 2 + 0.03, 0.06, z + 0.035), frame))
    return parts


def _picture(rng: Rng, w: float) -> list[Primitive]:
    low = rng.uniform(1.15, 1.4)
    high = low + w * rng.uniform(0.6, 1.1)
    paint = solid('picture', (-w / 2 + 0.04, 0, low + 0.04), (w / 2 - 0.04, 0.03, high - 0.04), vivid(rng), 'painting')
    frame = solid('picture', (-w / 2, 0, low), (w / 2, 0.02, high), pick(rng, WOODS))
    return [frame, replace(paint, accent=vivid(rng))]


def _door(rng: Rng, w: float) -> list[Primitive]:
    # NYUv2's 13 classes count doors to the walls.
    return [solid('wall', (-w / 2, 0, 0), (w / 2, 0.03, 2.02), pick(rng, WOODS), 'doors')]


SURFACES = {'floor': ID['floor'], 'ceiling': ID['ceiling'], 'wall': ID['wall']}
