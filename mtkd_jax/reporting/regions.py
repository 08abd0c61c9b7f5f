"""Where a prediction is wrong in large pieces, and boxes around these."""

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from mtkd_jax.reporting.reported_task import ReportedTask

MOST = 3  # boxes in a picture
LEAST = 0.01  # of the pixels of the image that a region has
LINES = (0, 255, 255, 0)  # the lines of a box, a pixel each, from outside: black, white, white, black

Region = tuple[slice, slice]


def wrong(
    task: ReportedTask, prediction: np.ndarray, truth: np.ndarray, mask: Bool[np.ndarray, 'h w 1']
) -> Bool[np.ndarray, 'h w 1'] | None:
    """Where a prediction is of a wrong class, or further off than `task.error` calls large; None: there is neither.

    An error that is NaN is large.
    """
    if task.mistakes is not None:
        return mask & task.mistakes(prediction, truth)
    return None if task.error is None else mask & ~(task.error.of(prediction, truth) <= task.error.large)


def largest(where: Bool[np.ndarray, 'h w']) -> list[Region]:
    """The boxes around the largest connected regions of `where` (pixels that share a side), the largest first.

    At most `MOST`, and none of fewer pixels than `LEAST` of all. Of equal ones the upper, then the left.
    """
    labels, _ = ndimage.label(where)
    sizes = np.bincount(labels.ravel())[1:]
    chosen = [i for i in np.argsort(-sizes, kind='stable')[:MOST] if sizes[i] >= LEAST * where.size]
    boxes = ndimage.find_objects(labels)
    return [boxes[i] for i in chosen]


def boxed(picture: UInt8[np.ndarray, 'h w 3'], where: Bool[np.ndarray, 'a b'] | None) -> UInt8[np.ndarray, 'h w 3']:
    """`picture` with boxes around the regions of `where`, which may have another size; None: as it is."""
    if where is None:
        return picture
    height, width = picture.shape[:2]
    down, across = height / where.shape[0], width / where.shape[1]
    drawn = picture.copy()
    for rows, columns in reversed(largest(where)):
        top, bottom = _around(rows, down, height)
        left, right = _around(columns, across, width)
        for line, colour in enumerate(LINES):
            drawn[[top + line, bottom - line - 1], left + line : right - line] = colour
            drawn[top + line : bottom - line, [left + line, right - line - 1]] = colour
    return drawn


def _around(where: slice, scale: float, end: int) -> tuple[int, int]:
    """From where to where a box around `where`, enlarged by `scale`, goes within 0..`end`; with room for its lines."""
    first, last = max(round(where.start * scale) - len(LINES), 0), min(round(where.stop * scale) + len(LINES), end)
    return min(first, end - 2 * len(LINES)), max(last, 2 * len(LINES))


def caption(task: ReportedTask) -> str:
    """What the boxes are, in a sentence; '' of a task without."""
    if task.mistakes is not None:
        of = 'of a wrong class'
    elif task.error is not None:
        unit = f' {task.error.quantity.unit}' if task.error.quantity.unit else ''
        of = f'with an error above {task.error.large:g}{unit}'
    else:
        return ''
    return f'Boxes: the largest connected regions {of}; at most {MOST}, each at least {100 * LEAST:g} % of the image.'
