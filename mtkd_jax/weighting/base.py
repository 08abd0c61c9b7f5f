"""What a weighting is."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array


class Weighting(NamedTuple):
    """A pair of pure functions.

    `init(num_tasks)` → state; `update(state, losses [T], gramian [T T] or None)` → (weights [T], state).
    """

    init: Callable[[int], Any]
    update: Callable[[Any, Array, Array | None], tuple[Array, Any]]
