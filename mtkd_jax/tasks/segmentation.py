"""Semantic segmentation: pixel-wise cross-entropy on log-softmax scores (papers.md B2, A6)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax import metrics, ops
from mtkd_jax.metrics import Quantity
from mtkd_jax.tasks import distances, gate
from mtkd_jax.tasks.base import Constant, Task, carried, legend

SAME_CLASS = 'same class'  # what `same_class` counts


def cross_entropy(
    prediction: Float[Array, 'b h w c'], target: Int[Array, 'b h w 1'], mask: Bool[Array, 'b h w 1']
) -> Float[Array, '']:
    """Mean negative log-likelihood (nats) of the true class over defined pixels; `prediction`: log-probabilities."""
    chosen = jnp.where(mask, target, 0)
    likelihood = jnp.take_along_axis(prediction, chosen, axis=-1, mode='clip')
    return ops.masked_mean(-likelihood, mask)


def cross_entropy_label(title: str) -> Quantity:
    """The name of the `cross_entropy` of the task called `title`."""
    return Quantity(f'{title} loss: cross-entropy', 'nats')


def same_class(a: Float[Array, 'b h w c'], b: Float[Array, 'b h w c']) -> Float[Array, 'b h w 1']:
    """1 where two predictions name the same class, 0 elsewhere."""
    return (jnp.argmax(a, axis=-1, keepdims=True) == jnp.argmax(b, axis=-1, keepdims=True)).astype(jnp.float32)


def palette(classes: int) -> np.ndarray:
    """`classes` distinguishable colours, uint8 [classes 3]."""
    from matplotlib import colormaps  # here, because most who import tasks draw nothing

    maps = [colormaps[name] for name in ('tab20', 'tab20b', 'tab20c')]
    # Even entries of the paired map first: neighbours in the class list then differ in hue, not only in lightness.
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    colours = [maps[0](i)[:3] for i in order]
    colours += [m(i)[:3] for m in maps[1:] for i in range(20)]
    while len(colours) < classes:
        colours += colours
    return (np.array(colours[:classes]) * 255).astype(np.uint8)


def segmentation(classes: int = 13, names: Sequence[str] = ()) -> Task:
    """The segmentation task; targets are class ids 0..classes-1, -1 where void. `names` (of the classes): for pictures.

    Raises:
        ValueError: there are names, but not one for every class.
    """
    if names and len(names) != classes:
        raise ValueError(f'{len(names)} names for {classes} classes: {names}.')
    colours = palette(classes)

    def render(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        ids = array[..., 0].astype(int) if array.shape[-1] == 1 else np.argmax(array, axis=-1)
        picture = colours[np.clip(ids, 0, classes - 1)]
        return picture if mask is None else np.where(mask, picture, np.uint8(0))

    def mistakes(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.argmax(prediction, axis=-1, keepdims=True) != target

    def counts(target: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.bincount(target[mask].astype(int), minlength=classes)

    def majority(total: np.ndarray) -> np.ndarray:
        return np.eye(classes, dtype=np.float32)[int(np.argmax(total))]

    return Task(
        name='segmentation',
        channels=classes,
        value_dtype=np.int32,
        validity=lambda target: target >= 0,
        activate=lambda raw: jax.nn.log_softmax(raw.astype(jnp.float32)),
        loss=cross_entropy,
        distances=distances.CLASSES,
        agreement=same_class,
        blend=distances.mean_score,
        metrics=metrics.segmentation_metrics(classes),
        render=render,
        legend=legend(names or [str(i) for i in range(classes)], colours),
        constant=Constant('majority class of the training set', 'pixel_accuracy', counts, majority),
        mistakes=mistakes,
        move=carried,
        check=gate.class_ids(classes),
        loss_label=cross_entropy_label('segmentation'),
        agreement_unit=SAME_CLASS,
    )
