"""Aligned-MTL: gradients whose principal components are made equally long.

With G = V diag(σ²) Vᵀ the weights are B u, where B = ς V diag(1/σ) Vᵀ over the non-zero σ and u = 1/T. The direction is
the mean of the columns of the orthogonal matrix that is closest to Jᵀ, times a common length ς. ς is the smallest σ
(with which a step cannot overshoot), their median, or the root of their mean square.

D. Senushkin, N. Patakin, A. Kuznetsov, A. Konushin, "Independent Component Alignment for Multi-Task Learning", 2023.
Needs the Gramian. No state.

The authors sum (u = 1); here the mean is kept as elsewhere. A σ² below T · eps of the largest counts as zero, so in
float32 gradients shorter than about 1e-3 of the longest are lost. A zero gradient has weight 0.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting.base import Weighting, check_choice, full_precision
from mtkd_jax.weighting.cosines import cosines


def aligned_mtl(scale_mode: Literal['min', 'median', 'rmse'] = 'min') -> Weighting:
    """`scale_mode`: the common length ς; the median is the lower one of an even number."""
    check_choice('scale_mode', scale_mode, ('min', 'median', 'rmse'))

    @full_precision
    def update(
        state: tuple[()], losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
    ) -> tuple[Array, tuple[()]]:
        parts = cosines(gramian)
        number = len(losses)
        length = jnp.where(parts.moves, parts.length, 0.0)
        # Relative to the longest gradient; the ratio ς/σ does not depend on it.
        squared, vectors = jnp.linalg.eigh(parts.cosine * length[:, None] * length[None, :])
        kept = squared > squared[-1] * number * jnp.finfo(squared.dtype).eps
        sigma = jnp.sqrt(jnp.where(kept, squared, 1.0))
        rank = kept.sum()
        if scale_mode == 'min':
            common = jnp.min(jnp.where(kept, sigma, jnp.inf))
        elif scale_mode == 'median':
            # Ascending, the kept ones last.
            common = sigma[number - rank + (rank - 1) // 2]
        else:
            common = jnp.sqrt(jnp.sum(jnp.where(kept, squared, 0.0)) / jnp.maximum(rank, 1))
        along = jnp.where(kept, common / sigma, 0.0) * (vectors.T @ jnp.full(number, 1 / number))
        return jnp.where(parts.moves, vectors @ along, 0.0), state

    return Weighting(lambda num_tasks: (), update, needs='gramian')
