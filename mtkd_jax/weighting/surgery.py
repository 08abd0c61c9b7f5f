"""PCGrad and GradVac: every task's gradient is corrected against the others, one by one in random order.

PCGrad: where the corrected gradient v of task i conflicts with g_j (v·g_j < 0), its part along g_j is removed. GradVac:
where its cosine φ with g_j is below the running mean ρ_ij, as much of g_j is added as brings it to ρ_ij,
‖v‖ (ρ √(1−φ²) − φ √(1−ρ²)) / (‖g_j‖ √(1−ρ²)); then ρ_ij ← (1−β) ρ_ij + β φ. The direction is the sum of all v.

v stays a combination of the task gradients, so both are coefficients over the Gramian: w is the sum of the rows of
coefficients. T. Yu et al., "Gradient Surgery for Multi-Task Learning", 2020; Z. Wang, Y. Tsvetkov, O. Firat, Y. Cao,
"Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively Multilingual Models", 2021.

Need the Gramian. The order is drawn anew for every task and step from `seed` and the step, which is (with ρ [T, T])
the state. The authors of PCGrad correct each parameter tensor of some networks apart, those of GradVac compare by
layer; here gradients are of all shared parameters. A zero gradient corrects nothing, is not corrected, and weighs 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mtkd_jax.weighting.base import Weighting, check_part, full_precision
from mtkd_jax.weighting.cosines import Cosines, cosines


class Vaccine(NamedTuple):
    """`step`: updates so far, `target`: ρ, row i for task i."""

    step: Int[Array, '']
    target: Float[Array, 't t']


def pcgrad(*, seed: int = 0) -> Weighting:
    """`seed`: of the order of the tasks."""

    def against(dot: Array, norm: Array, target: Array) -> tuple[Array, Array]:
        return jnp.maximum(-dot, 0.0), target

    @full_precision
    def update(
        state: Int[Array, ''], losses: Float[Array, 't'], gramian: Float[Array, 't t']
    ) -> tuple[Array, Int[Array, '']]:
        weights, _ = correct(cosines(gramian), jnp.zeros_like(gramian), draw(seed, state), against)
        return weights, state + 1

    return Weighting(lambda num_tasks: jnp.zeros((), jnp.int32), update, needs='gramian')


def gradvac(*, beta: float = 1e-2, seed: int = 0) -> Weighting:
    """`beta`: part of the new cosine in the running mean (paper). `seed`: of the order of the tasks."""
    check_part('beta', beta)

    def against(dot: Array, norm: Array, target: Array) -> tuple[Array, Array]:
        cosine = jnp.clip(dot / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny), -1.0, 1.0)
        # Parallel gradients have ρ = 1; the floor is the square of float32's resolution of an angle.
        sine = jnp.sqrt(jnp.maximum(1 - target**2, 1e-6))
        added = norm * (target * jnp.sqrt(1 - cosine**2) - cosine * sine) / sine
        return jnp.where(cosine < target, added, 0.0), (1 - beta) * target + beta * cosine

    @full_precision
    def update(state: Vaccine, losses: Float[Array, 't'], gramian: Float[Array, 't t']) -> tuple[Array, Vaccine]:
        weights, target = correct(cosines(gramian), state.target, draw(seed, state.step), against)
        return weights, Vaccine(state.step + 1, target)

    def init(num_tasks: int) -> Vaccine:
        return Vaccine(jnp.zeros((), jnp.int32), jnp.zeros((num_tasks, num_tasks)))

    return Weighting(init, update, needs='gramian')


def draw(seed: int, step: Int[Array, '']) -> Array:
    """The key of a step."""
    return jax.random.fold_in(jax.random.key(seed), step)


def correct(
    parts: Cosines,
    targets: Float[Array, 't t'],
    key: Array,
    against: Callable[[Array, Array, Array], tuple[Array, Array]],
) -> tuple[Float[Array, 't'], Float[Array, 't t']]:
    """(weights, new targets). `against`: (v·ĝ_j, ‖v‖, target) → (length of ĝ_j to add to v, new target)."""
    number = len(parts.length)

    def one(i: Array, target: Array, key: Array) -> tuple[Array, Array]:
        """Lengths of the corrected unit gradient i along the unit gradients."""

        def visit(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            lengths, target = carry
            image = parts.cosine @ lengths
            norm = jnp.sqrt(jnp.maximum(lengths @ image, 0.0))
            added, moved = against(image[j], norm, target[j])
            meets = (j != i) & parts.moves[i] & parts.moves[j]
            return lengths.at[j].add(jnp.where(meets, added, 0.0)), target.at[j].set(jnp.where(meets, moved, target[j]))

        order = jnp.argsort(jax.random.uniform(key, (number,)))
        start = jnp.zeros(number).at[i].set(1.0)
        return jax.lax.fori_loop(0, number, lambda k, carry: visit(order[k], carry), (start, target))

    lengths, targets = jax.vmap(one)(jnp.arange(number), targets, jax.random.split(key, number))
    return parts.length @ lengths / parts.length, targets
