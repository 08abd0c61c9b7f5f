"""What the train step sees of a method."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import optax
from jaxtyping import Array

from mtkd_jax import distill, ops
from mtkd_jax.tasks import Task
from mtkd_jax.types import Batch, Features, Losses, Outputs, Variables, feature_of


class Mixture(NamedTuple):
    """`labels`: factor of the weighted task losses; `distillation`: λ_t by task, empty where nothing is distilled."""

    labels: Array | float
    distillation: Mapping[str, Array | float]


def feature_similarity(own: Features, taught: Mapping[str, Features]) -> dict[str, Array]:
    """`cka/<task>/<point>` of a network's features and those of the teacher of every task.

    Of two sizes, the larger map is brought to the smaller.
    """

    def alike(task: str, point: str) -> Array:
        maps = [feature_of(task, point, features) for features in (own, taught[task])]
        height, width = min((x.shape[1:3] for x in maps), key=math.prod)
        return ops.linear_cka(*(distill.resized(x, (height, width)).reshape(-1, x.shape[-1]) for x in maps))

    return {f'cka/{task}/{point}': alike(task, point) for task in taught for point in taught[task] if point in own}


@runtime_checkable
class Method(Protocol):
    """A method owns the trained variables and says what their losses are; it is frozen and holds no arrays.

    Variables: `{'params': {'network': ..., 'adaptors': ...}, 'batch_stats': {...}}`; the keys under `params` are the
    groups that optimisers are assigned to. `frozen`: variables of other networks that are read and never trained.
    `taught`: what these say of a batch's images (`teach`).
    """

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks, in the order of the loss vector."""
        ...

    def mixture(self, progress: Array) -> Mixture:
        """How labels and teachers are mixed after a share `progress` (scalar, 0 to 1) of the training."""
        ...

    def init(self, key: Array, image: Array) -> dict[str, Any]:
        """Fresh variables for images of the shape of `image` [b h w 3]."""
        ...

    @property
    def teaches_one_by_one(self) -> bool:
        """Whether what `teach` says of an image depends on that image alone, and so can be computed once and kept."""
        ...

    def teach(self, frozen: Variables, image: Array) -> Any:
        """What the frozen networks say of images [b h w 3]: a tree of arrays [b ...], empty where there are none.

        No gradient reaches the frozen networks.
        """
        ...

    def teachers_in(self, dtype: Any) -> 'Method':
        """The same method, its frozen networks computing in `dtype`; itself where they cannot, or there are none."""
        ...

    def losses(self, variables: Variables, taught: Any, batch: Batch) -> tuple[Losses, Any]:
        """Losses in training mode, and the new batch statistics; `taught`: what `teach` says of the batch's images."""
        ...

    def predict(self, variables: Variables, image: Array) -> Outputs:
        """Outputs in evaluation mode."""
        ...

    def shared_shift(self, image: Array) -> Any:
        """Zeros that are added to the shared feature map of a network for `image` [b h w 3].

        Passed as `variables['perturbations']`, they make the gradient with respect to that feature map available.
        Empty where the backbone has no feature map that all tasks read (`SHARED_FEATURE`).
        """
        ...

    def similarity(self, variables: Variables, frozen: Variables, image: Array) -> dict[str, Array]:
        """`cka/<task>/<point>`: how alike network and teacher represent images; empty where there is no teacher."""
        ...

    def shared(self, path: tuple[str, ...]) -> bool:
        """Whether the parameter at `path` (of `variables['params']`) is one that all tasks share."""
        ...

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """Optimisers of groups beside `network`, by group; they follow no learning-rate schedule of the run."""
        ...

    def network_variables(self, variables: Variables) -> dict[str, Any]:
        """What the bare network is applied with: no adaptors, nothing that only training needs."""
        ...
