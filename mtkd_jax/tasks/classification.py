"""Classification of whole images: cross-entropy on log-softmax scores, one answer per image (papers.md A4).

An image is a picture of 1×1 pixels here: predictions are [b 1 1 classes], class ids [b 1 1 1], and the mask is false
for an image that carries no label of the task.
"""

from collections.abc import Sequence

import jax
import numpy as np

from mtkd_jax import metrics, ops
from mtkd_jax.tasks import distances, gate
from mtkd_jax.tasks.base import Constant, Task
from mtkd_jax.tasks.segmentation import (
    SAME_CLASS,
    SCORES,
    cross_entropy,
    cross_entropy_label,
    palette,
    same_class,
    weighted_cross_entropy,
)


def classification(name: str, classes: int, names: Sequence[str] = (), title: str = '') -> Task:
    """The task `name`; targets are class ids 0..classes-1, -1 where the image carries no label of it.

    Metric `<name>_accuracy`. `names` (of the classes): for pictures. `title`: what reports call the task, by default
    `name`.

    Raises:
        ValueError: there are names, but not one for every class.
    """
    if names and len(names) != classes:
        raise ValueError(f'{len(names)} names for {classes} classes of {name}.')
    accuracy = f'{name}_accuracy'

    def class_id(array: np.ndarray) -> int:
        """Of a prediction [1 1 classes] or a target [1 1 1]."""
        return int(array.ravel()[0]) if array.shape[-1] == 1 else int(np.argmax(array))

    def words(array: np.ndarray) -> str:
        found = class_id(array)
        return names[found] if names else f'class {found}'

    def render(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        picture = palette(classes)[np.clip(class_id(array), 0, classes - 1)][None, None]
        return picture if mask is None else np.where(mask, picture, np.uint8(0))

    def mistakes(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.argmax(prediction, axis=-1, keepdims=True) != target

    return Task(
        name=name,
        channels=classes,
        value_dtype=np.int32,
        validity=lambda target: target >= 0,
        activate=lambda raw: jax.nn.log_softmax(ops.widened(raw)),
        loss=cross_entropy,
        distances=distances.CLASSES,
        agreement=same_class,
        blend=distances.mean_score,
        metrics=metrics.classification_metrics(accuracy, f'{title or name} accuracy'),
        render=render,
        legend=(),
        constant=Constant(
            'majority class of the training set',
            accuracy,
            lambda target, mask: np.bincount(target[mask].astype(int), minlength=classes),
            lambda total: np.eye(classes, dtype=np.float32)[int(np.argmax(total))],
        ),
        mistakes=mistakes,
        words=words,
        check=gate.class_ids(classes),
        class_weighted=weighted_cross_entropy,
        predicts=SCORES,
        loss_label=cross_entropy_label(title or name),
        agreement_unit=SAME_CLASS,
    )
