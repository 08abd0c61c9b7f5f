"""UPGrad: the mean of the task gradients, each projected onto the directions that conflict with no task.

The projection of Jᵀu onto {d : Jd ≥ 0} is Jᵀv, where v minimises vᵀGv over v ≥ u. UPGrad projects every task's gradient
and takes the mean: w = Σ_t v(e_t) / T. Where nothing conflicts, w = 1/T.

P. Quinton, V. Rey, "Jacobian Descent for Multi-Objective Optimization", 2024. Needs the Gramian. State: the solver's
outcome.

`regularisation` is added to the diagonal of G / trace G, as in the authors' library. It bounds the weights where
gradients cancel. It also lets the direction conflict a little with tasks whose squared gradient is small against it;
`regularisation=0` does not. The authors' library treats a trace below 1e-4 as zero; here the result does not depend on
the scale of the gradients. A task with a zero gradient has weight 1/T and changes no other weight.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting import solver
from mtkd_jax.weighting.base import Weighting, check_not_negative, full_precision
from mtkd_jax.weighting.cosines import Cosines, cosines


def upgrad(*, regularisation: float = 1e-4) -> Weighting:
    """`regularisation`: relative to the trace (the authors' library)."""
    check_not_negative('regularisation', regularisation)

    @full_precision
    def update(
        state: solver.Outcome, losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
    ) -> tuple[Array, solver.Outcome]:
        parts = regularised(gramian, regularisation)
        # Unit gradients are projected, so that short ones keep their digits; the lengths count in the mean only.
        added, outcome = project(parts.cosine, jnp.eye(len(losses)))
        return (1 + parts.length @ added / parts.length) / len(losses), outcome

    return Weighting(solver.no_outcome, update, needs='gramian', report=solver.report)


def regularised(gramian: Float[Array, 't t'], regularisation: float) -> Cosines:
    """G with its diagonal raised by a part of its trace. A zero gradient then agrees and conflicts with none."""
    size = len(gramian)
    return cosines(gramian + regularisation * jnp.trace(gramian) * jnp.eye(size, dtype=gramian.dtype))


def project(cosine: Float[Array, 't t'], sources: Float[Array, 'n t']) -> tuple[Float[Array, 'n t'], solver.Outcome]:
    """What has to be added to each source (lengths along the unit gradients) to reach its projection, all ≥ 0."""
    solve = jax.vmap(lambda source: solver.minimise(solver.quadratic(cosine, cosine @ source), jnp.ones_like(source)))
    solution = solve(sources)
    return jnp.where(solution.x > solution.slack, solution.x, 0.0), solver.outcome(solution)
