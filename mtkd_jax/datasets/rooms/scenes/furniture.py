"""Furniture: each piece is a list of solids around its own origin, its back towards -y, standing on z = 0."""

from collections.abc import Callable

import numpy as np

from mtkd_jax.datasets.rooms.scenes.primitives import Primitive

CLASSES = (
    'bed',
    'books',
    'ceiling',
    'chair',
    'floor',
    'furniture',
    'objects',
    'picture',
    'sofa',
    'table',
    'tv',
    'wall',
    'window',
)
ID = {name: i for i, name in enumerate(CLASSES)}

Colour = tuple[float, float, float]
Rng = np.random.Generator
WOODS: tuple[Colour, ...] = (
    (0.55, 0.36, 0.2),
    (0.7, 0.5, 0.3),
    (0.36, 0.22, 0.13),
    (0.82, 0.72, 0.58),
    (0.9, 0.88, 0.84),
)
FABRICS: tuple[Colour, ...] = (
    (0.25, 0.32, 0.5),
    (0.55, 0.2, 0.2),
    (0.3, 0.45, 0.32),
    (0.62, 0.56, 0.48),
    (0.35, 0.35, 0.38),
    (0.75, 0.6, 0.3),
    (0.45, 0.3, 0.5),
)


def pick(rng: Rng, colours: tuple[Colour, ...]) -> Colour:
    """One of `colours`, a little varied."""
    base = np.asarray(colours[rng.integers(len(colours))])
    r, g, b = np.clip(base + rng.normal(0, 0.04, 3), 0.03, 0.97)
    return float(r), float(g), float(b)


def vivid(rng: Rng) -> Colour:
    """A colour as small things, cushions and paintings have: any hue, nearly grey to strong, dark to light."""
    hue, strength, level = rng.uniform(), rng.uniform(0.15, 0.75), rng.uniform(0.3, 0.65)
    wave = np.cos(2 * np.pi * (hue + np.array([0, 1 / 3, 2 / 3])))
    r, g, b = np.clip(level * (1 + strength * wave), 0.05, 0.95)
    return float(r), float(g), float(b)


def shade(colour: Colour, factor: float) -> Colour:
    """`colour`, lighter or darker."""
    r, g, b = (min(max(c * factor, 0.0), 1.0) for c in colour)
    return r, g, b


def solid(
    label: str,
    lower: tuple[float, float, float],
    upper: tuple[float, float, float],
    colour: Colour,
    texture: str = 'plain',
    kind: str = 'box',
    gloss: float = 0.0,
    accent: Colour | None = None,
) -> Primitive:
    """A solid that fills the cuboid from `lower` to `upper`."""
    (a, b, c), (d, e, f) = lower, upper
    centre = ((a + d) / 2, (b + e) / 2, (c + f) / 2)
    half = ((d - a) / 2, (e - b) / 2, (f - c) / 2)
    return Primitive(kind, centre, half, 0.0, ID[label], texture, colour, accent or shade(colour, 0.7), gloss)


def legs(label: str, w: float, d: float, height: float, colour: Colour, thickness: float = 0.03) -> list[Primitive]:
    """Four legs at the corners of a w × d rectangle."""
    t = thickness
    corners = [(x, y) for x in (-w / 2 + t, w / 2 - t) for y in (-d / 2 + t, d / 2 - t)]
    return [solid(label, (x - t, y - t, 0), (x + t, y + t, height), colour) for x, y in corners]


def bed(rng: Rng) -> list[Primitive]:
    """Frame, mattress, blanket, head board, pillows."""
    w, d = rng.uniform(1.0, 1.8), rng.uniform(1.95, 2.1)
    wood, sheet, blanket = pick(rng, WOODS), (0.9, 0.89, 0.86), pick(rng, FABRICS)
    parts = [
        solid('bed', (-w / 2, -d / 2, 0.08), (w / 2, d / 2, 0.3), wood, 'wood'),
        solid('bed', (-w / 2 + 0.02, -d / 2 + 0.04, 0.3), (w / 2 - 0.02, d / 2 - 0.02, 0.5), sheet),
        solid('bed', (-w / 2 - 0.01, -d / 6, 0.25), (w / 2 + 0.01, d / 2 + 0.01, 0.54), blanket, _cloth(rng)),
        solid('bed', (-w / 2, -d / 2 - 0.06, 0), (w / 2, -d / 2, rng.uniform(0.8, 1.1)), wood, 'wood'),
    ]
    for x in (-w / 4, w / 4) if w > 1.3 else (0.0,):
        parts.append(solid('bed', (x - 0.3, -d / 2 + 0.08, 0.5), (x + 0.3, -d / 2 + 0.45, 0.62), shade(sheet, 0.97)))
    return parts


def sofa(rng: Rng) -> list[Primitive]:
    """Seat, back, arms, cushions."""
    w, d, colour = rng.uniform(1.5, 2.2), rng.uniform(0.8, 0.95), pick(rng, FABRICS)
    cloth = _cloth(rng)
    parts = [
        solid('sofa', (-w / 2, -d / 2, 0.06), (w / 2, d / 2, 0.42), colour, cloth),
        solid('sofa', (-w / 2, -d / 2, 0.42), (w / 2, -d / 2 + 0.22, rng.uniform(0.75, 0.9)), colour, cloth),
    ]
    for side in (-1, 1):
        x = side * (w / 2 - 0.1)
        parts.append(solid('sofa', (x - 0.1, -d / 2, 0.06), (x + 0.1, d / 2, 0.6), shade(colour, 0.9), cloth))
        if rng.uniform() < 0.6:
            x = side * w / 3.5
            parts.append(
                solid('sofa', (x - 0.2, -d / 2 + 0.2, 0.42), (x + 0.2, -d / 2 + 0.34, 0.78), vivid(rng), 'checks')
            )
    return parts


def chair(rng: Rng) -> list[Primitive]:
    """A chair of wood, or one with a cushioned seat."""
    wood = pick(rng, WOODS)
    w, seat = rng.uniform(0.4, 0.48), rng.uniform(0.43, 0.47)
    cover = pick(rng, FABRICS) if rng.uniform() < 0.5 else wood
    return [
        *legs('chair', w, w, seat, wood, 0.022),
        solid('chair', (-w / 2, -w / 2, seat), (w / 2, w / 2, seat + 0.06), cover),
        solid('chair', (-w / 2, -w / 2, seat), (w / 2, -w / 2 + 0.05, rng.uniform(0.85, 1.0)), cover, 'wood'),
    ]


def table(rng: Rng) -> list[Primitive]:
    """A dining, coffee or round table with a few things on it."""
    wood = pick(rng, WOODS)
    low = rng.uniform() < 0.4
    height = rng.uniform(0.38, 0.48) if low else rng.uniform(0.7, 0.78)
    w, d = (rng.uniform(0.8, 1.2), rng.uniform(0.5, 0.7)) if low else (rng.uniform(1.0, 1.7), rng.uniform(0.7, 0.95))
    if rng.uniform() < 0.3:
        w = d = min(w, 1.1)
        top = solid('table', (-w / 2, -w / 2, height - 0.05), (w / 2, w / 2, height), wood, 'wood', 'cylinder', 0.15)
        parts = [top, solid('table', (-0.05, -0.05, 0), (0.05, 0.05, height - 0.05), wood, kind='cylinder')]
        w = d = w * 0.7
    else:
        parts = [solid('table', (-w / 2, -d / 2, height - 0.05), (w / 2, d / 2, height), wood, 'wood', gloss=0.15)]
        parts += legs('table', w, d, height - 0.05, shade(wood, 0.85), 0.03)
    return parts + things(rng, w, d, height, int(rng.integers(1, 5)))


def desk(rng: Rng) -> list[Primitive]:
    """A desk with drawers against the wall, things and a screen on it."""
    wood, w, d = pick(rng, WOODS), rng.uniform(1.1, 1.6), rng.uniform(0.6, 0.7)
    parts = [
        solid('table', (-w / 2, -d / 2, 0.7), (w / 2, d / 2, 0.74), wood, 'wood', gloss=0.1),
        solid('table', (-w / 2, -d / 2, 0), (-w / 2 + 0.04, d / 2, 0.7), wood),
        solid('furniture', (w / 2 - 0.4, -d / 2, 0), (w / 2, d / 2, 0.7), shade(wood, 0.9), 'drawers'),
        solid('tv', (-0.28, -d / 2 + 0.1, 0.84), (0.28, -d / 2 + 0.13, 1.2), (0.06, 0.07, 0.09), 'screen', gloss=0.6),
        solid('tv', (-0.06, -d / 2 + 0.06, 0.74), (0.06, -d / 2 + 0.16, 0.84), (0.1, 0.1, 0.1)),
    ]
    return parts + things(rng, w * 0.8, d * 0.5, 0.74, int(rng.integers(1, 4)))


def cupboard(rng: Rng) -> list[Primitive]:
    """A wardrobe, cupboard or chest of drawers, sometimes with things on top."""
    wood, w, d = pick(rng, WOODS), rng.uniform(0.7, 1.6), rng.uniform(0.4, 0.6)
    height = rng.choice([0.8, 1.1, 1.9, 2.1])
    texture = 'drawers' if height < 1.5 else 'doors'
    parts = [solid('furniture', (-w / 2, -d / 2, 0), (w / 2, d / 2, height), wood, texture)]
    return parts + (things(rng, w, d, height, int(rng.integers(0, 4))) if height < 1.5 else [])


def shelf(rng: Rng) -> list[Primitive]:
    """A book shelf: sides, boards, rows of books, some objects."""
    wood, w, d = pick(rng, WOODS), rng.uniform(0.7, 1.3), 0.3
    boards = int(rng.integers(3, 6))
    gap = rng.uniform(0.3, 0.38)
    height = boards * gap
    parts = [solid('furniture', (-w / 2, -d / 2, 0), (w / 2, -d / 2 + 0.02, height), shade(wood, 0.7), 'wood')]
    for side in (-1, 1):
        x = side * (w / 2 - 0.01)
        parts.append(solid('furniture', (x - 0.015, -d / 2, 0), (x + 0.015, d / 2, height), wood, 'wood'))
    for k in range(boards + 1):
        z = k * gap
        parts.append(solid('furniture', (-w / 2, -d / 2, z - 0.012), (w / 2, d / 2, z + 0.012), wood, 'wood'))
    for k in range(boards):
        z, filled = k * gap + 0.012, rng.uniform(0.35, 0.95) * (w - 0.08)
        left = -w / 2 + 0.04
        book = solid(
            'books', (left, -d / 2 + 0.03, z), (left + filled, d / 2 - 0.06, z + gap * 0.75), vivid(rng), 'books'
        )
        parts.append(book)
        if filled < 0.7 * w:
            parts += _thing(rng, (left + filled + w / 2) / 2, 0.0, z, 0.09)
    return parts


def tv_stand(rng: Rng) -> list[Primitive]:
    """A low cabinet with a television."""
    wood, w, d = pick(rng, WOODS), rng.uniform(1.1, 1.7), 0.42
    height, screen = rng.uniform(0.4, 0.55), rng.uniform(0.9, 1.25)
    bottom = height + 0.06
    top = bottom + screen * 0.58
    return [
        solid('furniture', (-w / 2, -d / 2, 0), (w / 2, d / 2, height), wood, 'drawers'),
        solid('tv', (-screen / 2, -0.03, bottom), (screen / 2, 0.02, top), (0.05, 0.055, 0.07), 'screen', gloss=0.7),
        solid('tv', (-0.15, -0.1, height), (0.15, 0.1, bottom), (0.08, 0.08, 0.08)),
    ]


def lamp(rng: Rng) -> list[Primitive]:
    """A standing lamp."""
    height = rng.uniform(1.4, 1.7)
    return [
        solid('objects', (-0.13, -0.13, 0), (0.13, 0.13, 0.03), (0.2, 0.2, 0.2), kind='cylinder'),
        solid('objects', (-0.015, -0.015, 0), (0.015, 0.015, height), (0.25, 0.25, 0.25), kind='cylinder'),
        solid('objects', (-0.2, -0.2, height - 0.3), (0.2, 0.2, height), (0.95, 0.9, 0.75), kind='cylinder'),
    ]


def plant(rng: Rng) -> list[Primitive]:
    """A potted plant."""
    r, tall = rng.uniform(0.12, 0.2), rng.uniform(0.5, 1.1)
    parts = [solid('objects', (-r, -r, 0), (r, r, 0.3), (0.6, 0.33, 0.22), kind='cylinder')]
    for _ in range(6):
        x, y, z = rng.normal(0, 0.1), rng.normal(0, 0.1), rng.uniform(0.4, tall)
        s = rng.uniform(0.1, 0.2)
        green = (rng.uniform(0.1, 0.25), rng.uniform(0.35, 0.55), rng.uniform(0.1, 0.2))
        parts.append(solid('objects', (x - s, y - s, z - s), (x + s, y + s, z + s), green, 'noise', 'sphere'))
    return parts


def things(rng: Rng, w: float, d: float, z: float, count: int) -> list[Primitive]:
    """`count` small things or piles of books on a w × d surface at height `z`, next to each other."""
    parts: list[Primitive] = []
    slots = rng.permutation(max(int(w / 0.28), 1))[:count]
    for slot in slots:
        x = -w / 2 + 0.14 + 0.28 * slot
        y = rng.uniform(-0.5, 0.5) * max(d - 0.3, 0)
        parts += _thing(rng, min(x, w / 2 - 0.14), y, z, 0.11)
    return parts


def _thing(rng: Rng, x: float, y: float, z: float, r: float) -> list[Primitive]:
    style, colour = rng.integers(4), vivid(rng)
    if style == 0:
        r *= rng.uniform(0.6, 1)
        return [solid('objects', (x - r, y - r, z), (x + r, y + r, z + 2 * r), colour, kind='sphere', gloss=0.2)]
    if style == 1:
        r *= rng.uniform(0.4, 0.7)
        top = z + rng.uniform(0.1, 0.3)
        return [solid('objects', (x - r, y - r, z), (x + r, y + r, top), colour, kind='cylinder', gloss=0.2)]
    if style == 2:
        size = rng.uniform(0.6, 1.0, 3) * r
        return [
            solid(
                'objects', (x - size[0], y - size[1], z), (x + size[0], y + size[1], z + 2 * size[2]), colour, 'checks'
            )
        ]
    pile = int(rng.integers(2, 5))
    return [
        solid('books', (x - r, y - 0.08, z + 0.03 * k), (x + r, y + 0.08, z + 0.03 * (k + 1)), vivid(rng), 'noise')
        for k in range(pile)
    ]


def _cloth(rng: Rng) -> str:
    return str(rng.choice(['plain', 'noise', 'stripes', 'checks']))


AGAINST_WALL: tuple[Callable[[Rng], list[Primitive]], ...] = (bed, sofa, cupboard, shelf, tv_stand, desk, shelf, sofa)
FREE: tuple[Callable[[Rng], list[Primitive]], ...] = (table, chair, chair, table)
CORNER: tuple[Callable[[Rng], list[Primitive]], ...] = (lamp, plant)
