"""Omniglot-like characters: dark strokes on white, a class per character."""

import numpy as np
from PIL import Image, ImageFilter

from mtkd_jax.datasets.glyphs import drawing
from mtkd_jax.datasets.glyphs.classes import CHARACTERS

FONT = 'DejaVuSans'
OVERSAMPLING = 2


def render_character(seed: int, label: int, variation: int, height: int, width: int) -> np.ndarray:
    """Character `label`, drawn for the `variation`-th time: uint8 [height width 3]."""
    rng = np.random.default_rng([seed, 1, label, variation])
    size = height * OVERSAMPLING, width * OVERSAMPLING
    y, x = drawing.grid(*size)
    matrix = drawing.affine(rng, scale=rng.uniform(0.55, 0.8), turn=8, shear=0.15, stretch=0.1)
    place = np.stack([y - rng.normal(0, 0.08), x - rng.normal(0, 0.08)])
    y, x = np.einsum('ij,jhw->ihw', matrix, place)
    # A hand's wobble: the glyph's own coordinates are bent.
    y = y + 0.16 * drawing.smooth_noise(rng, 4, size)
    x = x + 0.16 * drawing.smooth_noise(rng, 4, size)
    coverage = drawing.thicken(drawing.sample(drawing.glyph(CHARACTERS[label], FONT), y, x), rng.uniform(0.35, 0.75))
    ink = 255 * (1 - coverage * rng.uniform(0.8, 1.0))
    picture = Image.fromarray(ink.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    small = np.asarray(picture.resize((width, height), Image.Resampling.BOX), np.float32)
    noisy = np.clip(small + rng.normal(0, 4, small.shape), 0, 255).astype(np.uint8)
    return np.repeat(noisy[..., None], 3, axis=-1)
