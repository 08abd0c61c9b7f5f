"""What the train step sees of a method."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array

from mtkd_jax.tasks import Task
from mtkd_jax.types import Batch, Losses, Outputs, Variables


@runtime_checkable
class Method(Protocol):
    """A method owns the trained variables and says what their losses are; it is frozen and holds no arrays.

    Variables: `{'params': {'network': ..., 'adaptors': ...}, 'batch_stats': {...}}`; the keys under `params` are the
    groups that optimisers are assigned to. `frozen`: variables of other networks that are read and never trained.
    """

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks, in the order of the loss vector."""
        ...

    @property
    def distillation_weights(self) -> Mapping[str, float]:
        """λ_t by task; empty where nothing is distilled."""
        ...

    def init(self, key: Array, image: Array) -> dict[str, Any]:
        """Fresh variables for images of the shape of `image` [b h w 3]."""
        ...

    def losses(self, variables: Variables, frozen: Variables, batch: Batch) -> tuple[Losses, Any]:
        """Losses in training mode, and the new batch statistics."""
        ...

    def predict(self, variables: Variables, image: Array) -> Outputs:
        """Outputs in evaluation mode."""
        ...

    def network_variables(self, variables: Variables) -> dict[str, Any]:
        """What the bare network is applied with: no adaptors, nothing that only training needs."""
        ...
