"""Masked means, pooling and unpooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import ops


def test_masked_mean_ignores_what_is_undefined_even_when_infinite():
    values = jnp.array([1.0, jnp.inf, 3.0, jnp.nan]).reshape(1, 2, 2, 1)
    mask = jnp.array([True, False, True, False]).reshape(1, 2, 2, 1)
    assert ops.masked_mean(values, mask) == 2
    gradient = jax.grad(ops.masked_mean)(values, mask)
    np.testing.assert_array_equal(gradient.ravel(), [0.5, 0, 0.5, 0])


def test_masked_mean_of_nothing_is_zero_without_gradient():
    values, mask = jnp.full((1, 2, 2, 1), jnp.nan), jnp.zeros((1, 2, 2, 1), bool)
    assert ops.masked_mean(values, mask) == 0
    np.testing.assert_array_equal(jax.grad(ops.masked_mean)(values, mask), np.zeros((1, 2, 2, 1)))


def test_pooling_and_unpooling_against_a_loop():
    x = np.random.default_rng(0).standard_normal((2, 6, 4, 3)).astype(np.float32)
    pooled, index = ops.max_pool_argmax(jnp.asarray(x))
    back = ops.max_unpool(pooled, index)
    expected = np.zeros_like(x)
    for b, i, j, c in np.ndindex(2, 3, 2, 3):
        window = x[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        k = int(np.argmax(window))
        assert pooled[b, i, j, c] == window.max()
        assert index[b, i, j, c] == k
        expected[b, 2 * i + k // 2, 2 * j + k % 2, c] = window.max()
    np.testing.assert_array_equal(back, expected)


def test_equal_values_send_the_gradient_to_the_first_alone():
    gradient = jax.grad(lambda x: ops.max_pool_argmax(x)[0].sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient.ravel(), [1, 0, 0, 0])


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match='even height and width, got 3×4'):
        ops.max_pool_argmax(jnp.zeros((1, 3, 4, 1)))


def test_unit_normalise_keeps_zero():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(ops.unit_normalise(x), [[0.6, 0.8], [0, 0]], atol=1e-6)
    # d/dx Σ u = (1 - u Σ u) / ‖x‖; at zero nothing, however small the branch that is not taken.
    gradient = jax.grad(lambda x: ops.unit_normalise(x).sum())(x)
    np.testing.assert_allclose(gradient, [[0.032, -0.024], [0, 0]], atol=1e-6)
    assert jax.grad(lambda x: ops.unit_normalise(x, 1e-6).sum())(x)[1, 0] == pytest.approx(1e3)


def test_linear_cka_against_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((30, 4)) + 5, 1e12 * rng.standard_normal((30, 6))
    centre = np.eye(30) - 1 / 30
    ka, kb = centre @ a @ a.T @ centre, centre @ b @ b.T @ centre
    expected = np.sum(ka * kb) / np.sqrt(np.sum(ka * ka) * np.sum(kb * kb))
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    np.testing.assert_allclose(ops.linear_cka(a, b), expected, rtol=1e-4)
    np.testing.assert_allclose(ops.linear_cka(a, -3 * a[:, ::-1] + 1), 1, rtol=1e-5)
    assert ops.linear_cka(a, jnp.ones((30, 2))) == 0
