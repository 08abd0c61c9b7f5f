"""MGDA: the shortest vector in the convex hull of the task gradients.

min over the simplex of ‖Σ_t w_t g_t‖² = wᵀGw. The direction conflicts with no task, or it is zero (Pareto
stationary). Two tasks: w_1 = clip((g_2 − g_1)·g_2 / ‖g_1 − g_2‖², 0, 1).

J.-A. Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", 2012; O. Sener, V. Koltun,
"Multi-Task Learning as Multi-Objective Optimization", 2018. Needs the Gramian. State: the solver's outcome.

`solver='frank_wolfe'` is Sener and Koltun's Algorithm 2 from equal weights. It stops as reference implementations do:
when a step is below 1e-3, or after 100 steps, up to a few percent short of the minimiser. `residual` says how far: the
relative gap (wᵀGw − min_t (Gw)_t) / wᵀGw, 0 at the minimiser. `converged` says that it stopped by itself. Gradients of
very different length, or nearly dependent ones, want `solver='exact'`, an interior point. The authors' own solver
starts from the best pair of tasks; and their code weighs the heads' losses, too, which Algorithm 2 does not.

As in the authors' code, gradients are divided by the normaliser to find w, and w then weighs the losses as they are.
A task with a zero gradient has weight 0: otherwise it alone would stop all learning.

`variant='kd4mtl'` is the code of Li & Bilen (2020): the gradients are those with respect to the last shared feature
map, the minimiser is exact, and w weighs the heads' losses, too. Their solver goes on until it moves by less than 1e-5,
and never moves all the way to another point (0.999 of it at most).

`normalisation='loss'` and `'loss+'` need positive losses. A loss of exactly 0 counts as `base.RESOLUTION`, which gives
the limit: its gradient is so long that its weight is 0.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting import solver as convex
from mtkd_jax.weighting.base import Weighting, check_choice, full_precision, positive_losses
from mtkd_jax.weighting.cosines import Cosines, cosines, simplex_shares
from mtkd_jax.weighting.variants import KD4MTL, settled

STEPS = 100
SMALLEST_STEP = 1e-3


def mgda(
    normalisation: Literal['none', 'l2', 'loss', 'loss+'] | None = None,
    *,
    solver: Literal['frank_wolfe', 'exact'] | None = None,
    variant: Literal['paper', 'kd4mtl'] = 'paper',
) -> Weighting:
    """`normalisation`: what gradients are divided by: nothing, their norms, their losses, or both.

    None: as `variants.VARIANTS` says of the `variant`.
    """
    chosen = settled('mgda', {'variant': variant, 'normalisation': normalisation, 'solver': solver})
    normalisation, solver = chosen['normalisation'], chosen['solver']
    check_choice('normalisation', normalisation, ('none', 'l2', 'loss', 'loss+'))
    check_choice('solver', solver, ('frank_wolfe', 'exact'))
    by_loss = normalisation in ('loss', 'loss+')
    find = frank_wolfe if solver == 'frank_wolfe' else exact

    @full_precision
    def update(
        state: convex.Outcome, losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
    ) -> tuple[Array, convex.Outcome]:
        parts = cosines(gramian)
        length, moves = parts.length, parts.moves
        if normalisation in ('l2', 'loss+'):
            length = jnp.ones_like(length)
        if by_loss:
            moves = moves & labelled
            length = length / losses
        longest = jnp.max(jnp.where(moves, length, 0.0))
        length = jnp.where(moves, length / jnp.where(longest > 0, longest, 1.0), 1.0)
        # Those left out are orthogonal to the others.
        cosine = jnp.where(moves[:, None] & moves[None, :], parts.cosine, jnp.eye(len(losses)))
        return find(Cosines(cosine, length, parts.scale, moves))

    shown = positive_losses(update) if by_loss else update
    theirs = variant == KD4MTL
    return Weighting(
        convex.no_outcome, shown, needs='gramian', report=convex.report, weighs_own=theirs, of_features=theirs
    )


def exact(parts: Cosines) -> tuple[Array, convex.Outcome]:
    """The minimiser, by the interior point, in the lengths y of the tasks' parts: w_t = a_t y_t, aᵀy = 1."""
    shares = simplex_shares(parts)
    start = jnp.full_like(shares, 1 / shares.sum())
    solution = convex.minimise(convex.quadratic(parts.cosine, jnp.zeros_like(shares)), start, plane=shares)
    return jnp.where(parts.moves, shares * solution.x, 0.0), convex.outcome(solution)


def frank_wolfe(parts: Cosines) -> tuple[Array, convex.Outcome]:
    """At most 100 steps towards the task whose gradient agrees least, each with an exact line search."""
    moves = parts.moves
    gramian = parts.cosine * parts.length[:, None] * parts.length[None, :]

    def agreements(weights: Array) -> Array:
        return jnp.where(moves, gramian @ weights, jnp.inf)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        _, step, i = carry
        return (i < STEPS) & (step >= SMALLEST_STEP)

    def towards(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        weights, _, i = carry
        worst = jnp.argmin(agreements(weights))
        cross, own, far = (gramian @ weights)[worst], weights @ gramian @ weights, gramian[worst, worst]
        step = jnp.where(far <= cross, 1.0, (own - cross) / jnp.where(far <= cross, 1.0, own + far - 2 * cross))
        step = jnp.where(own <= cross, 0.0, step)
        vertex = jnp.zeros_like(weights).at[worst].set(1.0)
        return (1 - step) * weights + step * vertex, step, i + 1

    start = moves / jnp.maximum(moves.sum(), 1).astype(gramian.dtype)
    weights, step, _ = jax.lax.while_loop(unfinished, towards, (start, jnp.ones(()), jnp.zeros((), jnp.int32)))
    squared = weights @ gramian @ weights
    gap = jnp.where(moves.any(), squared - jnp.min(agreements(weights)), 0.0)
    residual = jnp.maximum(gap, 0.0) / jnp.where(squared > 0, squared, 1.0)
    return weights, convex.Outcome(residual, (step < SMALLEST_STEP) | ~moves.any())
