"""Nash-MTL and FairGrad: weights whose gains are in the proportion of a fair bargain.

Nash-MTL is the Nash bargaining solution, Gα = 1/α: the gain α_t g_t·d of every task is the same. FairGrad is α-fair,
Gw = w^(−1/α): 1 is proportional fairness (Nash's equation), → ∞ max-min fairness. Both are the minimum of a convex
function, ½ wᵀGw minus the integral of w^(−1/α), which `solver` finds without a start from earlier steps.

A. Navon et al., "Multi-Task Learning as a Bargaining Game", 2022; H. Ban, K. Ji, "Fair Resource Allocation in
Multi-Task Learning", 2024. Need the Gramian. State: the solver's outcome.

The authors of Nash-MTL solve a sequence of CVXPY problems, which keeps the last weights where it fails; those of
FairGrad call SciPy's least squares. Where gradients cancel there is no solution: weights grow until the ridge of
`solver` or float32 stops them, and `converged` may be 0. A task with a zero gradient has weight 0.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from mtkd_jax.weighting import solver
from mtkd_jax.weighting.base import Weighting, check_positive, full_precision
from mtkd_jax.weighting.cosines import Cosines, cosines


def nash_mtl(*, max_norm: float | None = 1.0) -> Weighting:
    """`max_norm`: bound of the direction's norm (the authors' gradient clipping), None for none.

    As in the authors' code G is divided by its Frobenius norm before Gα = 1/α is solved, so the direction's norm is
    √(T ‖G‖). Only the shared parameters' gradient is bounded, as by the authors.
    """
    if max_norm is not None:
        check_positive('max_norm', max_norm)

    @full_precision
    def update(
        state: solver.Outcome, losses: Float[Array, 't'], gramian: Float[Array, 't t']
    ) -> tuple[Array, solver.Outcome]:
        parts = cosines(gramian)
        length = jnp.where(parts.moves, parts.length, 0.0)
        lengths, outcome = power_law(parts, 1.0)
        relative = jnp.sqrt(jnp.linalg.norm(parts.cosine * length[:, None] * length[None, :]))
        lengths = lengths * relative
        if max_norm is not None:
            norm = parts.scale * jnp.sqrt(jnp.maximum(lengths @ parts.cosine @ lengths, 0.0))
            lengths = lengths * jnp.minimum(1.0, max_norm / jnp.where(norm > 0, norm, 1.0))
        return jnp.where(parts.moves, lengths / parts.length, 0.0), outcome

    return Weighting(solver.no_outcome, update, needs='gramian', report=solver.report)


def fairgrad(alpha: float = 1.0) -> Weighting:
    """`alpha`: of the fairness, above 0."""
    check_positive('alpha', alpha)
    power = 1 / alpha

    @full_precision
    def update(
        state: solver.Outcome, losses: Float[Array, 't'], gramian: Float[Array, 't t']
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
