"""Keypoints and edges: how strong a corner or an edge every pixel is, in [0, 1] (papers.md B2)."""

import numpy as np

from mtkd_jax import metrics, ops
from mtkd_jax.metrics import Quantity
from mtkd_jax.tasks import distances, gate
from mtkd_jax.tasks.base import Constant, ErrorMap, Task, carried, legend
from mtkd_jax.tasks.depth import absolute_difference, absolute_error

BIN = 0.001  # resolution of the training median
BINS = 1001
LARGE = 0.25  # errors above it are boxed in pictures


def strength(name: str, of: str) -> Task:
    """The task `name`: how strong a `of` a pixel is; targets in [0, 1], -1 where undefined; metric `<name>_abs`."""
    marks = np.linspace(0, 1, 3, dtype=np.float32)

    def render(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        picture = (np.clip(np.nan_to_num(array), 0, 1) * 255).round().astype(np.uint8).repeat(3, axis=-1)
        return picture if mask is None else np.where(mask, picture, np.uint8(0))

    def histogram(target: np.ndarray, mask: np.ndarray) -> np.ndarray:
        cells = np.minimum((target[mask] / BIN).astype(int), BINS - 1)
        return np.bincount(cells, minlength=BINS)

    def median(total: np.ndarray) -> np.ndarray:
        # Most pixels are exactly 0. The centre of the first bin is not, so there the median is taken as 0.
        found = metrics.histogram_median(total, BIN)
        return np.array([0.0 if found < BIN else found], np.float32)

    return Task(
        name=name,
        channels=1,
        value_dtype=np.float32,
        validity=lambda target: target >= 0,
        activate=ops.widened,
        loss=absolute_error,
        distances=distances.REGRESSION,
        agreement=distances.l2,
        blend=lambda a, b: (a + b) / 2,
        metrics=metrics.absolute_metrics(name, f'{of} error'),
        render=render,
        legend=legend([f'{s:g}' for s in marks], render(marks[:, None, None], None)[:, 0]),
        constant=Constant('median of the training set', f'{name}_abs', histogram, median),
        error=ErrorMap(Quantity(f'{of} error', decimals=3), absolute_difference, LARGE),
        move=carried,
        check=gate.strengths,
        scale=(0.0, 1.0),
        predicts=f'{of} strength, 0 to 1',
        loss_label=Quantity(f'{of} loss: absolute error'),
    )


def keypoints() -> Task:
    """2-D keypoints."""
    return strength('keypoints', 'keypoint')


def edges() -> Task:
    """Texture edges."""
    return strength('edges', 'edge')
