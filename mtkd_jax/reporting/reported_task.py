"""All that reports know of a task."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from mtkd_jax.metrics import Metrics, Quantity
from mtkd_jax.tasks.base import ErrorMap


@runtime_checkable
class ReportedTask(Protocol):
    """All that reports know of a task."""

    @property
    def name(self) -> str:
        """Its key in results and predictions."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Which results are its own, what they are called, and which way they improve."""
        ...

    @property
    def loss_label(self) -> Quantity | None:
        """What its loss is called; None: '<name> loss'."""
        ...

    @property
    def agreement_unit(self) -> str:
        """What the agreement of student and teacher is counted in."""
        ...

    @property
    def legend(self) -> Sequence[tuple[str, tuple[int, int, int]]]:
        """What the colours of its pictures mean."""
        ...

    @property
    def mistakes(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
        """(prediction [h w c], target [h w k]) → bool [h w 1], where it is wrong; or None."""
        ...

    @property
    def error(self) -> ErrorMap | None:
        """How far off a prediction is at every pixel; None where there is no such map."""
        ...

    @property
    def words(self) -> Callable[[np.ndarray], str] | None:
        """What a prediction [1 1 c] or target [1 1 1] says of the whole image; None where there are pixels to show."""
        ...

    def render(self, array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """(array [h w c], mask [h w 1] or None) → uint8 picture [h w 3]."""
        ...
