"""Procedural textures: functions of a point on a surface, so that a scene looks the same at every size."""

from collections.abc import Callable

import numpy as np

Points = np.ndarray  # [n 2] metres along the surface
Mix = np.ndarray  # [n] in [0, 1]: 0 is a texture's colour, 1 its accent

_TABLE = np.random.default_rng(20).uniform(size=(64, 64)).astype(np.float32)


def noise(points: Points, scale: float) -> Mix:
    """Smooth value noise with features of about `scale` metres."""
    p = points / np.float32(scale) + 100
    cell = np.floor(p).astype(np.int32)
    f = p - cell
    f = f * f * (3 - 2 * f)
    x, y = cell[:, 0] & 63, cell[:, 1] & 63
    x1, y1 = (x + 1) & 63, (y + 1) & 63
    low = _TABLE[x, y] * (1 - f[:, 0]) + _TABLE[x1, y] * f[:, 0]
    high = _TABLE[x, y1] * (1 - f[:, 0]) + _TABLE[x1, y1] * f[:, 0]
    return low * (1 - f[:, 1]) + high * f[:, 1]


def _plain(p: Points) -> Mix:
    return 0.25 * noise(p, 0.4)


def _noise(p: Points) -> Mix:
    return 0.6 * noise(p, 0.05) + 0.4 * noise(p, 0.2)


def _wood(p: Points) -> Mix:
    grain = p * np.array([1.0, 9.0], np.float32)
    return np.clip(0.5 + 0.5 * np.sin(9 * noise(grain, 0.8) + 2 * grain[:, 1]), 0, 1) * 0.7


def _planks(p: Points) -> Mix:
    row = np.floor(p[:, 1] / 0.14)
    tone = np.mod(row * 0.618, 1.0)
    joint = np.mod(p[:, 0] + row * 0.37, 1.1) < 0.012
    seam = np.mod(p[:, 1], 0.14) < 0.008
    return np.where(joint | seam, 1.0, 0.45 * tone + 0.35 * _wood(p))


def _tiles(p: Points) -> Mix:
    seam = (np.mod(p, 0.33) < 0.012).any(axis=1)
    tone = np.mod(np.floor(p[:, 0] / 0.33) * 0.37 + np.floor(p[:, 1] / 0.33) * 0.71, 1.0)
    return np.where(seam, 1.0, 0.3 * tone)


def _carpet(p: Points) -> Mix:
    return 0.5 * noise(p, 0.02) + 0.5 * noise(p, 0.5)


def _stripes(p: Points) -> Mix:
    return (np.mod(p[:, 0], 0.16) < 0.07).astype(np.float32)


def _checks(p: Points) -> Mix:
    return np.mod(np.floor(p[:, 0] / 0.07) + np.floor(p[:, 1] / 0.07), 2)


def _wallpaper(p: Points) -> Mix:
    return 0.8 * (np.mod(p[:, 0], 0.3) < 0.15) + 0.2 * noise(p, 0.05)


def _drawers(p: Points) -> Mix:
    z = np.mod(p[:, 1], 0.26)
    handle = (np.abs(z - 0.13) < 0.012) & (np.abs(np.mod(p[:, 0] + 0.3, 0.6) - 0.3) < 0.07)
    return np.where((z < 0.012) | handle, 1.0, 0.4 * _wood(p))


def _doors(p: Points) -> Mix:
    seam = np.mod(p[:, 0], 0.45) < 0.012
    panel = (np.abs(np.mod(p[:, 0], 0.45) - 0.225) > 0.16) & (np.abs(np.mod(p[:, 1], 0.95) - 0.475) < 0.4)
    return np.where(seam, 1.0, np.where(panel, 0.35, 0.1) + 0.25 * _wood(p))


def _books(p: Points) -> Mix:
    """A mix per book spine; `colour` spreads it over hues."""
    return np.mod(np.floor(p[:, 0] / 0.035) * 0.618, 1.0)


def _painting(p: Points) -> Mix:
    return np.clip(1.6 * noise(p, 0.22) - 0.3 + 0.3 * noise(p, 0.06), 0, 1)


def _sky(p: Points) -> Mix:
    # A hedge below the sky.
    return np.where(p[:, 1] < 1.25 + 0.12 * noise(p, 0.12), 0.6 + 0.4 * noise(p, 0.05), 0.15 * noise(p, 0.4))


def _screen(p: Points) -> Mix:
    return 0.2 * noise(p, 0.5)


_TEXTURES: dict[str, Callable[[Points], Mix]] = {
    'plain': _plain,
    'glow': _plain,
    'noise': _noise,
    'wood': _wood,
    'planks': _planks,
    'tiles': _tiles,
    'carpet': _carpet,
    'stripes': _stripes,
    'checks': _checks,
    'wallpaper': _wallpaper,
    'drawers': _drawers,
    'doors': _doors,
    'books': _books,
    'painting': _painting,
    'sky': _sky,
    'screen': _screen,
}


def paint(
    texture: str, points: Points, colour: tuple[float, float, float], accent: tuple[float, float, float]
) -> np.ndarray:
    """Surface colours [n 3] in [0, 1] at `points`."""
    mix = _TEXTURES[texture](points.astype(np.float32)).astype(np.float32)[:, None]
    if texture == 'books':
        hue = 2 * np.pi * (mix * 0.55 + np.array([0, 1 / 3, 2 / 3], np.float32) + colour[0])
        tone = 0.25 + 0.3 * np.mod(7 * mix, 1)
        return np.clip(tone * (1 + 0.55 * np.cos(hue)), 0.03, 1)
    return (1 - mix) * np.asarray(colour, np.float32) + mix * np.asarray(accent, np.float32)
