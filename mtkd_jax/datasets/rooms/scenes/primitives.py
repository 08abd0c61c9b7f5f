"""Boxes, spheres and cylinders, and where rays meet them. Metres; x and y are horizontal, z is up."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEAR = 1e-3  # metres; a ray does not meet the surface it starts from
FAR = np.float32(1e6)
BLOCK = 1024  # rays


@dataclass(frozen=True)
class Primitive:
    """A solid.

    Attributes:
        kind: `box`, `sphere` or `cylinder` (upright).
        centre: (x, y, z).
        half: half extents along the solid's own axes; a sphere's radius is `half[0]`, a cylinder's `half[0]` and half
            height `half[2]`.
        yaw: rotation about the vertical axis, in radians.
        label: class id.
        texture: name of its texture.
        colour, accent: the two RGB colours, in [0, 1], that the texture is made of.
        gloss: share of light reflected as from a smooth surface; sensors lose the depth of very glossy ones.
    """

    kind: str
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float
    label: int
    texture: str
    colour: tuple[float, float, float]
    accent: tuple[float, float, float]
    gloss: float = 0.0

    @property
    def radius(self) -> float:
        """Radius of the sphere around the solid."""
        if self.kind == 'sphere':
            return self.half[0]
        wide = np.hypot(self.half[0], self.half[1]) if self.kind == 'box' else self.half[0]
        return float(np.hypot(wide, self.half[2]))


def to_local(p: Primitive, vectors: np.ndarray) -> np.ndarray:
    """World directions [n 3] in the solid's own axes."""
    return _turn(vectors, -p.yaw)


def to_world(p: Primitive, vectors: np.ndarray) -> np.ndarray:
    """Inverse of `to_local`."""
    return _turn(vectors, p.yaw)


def _turn(vectors: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = vectors[:, 0], vectors[:, 1]
    turned = np.empty_like(vectors)
    turned[:, 0], turned[:, 1], turned[:, 2] = c * x - s * y, s * x + c * y, vectors[:, 2]
    return turned


def candidates(solids: Sequence[Primitive], origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Which rays ([m 3] origins, m = 1 or n; [n 3] unit directions) come near which solid: bool [solids n].

    Most rays pass the sphere around a solid; only the others are worth an exact test. One matrix product for all solids
    is several times faster than a test for each.
    """
    centres = np.array([p.centre for p in solids], np.float32).reshape(-1, 3)
    # A little wide, since these sums round differently from the exact test.
    radii = np.array([p.radius + 2e-3 for p in solids], np.float32)[:, None]
    result = np.empty((len(solids), len(directions)), bool)
    # In blocks that stay in the processor's cache.
    for start in range(0, len(directions), BLOCK):
        d = directions[start : start + BLOCK]
        o = origins if len(origins) == 1 else origins[start : start + BLOCK]
        along = centres @ d.T - np.einsum('ij,ij->i', np.broadcast_to(o, d.shape), d)
        # Squared distance to the sphere's tangent points; negative inside the sphere.
        tangent = (o**2).sum(axis=1) - 2 * (centres @ o.T)
        tangent += (centres**2).sum(axis=1)[:, None] - radii**2
        # Rays that start close to a sphere and lead away from it pass, too.
        result[:, start : start + BLOCK] = (along > -radii) & (along * along >= tangent)
    return result


def distances(p: Primitive, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Distance along each ray ([m 3] origins, m = 1 or n; [n 3] unit directions) to the solid; `FAR` where missed."""
    o, d = to_local(p, origins - np.asarray(p.centre, np.float32)), to_local(p, directions)
    return {'box': _box, 'sphere': _sphere, 'cylinder': _cylinder}[p.kind](p, o, d)


def _box(p: Primitive, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    enter, leave = np.full(len(o), -FAR), np.full(len(o), FAR)
    # Axis by axis: NumPy is slow at reducing rows of three.
    for axis, half in enumerate(p.half):
        inverse = 1 / np.where(np.abs(d[:, axis]) < 1e-9, np.float32(1e-9), d[:, axis])
        a, b = (np.float32(-half) - o[:, axis]) * inverse, (np.float32(half) - o[:, axis]) * inverse
        enter, leave = np.maximum(enter, np.minimum(a, b)), np.minimum(leave, np.maximum(a, b))
    return np.where((enter < leave) & (enter > NEAR), enter, FAR)


def _sphere(p: Primitive, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    b = np.einsum('ij,ij->i', o, d)
    c = np.einsum('ij,ij->i', o, o) - np.float32(p.half[0] ** 2)
    root = b * b - c
    t = -b - np.sqrt(np.maximum(root, 0))
    return np.where((root > 0) & (t > NEAR), t, FAR)


def _cylinder(p: Primitive, o: np.ndarray, d: np.ndarray) -> np.ndarray:
    radius, height = np.float32(p.half[0]), np.float32(p.half[2])
    a = np.maximum(d[:, 0] ** 2 + d[:, 1] ** 2, np.float32(1e-9))
    b = o[:, 0] * d[:, 0] + o[:, 1] * d[:, 1]
    c = o[:, 0] ** 2 + o[:, 1] ** 2 - radius**2
    root = b * b - a * c
    side = (-b - np.sqrt(np.maximum(root, 0))) / a
    z = o[:, 2] + side * d[:, 2]
    side = np.where((root > 0) & (np.abs(z) < height) & (side > NEAR), side, FAR)
    dz = np.where(np.abs(d[:, 2]) < 1e-9, np.float32(1e-9), d[:, 2])
    cap = (-np.sign(dz) * height - o[:, 2]) / dz
    x, y = o[:, 0] + cap * d[:, 0], o[:, 1] + cap * d[:, 1]
    cap = np.where((x * x + y * y < radius**2) & (cap > NEAR), cap, FAR)
    return np.minimum(side, cap)


def normals(p: Primitive, local: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Outward unit normals [n 3] at surface points [n 3] that rays of these directions [n 3] meet from outside.

    All in the solid's own axes. At an edge, rounding leaves it open which face a point is on; a face that looks away
    from the ray is never it.
    """
    if p.kind == 'sphere':
        # By its own length: float32 puts points of a small sphere up to 0.1% off its radius.
        return local / np.linalg.norm(local, axis=1, keepdims=True)
    scaled = local / np.asarray(p.half, np.float32)
    if p.kind == 'cylinder':
        round_part = local * np.array([1, 1, 0], np.float32)
        round_part /= np.maximum(np.linalg.norm(round_part, axis=1, keepdims=True), 1e-6)
        cap = np.sign(local) * np.array([0, 0, 1], np.float32)
        on_cap = np.abs(scaled[:, 2]) > np.hypot(scaled[:, 0], scaled[:, 1])
        on_cap |= np.einsum('ij,ij->i', round_part, directions) > 0
        on_cap &= cap[:, 2] * directions[:, 2] <= 0
        return np.where(on_cap[:, None], cap, round_part)
    axis = np.argmax(np.where(np.sign(local) * directions <= 0, np.abs(scaled), 0), axis=1)
    result = np.zeros_like(local)
    rows = np.arange(len(local))
    result[rows, axis] = np.sign(local[rows, axis])
    return result
