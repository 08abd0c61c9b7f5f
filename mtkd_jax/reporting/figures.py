"""Writing pictures, whole or not at all, without pyplot's global state."""

import io
import os
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mtkd_jax.places import Stored


def save_png(figure: Figure, path: Path, dpi: int) -> Path:
    """Writes `figure` to `path` as PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    if isinstance(path, Stored):
        content = io.BytesIO()
        figure.savefig(content, dpi=dpi, format='png')
        path.write_bytes(content.getvalue())
        return path
    partial = path.with_name(path.name + '.tmp')
    figure.savefig(partial, dpi=dpi, format='png')
    os.replace(partial, path)
    return path
