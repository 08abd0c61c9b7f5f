"""Weights that a reference library (float64) finds for given Jacobians (papers.md D)."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import weighting
from tests import golden_weights

CASES = json.loads((golden_weights.FOLDER / 'weightings.json').read_text())['cases']
WEIGHTERS = {
    # The reference stops Frank-Wolfe after 100 steps, up to 0.01 from the minimiser: so does the default.
    'mgda': weighting.mgda(),
    'cagrad_c0_5': weighting.cagrad(c=0.5),
    'cagrad_c0_4': weighting.cagrad(c=0.4),
    'imtl_g': weighting.imtl('gradient'),
    'aligned_mtl_min': weighting.aligned_mtl(scale_mode='min'),
    'upgrad': weighting.upgrad(),
    'dualproj': weighting.dualproj(),
    'fairgrad_alpha1': weighting.fairgrad(alpha=1.0),
}


@pytest.mark.parametrize('name', WEIGHTERS)
def test_weights(name):
    weighter = WEIGHTERS[name]
    update = jax.jit(weighter.update)
    for case in CASES:
        jacobian = np.asarray(case['jacobian'], np.float32)
        number = len(jacobian)
        weights, _ = update(
            weighter.init(number), jnp.ones(number), jnp.asarray(jacobian @ jacobian.T), jnp.ones(number, bool)
        )
        np.testing.assert_allclose(weights, case['weights'][name], atol=1e-3)


def test_mean():
    for case in CASES:
        number = len(case['jacobian'])
        weights, _ = weighting.uniform().update((), jnp.ones(number), None, jnp.ones(number, bool))
        np.testing.assert_allclose(weights / number, case['weights']['mean'])


@pytest.mark.parametrize('name', ['mgda', 'imtl_g', 'fairgrad_alpha1'])
def test_a_zero_gradient_has_no_say(name):
    weighter = WEIGHTERS[name]
    update = jax.jit(weighter.update)
    for case in CASES:
        jacobian = np.asarray(case['jacobian'], np.float32)
        number = len(jacobian)
        gramian = np.pad(jacobian @ jacobian.T, (0, 6 - number))
        weights, _ = update(weighter.init(6), jnp.ones(6), jnp.asarray(gramian), jnp.ones(6, bool))
        np.testing.assert_allclose(weights[:number], case['weights'][name], atol=1e-3)
        np.testing.assert_array_equal(weights[number:], 0)
