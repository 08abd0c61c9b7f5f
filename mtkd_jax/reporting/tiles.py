"""The squares that a panel of predictions is made of, and those that hold words instead of a picture."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mtkd_jax.reporting.reported_task import ReportedTask

TILE = 240  # width in pixels that small pictures are enlarged to
STRIPE = 6  # pixels
DARK, LIGHT = np.uint8(120), np.uint8(190)
PLAIN, RIGHT, WRONG = (240, 240, 240), (205, 235, 205), (250, 205, 205)
LARGEST = 36  # points


class Tile(NamedTuple):
    """`picture` uint8 [h w 3], and the words in the middle of it."""

    picture: np.ndarray
    words: str = ''


Column = tuple[str, list[Tile]]


def answers(
    task: ReportedTask,
    size: tuple[int, int],
    truth: np.ndarray,
    mask: np.ndarray,
    predictions: Mapping[str, np.ndarray],
) -> list[Column]:
    """Columns of a task that says one thing of an image: the truth, and each of `predictions`, right or wrong.

    `size`: height and width of the tiles in pixels; arrays are [n 1 1 c].
    """
    words, mistakes = task.words, task.mistakes
    assert words is not None
    assert mistakes is not None

    def tile(colour: tuple[int, int, int], text: str) -> Tile:
        return Tile(np.full((*size, 3), colour, np.uint8), text)

    def judged(prediction: np.ndarray, target: np.ndarray, known: np.ndarray) -> Tile:
        colour = (WRONG if mistakes(prediction, target).any() else RIGHT) if known.any() else PLAIN
        return tile(colour, words(prediction))

    true = [
        tile(PLAIN, words(t)) if m.any() else Tile(hatch(tile(PLAIN, '').picture, m))
        for t, m in zip(truth, mask, strict=True)
    ]
    columns: list[Column] = [(f'{task.name}\ntruth', true)]
    for source, predicted in predictions.items():
        column = [judged(p, t, m) for p, t, m in zip(predicted, truth, mask, strict=True)]
        columns.append((f'{task.name}\n{source}', column))
    return columns


def as_bytes(image: np.ndarray) -> np.ndarray:
    """An image of floats in [0, 1], or of uint8, as uint8."""
    if image.dtype == np.uint8:
        return image
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def enlarge(picture: np.ndarray) -> np.ndarray:
    """Whole-number enlargement to about `TILE` pixels wide: every pixel of the data stays a sharp square."""
    factor = max(1, round(TILE / picture.shape[1]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def marked(task: ReportedTask, prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture of a prediction, enlarged; black stripes where it is wrong, so that its class can still be seen."""
    picture = enlarge(task.render(prediction, None))
    if task.mistakes is None:
        return picture
    wrong = enlarge(mask & task.mistakes(prediction, truth))
    row, column = np.indices(wrong.shape[:2])
    stripe = np.asarray((row - column) % STRIPE < STRIPE // 2)[..., None]
    return np.where(wrong & stripe, np.uint8(0), picture)


def hatch(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`picture` (enlarged) with grey diagonal stripes where `mask` [h w 1] (not enlarged) is false."""
    across, down = picture.shape[1] // mask.shape[1], picture.shape[0] // mask.shape[0]
    defined = mask.repeat(down, axis=0).repeat(across, axis=1)
    row, column = np.indices(defined.shape[:2])
    stripes = np.where((row + column) // STRIPE % 2, DARK, LIGHT)[..., None]
    return np.where(defined, picture, stripes).astype(np.uint8)


def font_size(words: str, width: int) -> float:
    """Points that let `words` fit into `width` pixels (100 per inch)."""
    return min(LARGEST, 1.1 * width / max(len(words), 1))
