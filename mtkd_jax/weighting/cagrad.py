"""CAGrad: the direction near the mean gradient that serves the worst task best.

It solves max_d min_t g_t·d with ‖d − g_0‖ ≤ c ‖g_0‖, where g_0 is the mean gradient. Let w on the simplex minimise
g_w·g_0 + c ‖g_0‖ ‖g_w‖ with g_w = Σ_t w_t g_t. Then d = g_0 + c ‖g_0‖ g_w / ‖g_w‖, and the weights are
1/T + c ‖g_0‖ w_t / ‖g_w‖. c = 0 gives the mean, a large c MGDA's direction.

B. Liu, X. Liu, X. Jin, P. Stone, Q. Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", 2021. Needs the
Gramian. State: the solver's outcome.

One more variable makes the norm smooth: ‖g_w‖ is the minimum over τ > 0 of (‖g_w‖²/τ + τ)/2. That leaves a convex
problem for the interior point; the authors call SciPy's SLSQP with 1e-8 under the root. `rescale` is the authors': 1
divides the weights by 1 + c², 2 by 1 + c; their default is 1. A task with a zero gradient has weight 1/T.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting import solver
from mtkd_jax.weighting.base import Weighting, check_choice, check_not_negative, full_precision
from mtkd_jax.weighting.cosines import cosines, simplex_shares


def cagrad(c: float = 0.5, *, rescale: Literal[0, 1, 2] = 0) -> Weighting:
    """`c`: radius around the mean gradient, relative to its norm. `rescale`: 0 none, 1 by 1 + c², 2 by 1 + c."""
    check_choice('rescale', rescale, (0, 1, 2))
    check_not_negative('c', c)
    divisor = {0: 1.0, 1: 1 + c**2, 2: 1 + c}[rescale]

    @full_precision
    def update(
        state: solver.Outcome, losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
    ) -> tuple[Array, solver.Outcome]:
        number = len(losses)
        if c == 0:  # Nothing to solve: the norm's variable would have no curvature.
            return jnp.full(number, 1 / number, gramian.dtype), solver.no_outcome(number)
        parts = cosines(gramian)
        shares = simplex_shares(parts)
        matrix = parts.cosine + solver.RIDGE * jnp.eye(number)
        # Lengths of the parts of g_0, and of g_0 itself.
        mean = jnp.where(parts.moves, parts.length, 0.0) / number
        norm = jnp.sqrt(jnp.maximum(mean @ parts.cosine @ mean, 0.0))
        agreement = parts.cosine @ mean / jnp.where(norm > 0, norm, 1.0)
        start = jnp.full_like(shares, 1 / shares.sum())
        solution = solver.minimise(
            worst_case(matrix, agreement, c),
            jnp.append(start, jnp.sqrt(start @ matrix @ start)),
            plane=jnp.append(shares, 0.0),
        )
        lengths = solution.x[:-1]
        lengths = c * norm * lengths / jnp.sqrt(lengths @ matrix @ lengths)
        weights = 1 / number + jnp.where(parts.moves, lengths / parts.length, 0.0)
        return weights / divisor, solver.outcome(solution)

    return Weighting(solver.no_outcome, update, needs='gramian', report=solver.report)


def worst_case(matrix: Float[Array, 't t'], agreement: Float[Array, 't'], c: float) -> solver.Derivatives:
    """Derivatives of b·y + c (yᵀQy/τ + τ)/2 in (y, τ), with Q = `matrix` and b = `agreement`."""

    def derivatives(point: Float[Array, 'n']) -> tuple[Array, Array]:
        y, tau = point[:-1], point[-1]
        image = matrix @ y
        squared = y @ image
        gradient = jnp.append(agreement + c * image / tau, c / 2 * (1 - squared / tau**2))
        mixed = -c * image[:, None] / tau**2
        hessian = jnp.block([[c * matrix / tau, mixed], [mixed.T, (c * squared / tau**3).reshape(1, 1)]])
        return gradient, hessian

    return derivatives
