"""The few data types that all subpackages share."""

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Num

from mtkd_jax.errors import UserError as UserError

Variables = Mapping[str, Any]
"""A Flax variable tree: `{'params': ..., 'batch_stats': ...}`."""

MAIN = 'main'
"""The branch of a network that has only one."""

TEACHER, STUDENT, ENSEMBLE = 'teacher', 'student', 'ensemble'
"""The branches of a self-distilled network; `ensemble` is the mean of the other two branches' predictions."""


class Target(NamedTuple):
    """What a task should predict, and where that is defined.

    `value`: class ids int32 (of pixels, or [b 1 1 1] of images), depth metres, normals unit vectors. `mask`: true where
    `value` counts; false at void or undefined pixels and over the whole of a padding example or an image without a
    label. (On the host: NumPy arrays.)
    """

    value: Num[Array, 'b h w c']
    mask: Bool[Array, 'b h w 1']

    @property
    def labelled(self) -> Bool[Array, 'b 1 1 1']:
        """Which images carry a label of the task at all."""
        return self.mask.any(axis=(1, 2, 3), keepdims=True)


class Batch(NamedTuple):
    """One batch: `image` in [0, 1] and a `Target` per task."""

    image: Float[Array, 'b h w 3']
    targets: dict[str, Target]


Batches = Generator[Batch, None, None]
"""Batches one after the other; closing it ends the threads and processes that read ahead."""

Features = dict[str, Float[Array, '...'] | dict[str, Float[Array, '...']]]
"""By distillation point: one map [b h w c] that all tasks share, or one for each task."""


class Outputs(NamedTuple):
    """What a network returns: predictions per branch and task (float32), and the features that distillation reads."""

    predictions: dict[str, dict[str, Float[Array, 'b h w c']]]
    features: Features


def feature_of(task: str, point: str, features: Features) -> Float[Array, 'b h w c']:
    """The feature map that `task` is predicted from, at `point`."""
    found = features[point]
    return found[task] if isinstance(found, dict) else found


class Losses(NamedTuple):
    """What a method minimises: one unweighted scalar per task; `distillation` is empty where nothing is distilled.

    `diagnostics`: further numbers that are logged and not minimised.
    """

    task: dict[str, Float[Array, '']]
    distillation: dict[str, Float[Array, '']]
    diagnostics: dict[str, Float[Array, '']]
