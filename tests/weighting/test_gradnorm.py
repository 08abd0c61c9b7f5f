"""GradNorm's weights, step by step."""

import jax
import jax.numpy as jnp
import numpy as np

from mtkd_jax import weighting
from mtkd_jax.weighting.gradnorm import FLOOR
from tests import by_hand

LOSSES = np.array([[2.0, 4.0, 1.0], [1.0, 3.0, 1.0], [0.5, 5.0, 0.2], [0.4, 2.0, 0.9]])
NORMS = np.array([[1.0, 3.0, 2.0], [2.0, 2.5, 0.5], [1.0, 0.2, 4.0], [3.0, 1.0, 1.0]])


def expected(alpha, rate):
    """Weights of every step, and after the last: Chen et al. (2018), eq. 1 and 2, and the paragraphs around them."""
    weights, gradients = [np.ones(3)], []
    for losses, norm in zip(LOSSES, NORMS, strict=True):
        relative = losses / LOSSES[0]
        relative = relative / relative.mean()
        weighted = weights[-1] * norm
        gradient = norm * np.sign(weighted - weighted.mean() * relative**alpha)
        gradients.append(gradient / norm.max())
        moved = np.maximum(weights[-1] + by_hand.adam(gradients, rate)[-1], FLOOR)
        weights.append(3 * moved / moved.sum())
    return np.array(weights)


def test_updates_by_hand():
    """Gradients of several sizes: a first step of Adam has none."""
    weighter = weighting.gradnorm(alpha=0.7, learning_rate=0.1)
    state, found = weighter.init(3), []
    update = jax.jit(weighter.update)
    for losses, norm in zip(LOSSES, NORMS, strict=True):
        shown = jnp.diag(jnp.asarray(norm**2, jnp.float32))
        weights, state = update(state, jnp.asarray(losses, jnp.float32), shown, jnp.ones(3, bool))
        found.append(weights)
    np.testing.assert_allclose([*found, state.weights], expected(0.7, 0.1), rtol=1e-4)
