"""SVHN-like digits: one in the middle, parts of others at its sides, before a texture."""

import numpy as np
from PIL import Image, ImageFilter

from mtkd_jax.datasets.glyphs import drawing
from mtkd_jax.datasets.glyphs.classes import DIGITS

FONTS = (
    'DejaVuSans',
    'DejaVuSans-Bold',
    'DejaVuSans-Oblique',
    'DejaVuSansMono',
    'DejaVuSansMono-Bold',
    'DejaVuSerif',
    'DejaVuSerif-Bold',
    'DejaVuSerif-Italic',
)
NEIGHBOUR = 0.7  # how often there is another digit at a side
CONTRAST = 30  # the least difference in brightness between digit and background, of 255


def render_digit(seed: int, index: int, height: int, width: int) -> np.ndarray:
    """Digit `index` % 10, uint8 [height width 3]."""
    rng = np.random.default_rng([seed, 0, index])
    background, ink = _colours(rng)
    picture = background + _texture(rng, height, width)
    y, x = drawing.grid(height, width)
    font = FONTS[rng.integers(len(FONTS))]
    matrix = drawing.affine(rng, scale=rng.uniform(0.5, 1.0), turn=10, shear=0.2, stretch=0.15)
    middle = rng.normal(0, 0.12, 2)
    for side in (0, -1, 1):
        shown = str(index % 10) if side == 0 else DIGITS[rng.integers(10)]
        gap = side * rng.uniform(1.2, 1.6)
        if side and rng.uniform() > NEIGHBOUR:
            continue
        # A number's digits stand on one line, in one font and colour, turned alike.
        place = np.einsum('ij,jhw->ihw', matrix, np.stack([y - middle[0], x - middle[1] - gap]))
        coverage = drawing.sample(drawing.glyph(shown, font), *place)[..., None]
        picture = picture * (1 - coverage) + ink * coverage
    light = 1 + 0.4 * drawing.smooth_noise(rng, 2, (height, width))[..., None]
    picture = np.clip(picture * light, 0, 255).astype(np.uint8)
    blurred = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 1.2)))
    noise = rng.normal(0, rng.uniform(2, 14), picture.shape)
    return np.clip(np.asarray(blurred) + noise, 0, 255).astype(np.uint8)


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Colours of background and digit, 0..255, that differ in brightness."""
    while True:
        background, ink = rng.uniform(20, 235, (2, 3)) * 0.5 + rng.uniform(20, 235, (2, 1)) * 0.5
        if abs(background.mean() - ink.mean()) > CONTRAST:
            return background, ink


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Blotches, grain and, sometimes, stripes: [height width 3], about -50 to 50."""
    size = height, width
    blotches = 25 * drawing.smooth_noise(rng, int(rng.integers(3, 9)), size)
    grain = 10 * drawing.smooth_noise(rng, min(size) // 2, size)
    y, x = drawing.grid(*size)
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(4, 14)
    stripes = rng.choice([0, 0, 20]) * np.sin(pitch * (np.cos(angle) * y + np.sin(angle) * x))
    tint = rng.uniform(0.6, 1.4, 3)
    return (blotches + grain + stripes)[..., None] * tint
