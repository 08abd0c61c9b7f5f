"""Semantic segmentation: pixel-wise cross-entropy on log-softmax scores (papers.md B2, A6)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax import metrics, ops
from mtkd_jax.metrics import Quantity
from mtkd_jax.tasks import distances, gate
from mtkd_jax.tasks.base import Constant, Loss, Task, carried, legend

SAME_CLASS = 'same class'  # what `same_class` counts
SCORES = 'natural logarithm of the probability of every class; the largest is the class that is predicted'
# matplotlib's tab20, tab20b and tab20c, written out: it takes long to import, and most who make tasks draw nothing.
# Even entries of tab20 first: neighbours in the class list then differ in hue, not only in lightness.
COLOURS = bytes.fromhex(
    '1f77b4 ff7f0e 2ca02c d62728 9467bd 8c564b e377c2 7f7f7f bcbd22 17becf aec7e8 ffbb78 '
    '98df8a ff9896 c5b0d5 c49c94 f7b6d2 c7c7c7 dbdb8d 9edae5 393b79 5254a3 6b6ecf 9c9ede '
    '637939 8ca252 b5cf6b cedb9c 8c6d31 bd9e39 e7ba52 e7cb94 843c39 ad494a d6616b e7969c '
    '7b4173 a55194 ce6dbd de9ed6 3182bd 6baed6 9ecae1 c6dbef e6550d fd8d3c fdae6b fdd0a2 '
    '31a354 74c476 a1d99b c7e9c0 756bb1 9e9ac8 bcbddc dadaeb 636363 969696 bdbdbd d9d9d9'
)


def cross_entropy(
    prediction: Float[Array, 'b h w c'], target: Int[Array, 'b h w 1'], mask: Bool[Array, 'b h w 1']
) -> Float[Array, '']:
    """Mean negative log-likelihood (nats) of the true class over defined pixels; `prediction`: log-probabilities."""
    return ops.masked_mean(_surprise(prediction, target, mask), mask)


def weighted_cross_entropy(weights: Float[np.ndarray, 'c']) -> Loss:
    """`cross_entropy` in which a pixel counts as the weight of its true class: Σ w_y (-ln p_y) / Σ w_y."""

    def loss(
        prediction: Float[Array, 'b h w c'], target: Int[Array, 'b h w 1'], mask: Bool[Array, 'b h w 1']
    ) -> Float[Array, '']:
        of_pixels = jnp.asarray(weights)[jnp.where(mask, target, 0)]
        return ops.weighted_mean(_surprise(prediction, target, mask), of_pixels, mask)

    return loss


def _surprise(prediction: Array, target: Array, mask: Array) -> Array:
    """-ln p of the true class of every pixel; any number where it is undefined."""
    chosen = jnp.where(mask, target, 0)
    return -jnp.take_along_axis(prediction, chosen, axis=-1, mode='clip')


def cross_entropy_label(title: str) -> Quantity:
    """The name of the `cross_entropy` of the task called `title`."""
    return Quantity(f'{title} loss: cross-entropy', 'nats')


def same_class(a: Float[Array, 'b h w c'], b: Float[Array, 'b h w c']) -> Float[Array, 'b h w 1']:
    """1 where two predictions name the same class, 0 elsewhere."""
    return (jnp.argmax(a, axis=-1, keepdims=True) == jnp.argmax(b, axis=-1, keepdims=True)).astype(jnp.float32)


def palette(classes: int) -> np.ndarray:
    """`classes` colours, uint8 [classes 3]; the first 60 are distinguishable."""
    return np.resize(np.frombuffer(COLOURS, np.uint8).reshape(-1, 3), (classes, 3))


def segmentation(classes: int = 13, names: Sequence[str] = ()) -> Task:
    """The segmentation task; targets are class ids 0..classes-1, -1 where void. `names` (of the classes): for
    pictures and reports.

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
        activate=lambda raw: jax.nn.log_softmax(ops.widened(raw)),
        loss=cross_entropy,
        distances=distances.CLASSES,
        agreement=same_class,
        blend=distances.mean_score,
        metrics=metrics.segmentation_metrics(classes, names),
        render=render,
        legend=legend(names or [str(i) for i in range(classes)], colours),
        constant=Constant('majority class of the training set', 'pixel_accuracy', counts, majority),
        mistakes=mistakes,
        move=carried,
        check=gate.class_ids(classes),
        class_weighted=weighted_cross_entropy,
        predicts=SCORES,
        loss_label=cross_entropy_label('segmentation'),
        agreement_unit=SAME_CLASS,
    )
