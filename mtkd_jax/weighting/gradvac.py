"""GradVac: every task's gradient is turned until its cosines with the others are what they usually are.

The others are visited one by one in random order, as in PCGrad. v is the corrected gradient of task i. Where its cosine
φ with g_j is below the running mean ρ_ij, as much of g_j is added as brings it to ρ_ij:
‖v‖ (ρ √(1−φ²) − φ √(1−ρ²)) / (‖g_j‖ √(1−ρ²)). Then ρ_ij ← (1−β) ρ_ij + β φ. The direction is the sum of all v.

Z. Wang, Y. Tsvetkov, O. Firat, Y. Cao, "Gradient Vaccine: Investigating and Improving Multi-task Optimization in
Massively Multilingual Models", 2021. Needs the Gramian.

The authors compare gradients by layer; here one gradient holds all shared parameters. A zero gradient corrects no other
gradient, is not corrected, and weighs 1.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax.weighting.base import Weighting, check_part, full_precision
from mtkd_jax.weighting.cosines import cosines
from mtkd_jax.weighting.pcgrad import correct, draw


class Vaccine(NamedTuple):
    """`step`: updates so far, `target`: ρ, row i for task i."""

    step: Int[Array, '']
    target: Float[Array, 't t']


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
    def update(
        state: Vaccine, losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
    ) -> tuple[Array, Vaccine]:
        weights, target = correct(cosines(gramian), state.target, draw(seed, state.step), against)
        return weights, Vaccine(state.step + 1, target)

    def init(num_tasks: int) -> Vaccine:
        return Vaccine(jnp.zeros((), jnp.int32), jnp.zeros((num_tasks, num_tasks)))

    return Weighting(init, update, needs='gramian')
