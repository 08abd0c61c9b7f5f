"""What the colours of a panel mean, in lines of swatches and words below the pictures."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mtkd_jax.reporting.reported_task import ReportedTask

LINE = 20  # pixels from line to line
SWATCH = 12  # pixels, the side of a square of colour
SPACE = 5  # pixels between a square and its word
BETWEEN = 16  # pixels between entries
CHARACTER = 7  # pixels; about the widest mean width of a character at this size
FONT = 9  # points

Entry = tuple[str, tuple[int, int, int] | None]  # a word and its colour; a task's name has none


def lines(tasks: Sequence[ReportedTask], width: int) -> list[list[tuple[int, Entry]]]:
    """The legends of `tasks` as lines of (pixels from the left, entry); each task that has
    one begins a line, long ones go on.
    """
    result: list[list[tuple[int, Entry]]] = []
    for task in (task for task in tasks if task.legend):
        indent = _width((task.name, None))
        line: list[tuple[int, Entry]] = [(0, (task.name, None))]
        left = indent
        for entry in task.legend:
            if left + _width(entry) > width and left > indent:
                result.append(line)
                line, left = [], indent
            line.append((left, entry))
            left += _width(entry)
        result.append(line)
    return result


def _width(entry: Entry) -> int:
    word, colour = entry
    # Names of tasks are bold.
    return len(word) * (CHARACTER if colour else CHARACTER + 2) + BETWEEN + (SWATCH + SPACE if colour else 0)


def draw(figure: Figure, tasks: Sequence[ReportedTask], left: int, width: int, bottom: int) -> None:
    """Draws the lines of `tasks` on `figure`, the last one `bottom` pixels above its lower edge."""
    across, up = figure.get_size_inches() * figure.dpi
    for i, line in enumerate(reversed(lines(tasks, width))):
        y = bottom + i * LINE
        for offset, (word, colour) in line:
            x = left + offset
            if colour:
                fill = tuple(c / 255 for c in colour)
                square = Rectangle((x / across, y / up), SWATCH / across, SWATCH / up, transform=figure.transFigure)
                square.set(facecolor=fill, linewidth=0)
                figure.add_artist(square)
                x += SWATCH + SPACE
            weight = 'normal' if colour else 'bold'
            figure.text(x / across, (y + 1) / up, word, ha='left', va='bottom', fontsize=FONT, weight=weight)
