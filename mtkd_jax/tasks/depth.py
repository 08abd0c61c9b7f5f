"""Depth estimation: mean absolute error in metres (spec B2)."""

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Bool, Float

from mtkd_jax import metrics, ops
from mtkd_jax.tasks import distances
from mtkd_jax.tasks.base import Constant, Task, legend

BIN = 0.001  # metres; resolution of the training median
BINS = 100_000  # up to 100 m


def absolute_error(
    prediction: Float[Array, 'b h w 1'], target: Float[Array, 'b h w 1'], mask: Bool[Array, 'b h w 1']
) -> Float[Array, '']:
    """Mean absolute error over defined pixels, in the target's unit."""
    return ops.masked_mean(jnp.abs(prediction - target), mask)


def depth(maximum: float = 10.0) -> Task:
    """The depth task; targets in metres along the optical axis, 0 where undefined. `maximum` only scales pictures."""
    colours = matplotlib.colormaps['turbo_r']

    def render(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        picture = (colours(np.clip(array[..., 0] / maximum, 0, 1))[..., :3] * 255).astype(np.uint8)
        return picture if mask is None else np.where(mask, picture, np.uint8(0))

    def histogram(target: np.ndarray, mask: np.ndarray) -> np.ndarray:
        cells = np.minimum((target[mask] / BIN).astype(int), BINS - 1)
        return np.bincount(cells, minlength=BINS)

    marks = np.linspace(0, maximum, 5)

    return Task(
        name='depth',
        channels=1,
        value_dtype=np.float32,
        validity=lambda target: target > 0,
        activate=lambda raw: raw.astype(jnp.float32),
        loss=absolute_error,
        distances=distances.REGRESSION,
        agreement=distances.l2,
        blend=lambda a, b: (a + b) / 2,
        metrics=metrics.depth_metrics(),
        render=render,
        legend=legend([f'{z:g} m' for z in marks], render(marks[:, None, None], None)[:, 0]),
        constant=Constant(
            'median depth of the training set',
            'depth_rel',
            histogram,
            lambda total: np.array([metrics.histogram_median(total, BIN)], np.float32),
        ),
    )
