"""One small convex solver for every weighting that has no closed form: a primal-dual interior point.

Minimises f(x) over x > 0, and on the plane aᵀx = 1 where one is given, by Newton's method on

    ∇f(x) − ν a − z = 0,    x_i^p z_i = μ k_i,    aᵀx = 1.

μ → 0 gives bound-constrained problems (MGDA, CAGrad, UPGrad, DualProj). μ = 1 held fixed gives the problems whose
optimality is a power law, ∇f(x) = k x^(−p) (Nash-MTL: p = 1, FairGrad: p = 1/α). Linear systems are T × T, T ≤ 10.

Everything is float32. Gradients of 1e-6 and 1e6 in one batch are no trouble, because callers work with the matrix of
cosines (`cosines`). Every variable is the length of its task's part of the direction, not its weight.
(S. Wright, "Primal-Dual Interior-Point Methods", 1997.)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float, Int

MAX_ITERATIONS = 60
RIDGE = 1e-6
"""Added to the unit diagonal of the cosines. It bounds problems that cancelling gradients leave unbounded. Dot products
of millions of parameters are no more exact than that in float32."""
VANISHED = 1e-12
"""Where μ → 0 stops. It lies far below float32's resolution of f, because a bound that is neither active nor inactive
is met to √μ only."""
TOLERANCE = 1e-3
"""Of the residual, relative to the terms that cancel in it. Solutions come far below it (1e-6) unless gradients
cancel."""

Derivatives = Callable[[Array], tuple[Array, Array]]
"""x [n] → gradient [n] and Hessian [n n] of the convex f."""


class Outcome(NamedTuple):
    """The state of weightings that solve anew at every step: how well the last step was solved."""

    residual: Float[Array, '']
    converged: Bool[Array, '']


class Solution(NamedTuple):
    """`x` the minimiser, `slack` the multipliers z, `residual` of the three equations, relative; `converged`: small."""

    x: Float[Array, 'n']
    slack: Float[Array, 'n']
    residual: Float[Array, '']
    converged: Bool[Array, '']


def no_outcome(num_tasks: int) -> Outcome:
    """Nothing has been solved yet."""
    return Outcome(jnp.zeros(()), jnp.ones((), bool))


def outcome(solution: Solution) -> Outcome:
    """Of one solution, or the worst of several."""
    return Outcome(jnp.max(solution.residual), jnp.all(solution.converged))


def report(state: Outcome) -> dict[str, Array]:
    """`residual`, and `converged` as 1 or 0."""
    return {'residual': state.residual, 'converged': state.converged.astype(jnp.float32)}


def quadratic(matrix: Float[Array, 'n n'], linear: Float[Array, 'n']) -> Derivatives:
    """Derivatives of ½xᵀQx + cᵀx, with the ridge."""
    matrix = matrix + RIDGE * jnp.eye(len(linear), dtype=matrix.dtype)
    return lambda x: (matrix @ x + linear, matrix)


def minimise(
    derivatives: Derivatives,
    start: Float[Array, 'n'],
    *,
    plane: Float[Array, 'n'] | None = None,
    power: float = 1.0,
    strength: Float[Array, 'n'] | None = None,
    barrier: float = 0.0,
) -> Solution:
    """The minimiser over x > 0 (and aᵀx = 1 with a = `plane`) for μ = `barrier`, p = `power`, k = `strength`.

    `start` is positive and lies on the plane. A failure is not mended; `converged` says so.
    """
    normal = jnp.zeros_like(start) if plane is None else plane
    k = jnp.ones_like(start) if strength is None else strength
    last = max(barrier, VANISHED)

    def mean_barrier(x: Array, z: Array) -> Array:
        return jnp.mean(z * x**power / k)

    def error(x: Array, z: Array, nu: Array) -> Array:
        """Largest violation of the three equations, each relative to what cancels in it."""
        gradient, hessian = derivatives(x)
        terms = jnp.abs(gradient) + jnp.abs(hessian) @ x + jnp.abs(nu * normal) + z
        stationary = jnp.max(jnp.abs(gradient - nu * normal - z) / terms)
        product = z * x**power / k
        # A vanishing barrier has to vanish; a fixed one has to be met.
        complementary = jnp.max(jnp.abs(product / barrier - 1)) if barrier else jnp.max(product / (1 + terms))
        on_plane = jnp.abs(normal @ x - 1) if plane is not None else 0.0
        return jnp.maximum(jnp.maximum(stationary, complementary), on_plane)

    def unfinished(carry: tuple[Array, Array, Array, Int[Array, '']]) -> Array:
        x, z, nu, i = carry
        done = (mean_barrier(x, z) <= 2 * last) & (error(x, z, nu) < 1e-6)
        return (i < MAX_ITERATIONS) & ~done

    def newton(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        x, z, nu, i = carry
        gradient, hessian = derivatives(x)
        wanted = jnp.maximum(last, 0.1 * mean_barrier(x, z)) * k * x**-power
        # CAGrad's Hessian is definite along the plane only. aaᵀ makes it definite, and changes no step on the plane.
        matrix = hessian + jnp.diag(power * z / x) + jnp.outer(normal, normal)
        right = jnp.stack([wanted + nu * normal - gradient, normal], axis=1)
        free, along = solve(matrix, right).T
        if plane is None:
            dx, dnu = free, jnp.zeros_like(nu)
        else:
            off = 1 - normal @ x
            dnu = (off - normal @ free) / (normal @ along)
            dx = free + dnu * along
            dnu -= off
        dz = wanted - z - power * z / x * dx
        length = jnp.minimum(to_boundary(x, dx), to_boundary(z, dz))
        return x + length * dx, z + length * dz, nu + length * dnu, i + 1

    carry = (start, k * start**-power, jnp.zeros((), start.dtype), jnp.zeros((), jnp.int32))
    x, z, nu, _ = jax.lax.while_loop(unfinished, newton, carry)
    residual = error(x, z, nu)
    return Solution(x, z, residual, residual < TOLERANCE)


def to_boundary(x: Float[Array, 'n'], step: Float[Array, 'n']) -> Float[Array, '']:
    """The part of the step, at most 1, that keeps x + step positive."""
    return jnp.minimum(1.0, 0.95 * jnp.min(jnp.where(step < 0, -x / jnp.where(step < 0, step, -1.0), jnp.inf)))


def solve(matrix: Float[Array, 'n n'], right: Float[Array, 'n m']) -> Float[Array, 'n m']:
    """M⁻¹R for positive definite M, scaled to a unit diagonal first: variables near a bound make it uneven."""
    scale = jax.lax.rsqrt(jnp.diagonal(matrix))
    # A step may be slightly wrong, but a factor must exist: rounding can push M's smallest eigenvalue below zero.
    lifted = matrix * scale[:, None] * scale[None, :] + len(matrix) * jnp.finfo(matrix.dtype).eps * jnp.eye(len(matrix))
    factor = cho_factor(lifted)
    return scale[:, None] * cho_solve(factor, scale[:, None] * right)
