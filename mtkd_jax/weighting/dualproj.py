"""DualProj: the mean gradient, projected onto the directions that conflict with no task.

The projection of Jᵀu onto {d : Jd ≥ 0} is Jᵀv, where v minimises vᵀGv over v ≥ u; here u = 1/T for every task. Where
nothing conflicts, w = 1/T.

D. Lopez-Paz, M. Ranzato, "Gradient Episodic Memory for Continual Learning", 2017. Needs the Gramian. State: the
solver's outcome. `regularisation`, and a task with a zero gradient, are as in UPGrad (`upgrad.py`).
"""

from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting import solver
from mtkd_jax.weighting.base import Weighting, check_not_negative, full_precision
from mtkd_jax.weighting.upgrad import project, regularised


def dualproj(*, regularisation: float = 1e-4) -> Weighting:
    """`regularisation`: relative to the trace (the authors' library)."""
    check_not_negative('regularisation', regularisation)

    @full_precision
    def update(
        state: solver.Outcome, losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
    ) -> tuple[Array, solver.Outcome]:
        parts = regularised(gramian, regularisation)
        added, outcome = project(parts.cosine, parts.length[None])
        return (1 + added[0] / parts.length) / len(losses), outcome

    return Weighting(solver.no_outcome, update, needs='gramian', report=solver.report)
