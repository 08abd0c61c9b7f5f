"""One task as several networks predict it: image, truth and all predictions side by side, with maps of their errors."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mtkd_jax.reporting import legend, regions
from mtkd_jax.reporting.figures import save_png
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.tiles import Tile, answers, as_bytes, enlarge, font_size, hatch, marked

WIDEST = 480  # pixels of a tile; larger pictures are thinned out, numbers and regions are not
GAP, MARGIN, DPI = 8, 14, 100
LINE = 19  # pixels, of a line of words above or below tiles
HEADING = 10  # points, of a column's name
BAR = (300, 12)  # pixels, of the colour bar
Write = Callable[..., None]  # (x, y in pixels from the upper left, words, how they look)
COLOURS = 'inferno'
TOP = 99  # percentile of all errors shown that has the last colour


class Row(NamedTuple):
    """A line of tiles, one for each column; words above the first, and below each."""

    above: str
    tiles: Sequence[Tile | None]
    below: Sequence[str] = ()

    @property
    def height(self) -> int:
        """In pixels, with its words."""
        tile = next(tile for tile in self.tiles if tile is not None)
        return LINE * bool(self.above) + tile.picture.shape[0] + LINE * any(self.below)


class Given(NamedTuple):
    """What is drawn of one task: `images` [n h w 3], `truth` [n h w c], `mask` bool [n h w 1], and by network its
    predictions [n h w c]; `names` of the images. (h = w = 1 but for images, of a task with one answer per image.)
    """

    images: np.ndarray
    names: Sequence[str]
    truth: np.ndarray
    mask: np.ndarray
    predictions: Mapping[str, np.ndarray]


def side_by_side(task: ReportedTask, given: Given, note: str, path: Path) -> Path:
    """Writes one PNG: a row per image; the image, the truth, the prediction of every network.

    Beneath a prediction stands its mean error or its share of wrong pixels, and, where the task has an `error`, a map
    of it. All networks share one scale of colours, from 0 to the 99th percentile of all errors shown. Where the truth
    is undefined, tiles are hatched. Pixels of a wrong class have black stripes; boxes: see `regions`.

    Args:
        task: which.
        given: what is shown.
        note: a text below.
        path: the file.
    """
    scale = _scale(task, given)
    rows = _answers(task, given) if task.words is not None else _pixels(task, given, scale)
    notes = [note]
    if not given.mask.all():
        notes.append('Grey hatching: truth undefined; left out of errors and of what is wrong.')
    if task.words is not None:
        notes.append('Green: right class; red: wrong.')
    else:
        notes += ['Black stripes: wrong class.'] if task.mistakes else []
        notes.append(regions.caption(task))
    return _draw(task, ['image', 'truth', *given.predictions], rows, scale, ' '.join(filter(None, notes)), path)


def _scale(task: ReportedTask, given: Given) -> float:
    """The error that has the last colour; 1 where there is nothing to show."""
    if task.error is None:
        return 1.0
    errors = [
        task.error.of(prediction, truth)[mask]
        for by_network in given.predictions.values()
        for prediction, truth, mask in zip(by_network, given.truth, given.mask, strict=True)
    ]
    found = np.concatenate(errors)
    known = found[np.isfinite(found)]
    top = float(np.percentile(known, TOP)) if known.size else 0.0
    return float(f'{top:.2g}') or 1.0


def _answers(task: ReportedTask, given: Given) -> list[Row]:
    images = [Tile(enlarge(as_bytes(_thin(image)))) for image in given.images]
    height, width, _ = images[0].picture.shape
    columns = answers(task, (height, width), given.truth, given.mask, given.predictions)
    return [Row(name, [images[i], *(tiles[i] for _, tiles in columns)]) for i, name in enumerate(given.names)]


def _pixels(task: ReportedTask, given: Given, scale: float) -> list[Row]:
    rows = []
    for i, name in enumerate(given.names):
        truth, mask = given.truth[i], given.mask[i]
        predictions = [by_network[i] for by_network in given.predictions.values()]
        shown = hatch(enlarge(task.render(_thin(truth), None)), _thin(mask))
        tiles = [Tile(enlarge(as_bytes(_thin(given.images[i])))), Tile(shown)]
        tiles += [Tile(_prediction(task, prediction, truth, mask)) for prediction in predictions]
        rows.append(Row(name, tiles, ['', '', *(_number(task, p, truth, mask) for p in predictions)]))
        if task.error is not None:
            errors = [task.error.of(prediction, truth) for prediction in predictions]
            maps = [Tile(hatch(enlarge(_colours(_thin(error) / scale)), _thin(mask))) for error in errors]
            rows.append(Row('', [None, None, *maps]))
    return rows


def _prediction(task: ReportedTask, prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    wrong = regions.wrong(task, prediction, truth, mask)
    picture = marked(task, _thin(prediction), _thin(truth), _thin(mask))
    return regions.boxed(picture, None if wrong is None else wrong[..., 0])


def _number(task: ReportedTask, prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> str:
    """The mean error of an image, or the share of it that is wrong."""
    if not mask.any():
        return 'no truth'
    if task.error is not None:
        quantity = task.error.quantity
        mean = float(np.mean(task.error.of(prediction, truth)[mask]))
        return f'mean error {mean:.{quantity.decimals}f} {quantity.unit}'.strip()
    if task.mistakes is not None:
        return f'{100 * np.mean(task.mistakes(prediction, truth)[mask]):.1f} % wrong'
    return ''


def _colours(share: np.ndarray) -> np.ndarray:
    """[h w 1] in 0..1, or above → uint8 [h w 3]; NaN has the last colour, too."""
    return (colormaps[COLOURS](np.clip(np.nan_to_num(share[..., 0], nan=1), 0, 1))[..., :3] * 255).astype(np.uint8)


def _thin(array: np.ndarray) -> np.ndarray:
    """Every n-th row and column, so that no tile is wider than `WIDEST`."""
    step = -(-array.shape[1] // WIDEST)
    return array[::step, ::step]


def _draw(task: ReportedTask, heads: Sequence[str], rows: Sequence[Row], scale: float, note: str, path: Path) -> Path:
    width = next(tile for tile in rows[0].tiles if tile is not None).picture.shape[1]
    across = len(heads) * (width + GAP) - GAP
    notes = textwrap.wrap(note, max(40, across // legend.CHARACTER))
    head = MARGIN + LINE * max(head.count('\n') + 1 for head in heads)
    bar = 0 if task.error is None else BAR[1] + 2 * LINE
    legends = legend.LINE * len(legend.lines([task], across))
    foot = MARGIN + legends + LINE * len(notes)
    size = 2 * MARGIN + across, head + sum(row.height + GAP for row in rows) + bar + foot
    canvas = np.full((size[1], size[0], 3), 255, np.uint8)
    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor='white')

    def write(x: float, y: float, words: str, **how: Any) -> None:
        figure.text(x / size[0], 1 - y / size[1], words, **how)

    for j, name in enumerate(heads):
        middle = MARGIN + j * (width + GAP) + width / 2
        points = min(HEADING, font_size(max(name.split('\n'), key=len), width))
        write(middle, head - 9, name, ha='center', va='baseline', fontsize=points, linespacing=1.2, weight='bold')
    top = head
    for row in rows:
        _paste(canvas, row, top, width, write)
        top += row.height + GAP
    # Pixel for pixel; an axes would resample.
    figure.figimage(canvas, 0, 0).set_zorder(-1)
    if task.error is not None:
        _bar(figure, task, scale, size, top)
    legend.draw(figure, [task], MARGIN, across, MARGIN + LINE * len(notes))
    for i, line in enumerate(notes):
        write(
            MARGIN, size[1] - MARGIN - LINE * (len(notes) - i - 1), line, va='bottom', fontsize=legend.FONT, color='0.3'
        )
    return save_png(figure, path, DPI)


def _paste(canvas: np.ndarray, row: Row, top: int, width: int, write: Write) -> None:
    """Puts the tiles of a row on the canvas, and its words on the figure."""
    if row.above:
        write(MARGIN, top + LINE - 5, row.above, va='bottom', fontsize=HEADING)
        top += LINE
    for j, tile in enumerate(row.tiles):
        if tile is None:
            continue
        left, (height, _, _) = MARGIN + j * (width + GAP), tile.picture.shape
        canvas[top : top + height, left : left + width] = tile.picture
        if tile.words:
            size = font_size(tile.words, width)
            write(left + width / 2, top + height / 2, tile.words, ha='center', va='center', fontsize=size)
        if any(row.below) and row.below[j]:
            write(left + width / 2, top + height + 2, row.below[j], ha='center', va='top', fontsize=legend.FONT)


def _bar(figure: Figure, task: ReportedTask, scale: float, size: tuple[int, int], top: int) -> None:
    """The scale of errors: a bar of colours with its numbers, and what it is of."""
    assert task.error is not None
    place = (MARGIN / size[0], 1 - (top + 4 + BAR[1]) / size[1], BAR[0] / size[0], BAR[1] / size[1])
    colours = ScalarMappable(Normalize(0, scale), COLOURS)
    drawn = figure.colorbar(
        colours, cax=figure.add_axes(place), orientation='horizontal', ticks=np.linspace(0, scale, 5)
    )
    drawn.ax.set_xticklabels([f'{tick:.3g}' for tick in np.linspace(0, scale, 4, endpoint=False)] + [f'≥ {scale:.3g}'])
    drawn.ax.tick_params(labelsize=legend.FONT)
    figure.text(
        (MARGIN + BAR[0] + 30) / size[0],
        1 - (top + 4 + BAR[1]) / size[1],
        f'error map: {task.error.quantity}',
        va='bottom',
        fontsize=legend.FONT,
    )
