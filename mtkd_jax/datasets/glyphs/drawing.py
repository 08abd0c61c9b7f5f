"""One glyph as a mask of coverage, placed and bent."""

import functools
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

EM = 72  # pixels a glyph is drawn at before it is placed


@functools.lru_cache(maxsize=1024)
def glyph(text: str, font: str) -> np.ndarray:
    """`text` in the DejaVu font `font`, float32 coverage 0..1, square, the glyph centred and as large as fits."""
    import matplotlib  # here, because glyphs that are rendered already need no fonts

    face = ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', f'{font}.ttf')), EM)
    left, top, right, bottom = face.getbbox(text)
    side = int(np.ceil(max(right - left, bottom - top)))
    picture = Image.new('L', (side, side))
    corner = ((side - right - left) / 2, (side - bottom - top) / 2)
    ImageDraw.Draw(picture).text(corner, text, fill=255, font=face)
    return np.asarray(picture.resize((EM, EM), Image.Resampling.BOX), np.float32) / 255


def sample(mask: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`mask` [EM EM] at coordinates in units of its half side (-1 to 1, 0 the centre); 0 outside; bilinear."""
    padded = np.pad(mask, 1)
    row = np.clip((y + 1) * EM / 2 + 0.5, 0, EM + 0.999)
    column = np.clip((x + 1) * EM / 2 + 0.5, 0, EM + 0.999)
    i, j = row.astype(int), column.astype(int)
    v, u = row - i, column - j
    upper = padded[i, j] * (1 - u) + padded[i, j + 1] * u
    lower = padded[i + 1, j] * (1 - u) + padded[i + 1, j + 1] * u
    return upper * (1 - v) + lower * v


def smooth_noise(rng: np.random.Generator, cells: int, size: tuple[int, int]) -> np.ndarray:
    """Smooth noise of `cells`×`cells` random values, about -1 to 1, as `size` (height, width)."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) of pixel centres in units of half the shorter side, (0, 0) the middle."""
    half = min(height, width) / 2
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return (y - height / 2) / half, (x - width / 2) / half


def affine(rng: np.random.Generator, scale: float, turn: float, shear: float, stretch: float) -> np.ndarray:
    """A matrix [2 2] from places in the picture (y, x) to places in the glyph, which is about `scale` of its size.

    Turned by a normal angle of `turn` degrees, sheared by a normal `shear`, and one side longer by a factor that is
    log-normal with `stretch`.
    """
    angle = np.deg2rad(rng.normal(0, turn))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sheared = np.array([[1.0, 0.0], [rng.normal(0, shear), 1.0]])
    longer = np.exp(rng.normal(0, stretch))
    return turned @ sheared @ np.diag([longer, 1 / longer]) / scale


def thicken(coverage: np.ndarray, level: float) -> np.ndarray:
    """Soft coverage with its edge moved: strokes are thicker for a `level` below 0.5, thinner above."""
    return np.clip((coverage - level) * 3 + 0.5, 0, 1)
