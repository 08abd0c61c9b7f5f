"""FairGrad: weights under which the gains of the tasks are α-fair.

Gw = w^(−1/α), where (Gw)_t is the gain g_t·d of task t: α = 1 is proportional fairness (Nash-MTL's equation), α → ∞ is
max-min fairness. It is the minimum of a convex function, ½ wᵀGw minus the integral of w^(−1/α). `solver` finds it
without a start from earlier steps.

H. Ban, K. Ji, "Fair Resource Allocation in Multi-Task Learning", 2024. Needs the Gramian. State: the solver's outcome.

The authors call SciPy's least squares. Where gradients cancel there is no solution: weights grow until the ridge of
`solver` or float32 stops them, and `converged` may be 0. A task with a zero gradient has weight 0.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting import solver
from mtkd_jax.weighting.base import Weighting, check_positive, full_precision
from mtkd_jax.weighting.cosines import Cosines, cosines


def fairgrad(alpha: float = 1.0) -> Weighting:
    """`alpha`: of the fairness, above 0."""
    check_positive('alpha', alpha)
    power = 1 / alpha

    @full_precision
    def update(
        state: solver.Outcome, losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
    ) -> tuple[Array, solver.Outcome]:
        parts = cosines(gramian)
        lengths, outcome = power_law(parts, power)
        # G = s² (...) and w = s^q (...): s² s^q = s^(−pq).
        weights = lengths / parts.length * parts.scale ** (-2 / (1 + power))
        return jnp.where(parts.moves, weights, 0.0), outcome

    return Weighting(solver.no_outcome, update, needs='gramian', report=solver.report)


def power_law(parts: Cosines, power: float) -> tuple[Float[Array, 't'], solver.Outcome]:
    """y = w·length with (G/scale²) w = w^(−p), for the tasks that move; 0 for the others."""
    # length·(C y) = (y/length)^(−p), so C y = k y^(−p) with k = length^(p−1).
    strength = parts.length ** (power - 1)
    # Short gradients may ask of float32 more than it holds, at α well below 1. Then nothing is solved, and said to be.
    exact = jnp.all(strength > 1e-30)
    strength = jnp.maximum(strength, 1e-30)
    alone = strength ** (1 / (1 + power))
    solution = solver.minimise(
        solver.quadratic(parts.cosine, jnp.zeros_like(alone)), alone, power=power, strength=strength, barrier=1.0
    )
    solution = solution._replace(converged=solution.converged & exact)
    return jnp.where(parts.moves, solution.x, 0.0), solver.outcome(solution)
