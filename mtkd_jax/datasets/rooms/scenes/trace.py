"""Ray casting: what each ray of a scene meets, and the light that comes back along it."""

from dataclasses import dataclass

import numpy as np

from mtkd_jax.datasets.rooms.scenes import primitives, textures
from mtkd_jax.datasets.rooms.scenes.layout import SURFACES, Scene, Surface
from mtkd_jax.datasets.rooms.scenes.primitives import Primitive

WALL = 0  # index of the room itself among the things a ray can meet; solids follow


@dataclass(frozen=True)
class Hits:
    """What rays meet: `thing` [n] (0 the room, 1 + i solid i), `distance` [n] metres, `point` and `normal` [n 3]."""

    thing: np.ndarray
    distance: np.ndarray
    point: np.ndarray
    normal: np.ndarray

    def at(self, rows: slice) -> 'Hits':
        """Those of some rays."""
        return Hits(self.thing[rows], self.distance[rows], self.point[rows], self.normal[rows])


def camera_rays(scene: Scene, height: int, width: int, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Unit directions [height·width 3] in the world through the pixels' centres, moved by `shift` pixels (x, y)."""
    spread = 2 * np.tan(scene.field_of_view / 2) / width
    x = (np.arange(width) + 0.5 + shift[0] - width / 2) * spread
    y = (height / 2 - np.arange(height) - 0.5 - shift[1]) * spread
    grid = np.stack([*np.meshgrid(x, y), -np.ones((height, width))], axis=-1).reshape(-1, 3)
    rays = grid @ scene.rotation
    return (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)


def cast(scene: Scene, directions: np.ndarray) -> Hits:
    """What rays from the eye meet first."""
    origins = scene.eye.astype(np.float32)[None]
    nearest, thing = _room_distance(scene, origins, directions), np.zeros(len(directions), np.int32)
    near = primitives.candidates(scene.solids, origins, directions)
    for i, p in enumerate(scene.solids):
        rows = np.flatnonzero(near[i])
        t = primitives.distances(p, origins, directions[rows])
        closer = t < nearest[rows]
        nearest[rows[closer]] = t[closer]
        thing[rows[closer]] = i + 1
    point = origins + nearest[:, None] * directions
    normal = _room_normals(scene, point)
    for i in np.unique(thing[thing > 0]):
        p, rows = scene.solids[i - 1], np.flatnonzero(thing == i)
        local = primitives.to_local(p, point[rows] - np.asarray(p.centre, np.float32))
        normal[rows] = primitives.to_world(p, primitives.normals(p, local, primitives.to_local(p, directions[rows])))
    return Hits(thing, nearest, point, normal)


def _room_distance(scene: Scene, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    d = np.where(np.abs(directions) < 1e-9, np.float32(1e-9), directions)
    side = np.where(d > 0, np.asarray(scene.size, np.float32), np.float32(0))
    t = (side - origins) / d
    return np.minimum(np.minimum(t[:, 0], t[:, 1]), t[:, 2])


def _room_normals(scene: Scene, point: np.ndarray) -> np.ndarray:
    """Inward normals of the wall, floor or ceiling that a point lies on."""
    gap = np.concatenate([np.abs(point), np.abs(np.asarray(scene.size, np.float32) - point)], axis=1)
    table = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    return table[np.argmin(gap, axis=1)]


def labels(scene: Scene, hits: Hits) -> np.ndarray:
    """Class ids [n] of what was met."""
    up = hits.normal[:, 2]
    room = np.where(up > 0.5, SURFACES['floor'], np.where(up < -0.5, SURFACES['ceiling'], SURFACES['wall']))
    table = np.array([0] + [p.label for p in scene.solids], np.int8)
    return np.where(hits.thing == WALL, room, table[hits.thing]).astype(np.int8)


def gloss(scene: Scene, hits: Hits) -> np.ndarray:
    """How glossy what was met is [n]."""
    return np.array([0.0] + [p.gloss for p in scene.solids], np.float32)[hits.thing]


def shade(
    scene: Scene, hits: Hits, directions: np.ndarray, corners: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Colours [n 3], linear light, under the lamp (soft shadows), daylight from a window, and light from all around.

    `corners` [n 2] are the corners (x, y; each -1 or 1) of the lamp that cast the shadows: the mean over the four
    corners has less noise than four points drawn anywhere.
    """
    albedo, glow = _albedo(scene, hits)
    light = 0.34 + 0.12 * hits.normal[:, 2] + _occlusion(scene, hits)
    light = light + 0.75 * _lambert(hits, scene.lamp, 2.2) * _lit(scene, hits, corners, rng)
    light = light + 0.35 * _lambert(hits, scene.daylight, 2.5)
    colour = albedo * light[:, None] * np.array([1.0, 0.98, 0.94], np.float32)
    half = _towards(hits.point, scene.lamp) - directions
    half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
    shine = np.maximum(np.einsum('ij,ij->i', half, hits.normal), 0) ** 60
    colour = colour + (gloss(scene, hits) * shine)[:, None] * 0.6
    return np.where(glow[:, None], albedo * 1.05, colour)


def _albedo(scene: Scene, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Surface colours [n 3], and whether they shine by themselves [n]."""
    colour, glow = np.zeros_like(hits.point), np.zeros(len(hits.thing), bool)
    for i in np.unique(hits.thing):
        rows = np.flatnonzero(hits.thing == i)
        if i == WALL:
            colour[rows] = _room_albedo(scene, hits.point[rows], hits.normal[rows])
            continue
        p = scene.solids[i - 1]
        local = primitives.to_local(p, hits.point[rows] - np.asarray(p.centre, np.float32))
        flat = primitives.to_local(p, hits.normal[rows])
        colour[rows] = textures.paint(p.texture, _unfold(p, local, flat), p.colour, p.accent)
        glow[rows] = p.texture in ('sky', 'glow')
    return colour, glow


def _unfold(p: Primitive, local: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Texture coordinates [n 2]: along and up on upright faces, x and y on level ones; heights are above the floor."""
    height = local[:, 2] + np.float32(p.centre[2])
    if p.kind != 'box':
        around = np.arctan2(local[:, 1], local[:, 0]) * p.half[0]
        return np.stack([around, height], axis=1)
    sideways = np.where(np.abs(normal[:, 0]) > 0.5, local[:, 1], local[:, 0])
    level = np.abs(normal[:, 2]) > 0.5
    return np.stack([np.where(level, local[:, 0], sideways), np.where(level, local[:, 1], height)], axis=1)


def _room_albedo(scene: Scene, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
    colour = np.empty_like(point)
    up = normal[:, 2]
    along = np.where(np.abs(normal[:, 0]) > 0.5, point[:, 1], point[:, 0])
    upright = np.stack([along, point[:, 2]], axis=1)
    faces: tuple[tuple[np.ndarray, Surface, np.ndarray], ...] = (
        (up > 0.5, scene.floor, point[:, :2]),
        (up < -0.5, scene.ceiling, point[:, :2]),
        (np.abs(up) <= 0.5, scene.walls, upright),
    )
    for rows, surface, coordinates in faces:
        colour[rows] = textures.paint(surface.texture, coordinates[rows], surface.colour, surface.accent)
    # A skirting board.
    colour[(np.abs(up) <= 0.5) & (point[:, 2] < 0.08)] = (0.86, 0.84, 0.8)
    return colour


def _occlusion(scene: Scene, hits: Hits) -> np.ndarray:
    """Less light from all around near the room's edges [n], negative."""
    gap = np.minimum(hits.point, np.asarray(scene.size, np.float32) - hits.point)
    second = np.partition(np.maximum(gap, 0), 1, axis=1)[:, 1]
    return np.where(hits.thing == WALL, -0.14 * np.exp(-second / 0.18), -0.05 * np.exp(-hits.point[:, 2] / 0.15))


def _towards(point: np.ndarray, light: tuple[float, float, float]) -> np.ndarray:
    offset = np.asarray(light, np.float32) - point
    return offset / np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-6)


def _lambert(hits: Hits, light: tuple[float, float, float], reach: float) -> np.ndarray:
    offset = np.asarray(light, np.float32) - hits.point
    squared = np.einsum('ij,ij->i', offset, offset)
    cosine = np.einsum('ij,ij->i', offset, hits.normal) / np.sqrt(np.maximum(squared, 1e-6))
    # Softer than inverse square: the rest of the room sends light back.
    return np.maximum(cosine, 0) / (0.4 + squared / reach**2)


def _lit(scene: Scene, hits: Hits, corners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """1 where a random point of the lamp's quarter is seen, 0 in shadow [n]; averaged over sub-pixels, a soft edge."""
    below = np.full((len(corners), 1), 0.2)
    jitter = (rng.uniform(0, 0.18, (len(corners), 3)) * np.concatenate([corners, below], axis=1)).astype(np.float32)
    offset = np.asarray(scene.lamp, np.float32) + jitter - hits.point
    far = np.linalg.norm(offset, axis=1)
    direction = offset / np.maximum(far[:, None], 1e-6)
    facing = np.flatnonzero(np.einsum('ij,ij->i', direction, hits.normal) > 0)
    start = hits.point[facing] + hits.normal[facing] * np.float32(2e-3)
    direction, far = direction[facing], far[facing]
    # The lamp's own shade does not hide it.
    casters = [p for p in scene.solids if p.texture not in ('glow', 'sky')]
    near = primitives.candidates(casters, start, direction)
    shadowed = np.zeros(len(facing), bool)
    for i, p in enumerate(casters):
        rows = np.flatnonzero(near[i] & ~shadowed)
        t = primitives.distances(p, start[rows], direction[rows])
        shadowed[rows[t < far[rows]]] = True
    lit = np.zeros(len(hits.point), np.float32)
    lit[facing] = ~shadowed
    return lit
