"""Nash-MTL: the Nash bargaining solution, in which every task gains the same.

Gα = 1/α: the gain α_t g_t·d of every task is the same. This is FairGrad's equation for its α = 1, and is solved by the
same function.

A. Navon et al., "Multi-Task Learning as a Bargaining Game", 2022. Needs the Gramian. State: the solver's outcome.

The authors solve a sequence of CVXPY problems, and keep the last weights where that fails. Where gradients cancel there
is no solution: weights grow until the ridge of `solver` or float32 stops them, and `converged` may be 0. A task with a
zero gradient has weight 0.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting import solver
from mtkd_jax.weighting.base import Weighting, check_positive, full_precision
from mtkd_jax.weighting.cosines import cosines
from mtkd_jax.weighting.fairgrad import power_law


def nash_mtl(*, max_norm: float | None = 1.0) -> Weighting:
    """`max_norm`: bound of the direction's norm (the authors' gradient clipping), None for none.

    As in the authors' code G is divided by its Frobenius norm before Gα = 1/α is solved, so the direction's norm is
    √(T ‖G‖). Only the shared parameters' gradient is bounded, as by the authors.
    """
    if max_norm is not None:
        check_positive('max_norm', max_norm)

    @full_precision
    def update(
        state: solver.Outcome, losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
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
