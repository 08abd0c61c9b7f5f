"""Pictures of predictions beside the truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mtkd_jax.reporting import legend
from mtkd_jax.reporting.figures import save_png
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.tiles import Column, Tile, answers, as_bytes, enlarge, font_size, hatch, marked
from mtkd_jax.types import MAIN, STUDENT, TEACHER, UserError

GAP = 8  # pixels between pictures
MARGIN = 14
HEAD = 78  # pixels for the labels above
DPI = 100

ByTask = Mapping[str, np.ndarray]


def prediction_panel(
    images: np.ndarray,
    truths: ByTask,
    masks: ByTask,
    predictions: Mapping[str, ByTask],
    tasks: Sequence[ReportedTask],
    path: Path,
    title: str = '',
) -> Path:
    """Writes one PNG: a row per example; image, then per task the truth and a prediction for every branch.

    Pixels of a wrong class have black stripes. Of a task with one answer per image (`words`) truth and prediction are
    words.

    Args:
        images: [n h w 3], floats in [0, 1] or uint8.
        truths: task → [n h w c], h = w = 1 for a task with `words`.
        masks: task → bool [n h w 1]; where false, the truth is undefined and drawn hatched.
        predictions: branch → task → [n h w c]; without any, the picture shows the data alone.
        tasks: what is shown, in this order.
        path: the file.
        title: a line above.

    Raises:
        UserError: a task lacks its truth, mask or prediction, or sizes differ.
    """
    _check(images, truths, masks, predictions, tasks)
    columns: list[Column] = [('image', [Tile(enlarge(as_bytes(image))) for image in images])]
    for task in tasks:
        if task.words is not None:
            height, width, _ = columns[0][1][0].picture.shape
            columns += answers(task, (height, width), truths[task.name], masks[task.name], _by_place(predictions, task))
            continue
        truth = [task.render(value, None) for value in truths[task.name]]
        hatched = [hatch(enlarge(p), m) for p, m in zip(truth, masks[task.name], strict=True)]
        columns.append((f'{task.name}\ntruth', [Tile(picture) for picture in hatched]))
        for source, predicted in _by_place(predictions, task).items():
            rendered = [
                Tile(marked(task, value, truth, mask))
                for value, truth, mask in zip(predicted, truths[task.name], masks[task.name], strict=True)
            ]
            columns.append((f'{task.name}\n{source}', rendered))
    notes = []
    if any(not np.all(masks[task.name]) for task in tasks):
        notes.append('Grey hatching: truth undefined; left out of losses and metrics.')
    if predictions and any(task.mistakes and task.words is None for task in tasks):
        notes.append('Black stripes: wrong class.')
    if predictions and any(task.words for task in tasks):
        notes.append('Green: right class; red: wrong.')
    return _draw(columns, tasks, path, title, ' '.join(notes))


def _by_place(predictions: Mapping[str, ByTask], task: ReportedTask) -> dict[str, np.ndarray]:
    """The predictions of `task` by what to call them, in the order of `_place`."""
    ordered = sorted(predictions, key=_place)
    return {('prediction' if b == MAIN else f'prediction ({b})'): predictions[b][task.name] for b in ordered}


def _place(branch: str) -> tuple[int, str]:
    """Student before teacher, as the papers set them; others after."""
    order = (MAIN, STUDENT, TEACHER)
    return order.index(branch) if branch in order else len(order), branch


def _check(
    images: np.ndarray,
    truths: ByTask,
    masks: ByTask,
    predictions: Mapping[str, ByTask],
    tasks: Sequence[ReportedTask],
) -> None:
    if images.ndim != 4 or not len(images):
        raise UserError(f'`images` is {images.shape}; give [n h w 3] with at least one image.')
    given = {'truths': truths, 'masks': masks, **{f'predictions[{b!r}]': p for b, p in predictions.items()}}
    for name, by_task in given.items():
        for task in tasks:
            if task.name not in by_task:
                raise UserError(f'`{name}` has no {task.name!r}; it has {", ".join(by_task) or "nothing"}.')
            shape = by_task[task.name].shape
            if shape[:3] != (images.shape[:3] if task.words is None else (len(images), 1, 1)):
                raise UserError(
                    f'`{name}` of {task.name!r} is {shape}, the images {images.shape}; n, h and w must agree.'
                )


def _draw(
    columns: Sequence[Column],
    tasks: Sequence[ReportedTask],
    path: Path,
    title: str,
    note: str,
) -> Path:
    height, width, _ = columns[0][1][0].picture.shape
    count = len(columns[0][1])
    across = len(columns) * (width + GAP) - GAP
    head = HEAD if title else HEAD - 30
    below = legend.LINE if note else 0
    foot = 2 * MARGIN + legend.LINE * len(legend.lines(tasks, across)) + below
    total = (2 * MARGIN + across, head + count * (height + GAP) - GAP + foot)
    figure = Figure(figsize=(total[0] / DPI, total[1] / DPI), dpi=DPI, facecolor='white')
    for j, (name, tiles) in enumerate(columns):
        left = MARGIN + j * (width + GAP)
        for i, tile in enumerate(tiles):
            bottom = total[1] - (head + i * (height + GAP)) - height
            # figimage draws pixel for pixel; an axes would resample.
            figure.figimage(tile.picture, left, bottom)
            if tile.words:
                middle = (left + width / 2) / total[0], (bottom + height / 2) / total[1]
                figure.text(*middle, tile.words, ha='center', va='center', fontsize=font_size(tile.words, width))
        centre, base = (left + width / 2) / total[0], 1 - (head - 9) / total[1]
        figure.text(centre, base, name, ha='center', va='baseline', fontsize=10, linespacing=1.25)
    if title:
        figure.text(MARGIN / total[0], 1 - 8 / total[1], title, ha='left', va='top', fontsize=12, weight='bold')
    legend.draw(figure, tasks, MARGIN, across, MARGIN + below)
    if note:
        figure.text(
            MARGIN / total[0], MARGIN / total[1], note, ha='left', va='bottom', fontsize=legend.FONT, color='0.3'
        )
    return save_png(figure, path, DPI)
