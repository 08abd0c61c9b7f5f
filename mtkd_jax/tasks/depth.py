"""Depth estimation: mean absolute error in metres (papers.md B2), or of inverse depth (papers.md C: Cityscapes)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtkd_jax import metrics, ops
from mtkd_jax.metrics import Quantity
from mtkd_jax.tasks import distances, gate
from mtkd_jax.tasks.base import Constant, ErrorMap, Task, carried, legend
from mtkd_jax.types import Target
from mtkd_jax.views import View

LARGE = 20  # an error of more than one `LARGE`-th of `maximum` is boxed in pictures
BINS = 100_000  # of the training median's histogram; ten times `maximum` fit in
# Of the legend, from the nearest to the farthest: what `render` gives, without matplotlib, which takes long to import.
COLOURS = bytes.fromhex('7a0402 fb8022 a1fc3d 2ab9ed 30123b')
INVERSE_COLOURS = bytes.fromhex('30123b 28bbeb a4fc3b fa7d20 7a0402')


def absolute_error(
    prediction: Float[Array, 'b h w 1'], target: Float[Array, 'b h w 1'], mask: Bool[Array, 'b h w 1']
) -> Float[Array, '']:
    """Mean absolute error over defined pixels, in the target's unit."""
    return ops.masked_mean(jnp.abs(prediction - target), mask)


def absolute_difference(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How far off every pixel is, in the target's unit."""
    return np.abs(prediction - target)


def nearer(target: Target, view: View) -> Target:
    """Metres in `view`: the depth divided by `scale`.

    In one camera, an object that looks `scale` times as large is `scale` times nearer.
    """
    value, mask = carried(target, view)
    return Target(value / view.scale[:, None, None, None], mask)


def nearer_inverse(target: Target, view: View) -> Target:
    """Inverse depth, or disparity, in `view`: times `scale`, because depth is divided by it.

    Dividing disparity by the scale, as some code for Cityscapes does, is wrong: enlarged objects would move away.
    """
    value, mask = carried(target, view)
    return Target(value * view.scale[:, None, None, None], mask)


def depth(maximum: float = 10.0, inverse: bool = False) -> Task:
    """The depth task; targets in metres along the optical axis, 0 where undefined.

    `inverse`: targets are inverse depth or disparity instead, in the data's own unit, 0 where undefined. `maximum`, in
    the target's unit, scales pictures (in which errors above a twentieth of it are boxed), and the training median is
    found to a ten-thousandth of it. Targets in metres whose median is above 100 m, or `maximum` where that is more, are
    refused: they are probably in millimetres.
    """

    def render(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        from matplotlib import colormaps  # here, because most who import tasks draw nothing

        colours = colormaps['turbo' if inverse else 'turbo_r']  # what is near is red
        picture = (colours(np.clip(array[..., 0] / maximum, 0, 1))[..., :3] * 255).astype(np.uint8)
        return picture if mask is None else np.where(mask, picture, np.uint8(0))

    width = maximum / 10_000

    def histogram(target: np.ndarray, mask: np.ndarray) -> np.ndarray:
        cells = np.minimum((target[mask] / width).astype(int), BINS - 1)
        return np.bincount(cells, minlength=BINS)

    marks = np.linspace(0, maximum, 5)
    colours = np.frombuffer(INVERSE_COLOURS if inverse else COLOURS, np.uint8).reshape(5, 3)

    return Task(
        name='depth',
        channels=1,
        value_dtype=np.float32,
        validity=lambda target: target > 0,
        activate=ops.widened,
        loss=absolute_error,
        distances=distances.REGRESSION,
        agreement=distances.l2,
        blend=lambda a, b: (a + b) / 2,
        metrics=metrics.depth_metrics(inverse),
        render=render,
        legend=legend([f'{mark:.3g}' if inverse else f'{mark:.3g} m' for mark in marks], colours),
        constant=Constant(
            f'median {"inverse depth" if inverse else "depth"} of the training set',
            'inverse_depth_rel' if inverse else 'depth_rel',
            histogram,
            lambda total: np.array([metrics.histogram_median(total, width)], np.float32),
        ),
        error=ErrorMap(
            Quantity('inverse depth error' if inverse else 'depth error', '' if inverse else 'm', 3),
            absolute_difference,
            maximum / LARGE,
        ),
        move=nearer_inverse if inverse else nearer,
        check=gate.depths(np.inf if inverse else max(gate.FARTHEST, maximum)),
        unit='' if inverse else 'm',
        scale=(0.0, maximum),
        predicts="inverse depth, in the data's own unit" if inverse else 'depth',
        loss_label=Quantity('depth loss: absolute error'),
    )
