"""Writing pictures, whole or not at all, without pyplot's global state."""

import os
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def save_png(figure: Figure, path: Path, dpi: int) -> Path:
    """Writes `figure` to `path` as PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.tmp')
    FigureCanvasAgg(figure)
    figure.savefig(partial, dpi=dpi, format='png')
    os.replace(partial, path)
    return path
