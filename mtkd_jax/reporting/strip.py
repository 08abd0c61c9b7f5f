"""One picture of an image and of all that a network says of it, quick enough for streams: pixels put side by side.

Headings, legends and colour bars are drawn once for each size of tile, and never depend on what is in the image: the
pictures of a video's frames have one size, and their colours mean the same.
"""

import functools
import math
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mtkd_jax.reporting.tiles import PLAIN, as_bytes, enlarge
from mtkd_jax.tasks import Task

WIDEST = 640  # pixels of a tile; larger images are shown at a smaller scale
MARGIN, GAP = 12, 10  # pixels around tiles, and between
LINE, FONT = 20, 13  # pixels, of a line of words and of its letters
SWATCH, SPACE, BETWEEN = 12, 5, 14  # pixels: a square of colour, from it to its word, from entry to entry
BAR, MARKS = 12, 5  # pixels of a colour bar's height; numbers below it
INK, PAPER = (30, 30, 30), (255, 255, 255)
COLOUR = 0.6  # share of a class's colour where it lies over the image
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # shares of red, green and blue

Size = tuple[int, int]


class Strip:
    """Draws an image and, to its right, the predictions of every task, a row for each branch; legends below.

    Classes lie over the image in grey. A task with one answer per image has a tile with the words. Images wider than
    `WIDEST` are reduced, small ones enlarged by a whole factor.

    Args:
        shown: what predictions are called → (branch, task).
    """

    def __init__(self, shown: Mapping[str, tuple[str, Task]]) -> None:
        self._branches = list(dict.fromkeys(branch for branch, _ in shown.values()))
        self._tasks = list({task.name: task for _, task in shown.values()}.values())
        self._shown = shown
        # FreeType's faces are not for several threads at once.
        self._lock = threading.Lock()
        self._blank = functools.lru_cache(maxsize=8)(self._drawn)
        self._spoken = functools.lru_cache(maxsize=256)(words_tile)

    def __call__(self, image: np.ndarray, predictions: Mapping[str, np.ndarray]) -> np.ndarray:
        """uint8 [H W 3] with even H and W, as encoders of videos want them.

        Args:
            image: [h w 3], uint8 or floats in [0, 1].
            predictions: by key, [h w c], or [1 1 c].
        """
        tile = fitted(as_bytes(image))
        size = tile.shape[0], tile.shape[1]
        with self._lock:
            picture = self._blank(size).copy()
        _put(picture, tile, self._place(0, 0, size))
        grey = np.dot(tile, GREY)[..., None]
        for key, (branch, task) in self._shown.items():
            if task.words is not None:
                with self._lock:
                    drawn = self._spoken(task.words(predictions[key]), size)
            else:
                drawn = fitted(task.render(predictions[key], None))
                if task.mistakes is not None:
                    drawn = (COLOUR * drawn + (1 - COLOUR) * grey).astype(np.uint8)
            _put(picture, drawn, self._place(*self._cell(branch, task), size))
        return picture

    def _cell(self, branch: str, task: Task) -> tuple[int, int]:
        """Row and column."""
        return self._branches.index(branch), 1 + [t.name for t in self._tasks].index(task.name)

    def _place(self, row: int, column: int, size: Size) -> Size:
        """The upper left corner of a tile."""
        return MARGIN + LINE + row * (size[0] + GAP + LINE), MARGIN + column * (size[1] + GAP)

    def _drawn(self, size: Size) -> np.ndarray:
        """All but the tiles."""
        legends = [legend(task, size[1]) for task in self._tasks]
        bottom, right = self._place(len(self._branches), 1 + len(self._tasks), size)
        top = bottom - LINE  # of legends
        height, width = top + max(part.height for part in legends) + MARGIN - GAP, right - GAP + MARGIN
        picture = Image.new('RGB', (width + width % 2, height + height % 2), PAPER)
        draw = ImageDraw.Draw(picture)
        _heading(draw, 'image', self._place(0, 0, size), size)
        for branch, task in self._shown.values():
            name = f'{task.name} ({branch})' if len(self._branches) > 1 else task.name
            _heading(draw, name, self._place(*self._cell(branch, task), size), size)
        for i, part in enumerate(legends):
            picture.paste(part, (self._place(0, 1 + i, size)[1], top))
        return np.asarray(picture)


def fitted(picture: np.ndarray) -> np.ndarray:
    """`picture` [h w 3] at the size of its tile: small ones enlarged by a whole factor, wide ones reduced by area."""
    height, width, _ = picture.shape
    if width <= WIDEST:
        return enlarge(picture)
    reduced = Image.fromarray(picture).resize((WIDEST, max(1, round(height * WIDEST / width))), Image.Resampling.BOX)
    return np.asarray(reduced)


def legend(task: Task, width: int) -> Image.Image:
    """What the colours of a task's picture mean, `width` pixels wide: a bar with numbers, or squares with words."""
    if task.words is not None or not task.legend:
        return Image.new('RGB', (width, 1), PAPER)
    return _bar(task, width) if task.scale is not None else _squares(task, width)


def _bar(task: Task, width: int) -> Image.Image:
    assert task.scale is not None
    least, most = task.scale
    picture = Image.new('RGB', (width, BAR + LINE), PAPER)
    numbers = np.linspace(least, most, width, dtype=np.float32)[None, :, None]
    picture.paste(Image.fromarray(task.render(numbers.repeat(BAR, axis=0), None)))
    draw = ImageDraw.Draw(picture)
    for i in range(MARKS):
        share = i / (MARKS - 1)
        word = f'{least + share * (most - least):.3g}' + (f' {task.unit}' if task.unit and i == MARKS - 1 else '')
        # The outer ones stay inside.
        left = share * (width - font().getlength(word)) if i in (0, MARKS - 1) else share * width
        draw.text((left, BAR + 2), word, INK, font(), anchor='la' if i in (0, MARKS - 1) else 'ma')
    return picture


def _squares(task: Task, width: int) -> Image.Image:
    placed: list[tuple[float, int, str, tuple[int, int, int]]] = []
    left, line = 0.0, 0
    for word, colour in task.legend:
        short = shortened(word, width - SWATCH - SPACE)
        needed = SWATCH + SPACE + font().getlength(short)
        if left and left + needed > width:
            left, line = 0.0, line + 1
        placed.append((left, line, short, colour))
        left += needed + BETWEEN
    picture = Image.new('RGB', (width, (line + 1) * LINE), PAPER)
    draw = ImageDraw.Draw(picture)
    for x, row, word, colour in placed:
        y = row * LINE
        draw.rectangle((x, y + 2, x + SWATCH - 1, y + 1 + SWATCH), fill=colour)
        draw.text((x + SWATCH + SPACE, y), word, INK, font())
    return picture


def words_tile(words: str, size: Size) -> np.ndarray:
    """A tile of height and width `size` with `words` in the middle, as large as fits."""
    height, width = size
    picture = Image.new('RGB', (width, height), PLAIN)
    letters = min(height // 2, math.floor(FONT * 0.9 * width / max(font().getlength(words), 1)))
    shown, face = (words, font(letters)) if letters >= FONT else (shortened(words, width), font())
    ImageDraw.Draw(picture).text((width / 2, height / 2), shown, INK, face, anchor='mm')
    return np.asarray(picture)


def shortened(words: str, width: float) -> str:
    """`words`, or as much of their beginning as fits into `width` pixels, and an ellipsis."""
    if font().getlength(words) <= width:
        return words
    return next(
        (f'{words[:n]}…' for n in range(len(words) - 1, 0, -1) if font().getlength(f'{words[:n]}…') <= width), '…'
    )


@functools.lru_cache(maxsize=64)
def font(pixels: int = FONT) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib."""
    import matplotlib  # here, because most commands draw nothing

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')), pixels)


def _heading(draw: ImageDraw.ImageDraw, words: str, place: Size, size: Size) -> None:
    top, left = place
    draw.text((left + size[1] / 2, top - LINE + 1), shortened(words, size[1]), INK, font(), anchor='ma')


def _put(picture: np.ndarray, tile: np.ndarray, place: Size) -> None:
    top, left = place
    picture[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
