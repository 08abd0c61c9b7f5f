"""PCGrad: the conflicting part of every task's gradient is removed, against the others one by one in random order.

Where the corrected gradient v of task i conflicts with g_j (v·g_j < 0), its part along g_j is removed. The direction is
the sum of all v. v stays a combination of the task gradients, so it is a row of coefficients over the Gramian; w is the
sum of the rows.

T. Yu et al., "Gradient Surgery for Multi-Task Learning", 2020. Needs the Gramian. State: the updates so far. The order
is drawn anew for every task and step, from `seed` and the step.

The authors correct each parameter tensor of some networks on its own; here one gradient holds all shared parameters. A
zero gradient corrects no other gradient, is not corrected, and weighs 1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax.weighting.base import Weighting, full_precision
from mtkd_jax.weighting.cosines import Cosines, cosines


def pcgrad(*, seed: int = 0) -> Weighting:
    """`seed`: of the order of the tasks."""

    def against(dot: Array, norm: Array, target: Array) -> tuple[Array, Array]:
        return jnp.maximum(-dot, 0.0), target

    @full_precision
    def update(
        state: Int[Array, ''], losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
    ) -> tuple[Array, Int[Array, '']]:
        weights, _ = correct(cosines(gramian), jnp.zeros_like(gramian), draw(seed, state), against)
        return weights, state + 1

    return Weighting(lambda num_tasks: jnp.zeros((), jnp.int32), update, needs='gramian')


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
