"""All that reports know of a task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class HasDirections(Protocol):
    """A task's metrics: name → +1 where higher is better, -1 where lower is."""

    @property
    def directions(self) -> Mapping[str, int]:
        """Those that enter Δm."""
        ...

    @property
    def beside(self) -> Mapping[str, int]:
        """Those that are shown only."""
        ...


@runtime_checkable
class ReportedTask(Protocol):
    """All that reports know of a task."""

    @property
    def name(self) -> str:
        """Its key in results and predictions."""
        ...

    @property
    def metrics(self) -> HasDirections:
        """Which results are its own, and which way they improve."""
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
    def words(self) -> Callable[[np.ndarray], str] | None:
        """What a prediction [1 1 c] or target [1 1 1] says of the whole image; None where there are pixels to show."""
        ...

    def render(self, array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """(array [h w c], mask [h w 1] or None) → uint8 picture [h w 3]."""
        ...
