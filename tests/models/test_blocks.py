"""Layers that all backbones are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax.models.blocks import ConvBlock, batch_norm


def test_batch_statistics_by_hand():
    """Running averages move by a tenth, to the biased variance; the batch itself is normalised with its own."""
    x = jnp.asarray(np.random.default_rng(0).normal(5.0, 2.0, (3, 4, 4, 2)), jnp.float32)
    start = {'batch_stats': {'mean': jnp.ones(2), 'var': 3 * jnp.ones(2)}}
    params = {'scale': jnp.asarray([1.0, 2.0]), 'bias': jnp.asarray([0.0, 1.0])}
    made = batch_norm(None, True, 'norm')
    found, after = made.apply({**start, 'params': params}, x, mutable=['batch_stats'])
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(
        found, (x - mean) / np.sqrt(variance + 1e-5) * params['scale'] + params['bias'], atol=1e-4
    )
    np.testing.assert_allclose(after['batch_stats']['mean'], 0.9 + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(after['batch_stats']['var'], 2.7 + 0.1 * variance, rtol=1e-5)


@pytest.mark.parametrize('variance', [0.0, 1.0])
def test_evaluation_reads_the_running_statistics(variance):
    x = jnp.asarray([[[[3.0]]], [[[5.0]]]])
    start = {'mean': jnp.ones(1), 'var': variance * jnp.ones(1)}
    found = batch_norm(None, False, 'norm').apply(
        {'params': {'scale': jnp.ones(1), 'bias': jnp.zeros(1)}, 'batch_stats': start}, x
    )
    np.testing.assert_allclose(found.ravel(), np.array([2.0, 4.0]) / np.sqrt(variance + 1e-5), rtol=1e-5)


def test_parameters_are_float32_where_the_default_is_float64():
    block, x = ConvBlock(3, 1), jnp.ones((1, 4, 4, 2))
    expected = block.init(jax.random.key(0), x, train=True)['params']['conv_0']
    with jax.enable_x64(True):
        found = block.init(jax.random.key(0), x, train=True)['params']['conv_0']
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype('float32')}
