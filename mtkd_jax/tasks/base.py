"""What a task is: a frozen bundle of functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array

from mtkd_jax.metrics import Metrics, Quantity
from mtkd_jax.tasks.gate import Check, typed
from mtkd_jax.types import Target
from mtkd_jax.views import View

Loss = Callable[[Array, Array, Array], Array]
Legend = tuple[tuple[str, tuple[int, int, int]], ...]


@dataclass(frozen=True)
class ErrorMap:
    """How far off a prediction is at every pixel, for pictures.

    Attributes:
        quantity: what it is called, its unit and decimals.
        of: (prediction [h w c], target [h w k]) → error [h w 1], 0 where it is right; read where the target is defined.
        large: errors above it are boxed.
    """

    quantity: Quantity
    of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    large: float


@dataclass(frozen=True)
class Task:
    """One prediction task: dense, or one answer per image (then h = w = 1 below).

    Attributes:
        name: the task's key in batches, predictions and configs.
        channels: channels of the network's raw output.
        value_dtype: type of the target's values in a batch.
        validity: target [b h w k] → mask [b h w 1], true where the target is defined (papers.md E's conventions).
        activate: raw output [b h w channels] → prediction [b h w channels], float32 at least.
        loss: (prediction, target, mask) → scalar; a mean over defined pixels, 0 when there are none.
        distances: how far two predictions (student, teacher; [b h w channels]) are apart, by name → [b h w 1].
        agreement: the distance or share that is logged of two branches; (student, teacher) → [b h w 1].
        blend: the mean of two predictions, itself a prediction (Jha et al. 2020, eq. 6).
        metrics: the task's metrics (papers.md C).
        render: (array [h w c], mask [h w 1] or None) → uint8 picture [h w 3], of a prediction or a target.
        mistakes: (prediction [h w c], target [h w k]) → bool [h w 1], true where it is wrong; None for tasks that
            are never simply right or wrong.
        error: how far off a prediction is at every pixel; None for tasks that draw no such map.
        words: a prediction [1 1 channels] or a target [1 1 1] of an image in words; None for dense tasks.
        legend: what colours in such a picture mean: (words, (red, green, blue) in 0..255).
        scale: the least and the most number that has a colour of its own in pictures of one channel; None for others.
        constant: sums a training set's targets into a constant prediction (see `Constant`).
        move: (target, view) → the target of the images in that view; None where a part of an image, or its mirror
            image, may have another answer than the image.
        check: what is wrong with a target's values as they are given, None where nothing is (see `tasks.gate`).
        unit: of the target's values, '' where they have none.
        predicts: what the numbers of a prediction are, in words, for programs that are exported.
        class_weighted: weights [classes] → a loss for training, in which a pixel counts as the weight of its true
            class; None for tasks without classes. Who replaces `loss` replaces this, too.
        loss_label: what reports call the loss; None: '<name> loss'.
        agreement_unit: what `agreement` is counted in, for reports.
    """

    name: str
    channels: int
    value_dtype: Any
    validity: Callable[[Any], Any]
    activate: Callable[[Array], Array]
    loss: Loss
    distances: Mapping[str, Callable[[Array, Array], Array]]
    agreement: Callable[[Array, Array], Array]
    blend: Callable[[Array, Array], Array]
    metrics: Metrics
    render: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    legend: Legend
    constant: 'Constant'
    mistakes: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    error: ErrorMap | None = None
    words: Callable[[np.ndarray], str] | None = None
    move: Callable[[Target, View], Target] | None = None
    check: Check = typed
    unit: str = ''
    scale: tuple[float, float] | None = None
    predicts: str = ''
    class_weighted: Callable[[np.ndarray], Loss] | None = None
    loss_label: Quantity | None = None
    agreement_unit: str = 'L2'


def carried(target: Target, view: View) -> Target:
    """`target` in `view`.

    Each new pixel takes value and mask of one old pixel, because the mean of two labels is not a label.
    """
    return Target(view.nearest(target.value), view.nearest(target.mask))


def legend(words: Sequence[str], colours: np.ndarray) -> Legend:
    """`words` with their `colours`, uint8 [words 3]."""
    return tuple((word, (int(r), int(g), int(b))) for word, (r, g, b) in zip(words, colours, strict=True))


@dataclass(frozen=True)
class Constant:
    """A constant predictor that a learned network must beat, from training targets alone.

    `statistic(target [h w k], mask [h w 1])` → additive array for one example; `value(sum)` → prediction [channels];
    `describes`: what it is, for reports; `metric`: the metric it is judged by.
    """

    describes: str
    metric: str
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
