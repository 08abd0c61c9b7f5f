"""What a weighting is."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from jaxtyping import Array


def _nothing(state: Any) -> dict[str, Array]:
    return {}


class Weighting(NamedTuple):
    """A pair of pure functions.

    `init(num_tasks)` → state; `update(state, losses [T], gramian [T T] or None)` → (weights [T], state).
    """

    init: Callable[..., Any]
    update: Callable[[Any, Array, Array | None], tuple[Array, Any]]
    needs: Literal['losses', 'gramian', 'gradients'] = 'losses'
    report: Callable[[Any], dict[str, Array]] = _nothing
