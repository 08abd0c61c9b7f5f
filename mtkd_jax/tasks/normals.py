"""Surface normals: cosine loss on unit vectors (papers.md B2, A6)."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mtkd_jax import metrics, ops
from mtkd_jax.metrics import Quantity
from mtkd_jax.tasks import distances, gate
from mtkd_jax.tasks.base import Constant, ErrorMap, Task, legend
from mtkd_jax.types import Target
from mtkd_jax.views import View

PLAIN_AXES = {'+x': (1, 0, 0), '-x': (-1, 0, 0), '+y': (0, 1, 0), '-y': (0, -1, 0), '+z': (0, 0, 1), '-z': (0, 0, -1)}
AXES = {'right': (1, 0, 0), 'left': (-1, 0, 0), 'towards the viewer': (0, -1, 0), 'up': (0, 0, 1), 'down': (0, 0, -1)}

LARGE = 30.0  # degrees, the widest angle of the metrics; errors above it are boxed in pictures


def cosine_loss(
    prediction: Float[Array, 'b h w 3'], target: Float[Array, 'b h w 3'], mask: Bool[Array, 'b h w 1']
) -> Float[Array, '']:
    """1 - mean cosine over defined pixels (the paper's -(y·ŷ) up to a constant); 0 when none is defined."""
    disagreement = 1.0 - jnp.sum(prediction * target, axis=-1, keepdims=True)
    return ops.masked_mean(disagreement, mask)


def moved(target: Target, view: View) -> Target:
    """`target` in `view`: the mean direction of the defined normals around; a flip turns left into right.

    Undefined where at most half of the weight lies on defined pixels, and where opposite normals cancel.
    """
    value = view.bilinear(jnp.where(target.mask, target.value, 0.0))
    # Normals that were not blended keep their length, and with it every bit.
    value = jnp.where(view.scale[:, None, None, None] > 1, ops.unit_normalise(value), value)
    mirrored = value * jnp.asarray([-1.0, 1.0, 1.0])
    value = jnp.where(view.flip[:, None, None, None], mirrored, value)
    mask = (view.bilinear(target.mask.astype(value.dtype)) > 0.5) & defined(value)
    return Target(jnp.where(mask, value, 0.0), mask)


def angle(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Degrees between normals of any length [h w 3] → [h w 1]; 90 where one of them is 0."""
    lengths = np.linalg.norm(prediction, axis=-1) * np.linalg.norm(target, axis=-1)
    cosine = np.sum(prediction * target, axis=-1) / np.maximum(lengths, 1e-12)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))[..., None]


def defined(target: Any) -> Any:
    """Where [b h w 3] is a normal → [b h w 1]: any channel is not 0."""
    # Testing the sum would be wrong: (1, -1, 0)/√2 is a normal. NumPy's `any` over so short an axis takes six times as
    # long.
    return (target[..., :1] != 0) | (target[..., 1:2] != 0) | (target[..., 2:] != 0)


def normals(renormalise_blend: bool = False, axes: Mapping[str, tuple[int, int, int]] = AXES) -> Task:
    """The normals task; targets are unit vectors (x right, y away from the viewer, z up), 0 where undefined.

    `axes`: what directions are called in pictures' legends, where a data set has others. `renormalise_blend`: whether
    the mean of two predictions is brought to unit length; eq. 6 as printed does not.
    """

    def render(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        picture = (np.clip(np.nan_to_num((array + 1) / 2), 0, 1) * 255).astype(np.uint8)
        return picture if mask is None else np.where(mask, picture, np.uint8(0))

    def total(target: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.asarray(np.sum(np.where(mask, target, 0), axis=(0, 1), dtype=np.float64))

    return Task(
        name='normals',
        channels=3,
        value_dtype=np.float32,
        validity=defined,
        activate=lambda raw: ops.unit_normalise(ops.widened(raw)),
        loss=cosine_loss,
        distances=distances.REGRESSION,
        agreement=distances.l2,
        blend=lambda a, b: ops.unit_normalise((a + b) / 2) if renormalise_blend else (a + b) / 2,
        metrics=metrics.normals_metrics(),
        render=render,
        legend=legend(list(axes), render(np.array(list(axes.values()))[:, None], None)[:, 0]),
        constant=Constant(
            'mean normal of the training set',
            'normal_mean',
            total,
            lambda total: (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32),
        ),
        error=ErrorMap(Quantity('angle to the true normal', '°', 1), angle, LARGE),
        move=moved,
        check=gate.directions,
        predicts='unit vector: x right, y away from the viewer, z up',
        loss_label=Quantity('normals loss: 1 - cosine'),
    )
