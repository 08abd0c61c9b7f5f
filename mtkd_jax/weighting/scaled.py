"""Task losses in other units: constant factors in front of any weighting (w_t of papers.md A3)."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting.base import Weighting


def scaled(weighting: Weighting, factors: Sequence[float]) -> Weighting:
    """`weighting` for the losses f_t ℓ_t, in the order of the tasks; all weights then stand for ℓ_t itself.

    A factor of 0 takes its task out: the weighting is told that it has no label.

    Raises:
        ValueError: at `init`, when there is not one factor for every task.
    """

    def init(num_tasks: int, *rest: int) -> Any:
        if num_tasks != len(factors):
            raise ValueError(f'`factors` has {len(factors)} entries for {num_tasks} tasks; give one per task.')
        return weighting.init(num_tasks, *rest)

    def update(state: Any, losses: Float[Array, 't'], derived: Any, labelled: Bool[Array, 't']) -> tuple[Array, Any]:
        f = jnp.asarray(factors, losses.dtype)
        seen = labelled & (f != 0)
        if weighting.needs == 'gradients':
            return weighting.update(state, f * losses, f[:, None] * derived, seen)
        products = None if derived is None else jnp.outer(f, f) * derived
        weights, state = weighting.update(state, f * losses, products, seen)
        return f * weights, state

    def report(state: Any) -> dict[str, Array]:
        found = weighting.report(state)
        return found | {'weight': jnp.asarray(factors) * found['weight']} if 'weight' in found else found

    return weighting._replace(init=init, update=update, report=report, factors=tuple(factors))
