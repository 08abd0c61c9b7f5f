"""Weightings that read gradients or their Gramian, against closed forms and the papers' loops on the gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import weighting
from mtkd_jax.weighting.pcgrad import draw
from tests.weighting import examples
from tests.weighting.examples import ALL, LOSSES, random, run, weigh

ALL_LABELLED = jnp.ones(3, bool)
TWO = np.array([[2.0, 0.0, 0.5], [-1.0, 1.0, 0.3]], np.float32)


def simplex(v):
    """The nearest point of the simplex."""
    u = np.sort(v)[::-1]
    k = np.nonzero(u * np.arange(1, len(v) + 1) > np.cumsum(u) - 1)[0][-1]
    return np.maximum(v - (np.cumsum(u)[k] - 1) / (k + 1), 0)


@pytest.mark.parametrize('solver', ['frank_wolfe', 'exact'])
def test_mgda_of_two_tasks(solver):
    weighter = weighting.mgda(solver=solver)
    for second in (TWO[1], [0.1, 0.0, 0.0], [9.0, 1.0, 0.0]):
        a, b = TWO[0], np.asarray(second, np.float32)
        first = np.clip((b - a) @ b / ((a - b) @ (a - b)), 0, 1)
        found = weigh(weighter, [1.0, 1.0], np.stack([a, b]))
        np.testing.assert_allclose(found, [first, 1 - first], atol=1e-4)


def test_cagrad_rescaled():
    jacobian = random(1, 0.5)[0]
    plain = weigh(weighting.cagrad(c=0.4), LOSSES[0], jacobian)
    np.testing.assert_allclose(weigh(weighting.cagrad(c=0.4, rescale=1), LOSSES[0], jacobian), plain / 1.16, rtol=1e-5)


def test_cagrad_of_no_radius_is_the_mean():
    weighter, jacobian = weighting.cagrad(c=0.0), random(1, 0.5)[0]
    weights, state = weighter.update(weighter.init(3), jnp.ones(3), jnp.asarray(jacobian @ jacobian.T), ALL_LABELLED)
    np.testing.assert_allclose(weights, 1 / 3, rtol=1e-6)
    assert state.residual == 0
    assert state.converged
    near = weigh(weighting.cagrad(c=1e-4), LOSSES[0], jacobian)
    np.testing.assert_allclose(near, weights, atol=1e-3)


@pytest.mark.parametrize('normalisation', ['l2', 'loss', 'loss+'])
def test_mgda_normalisations(normalisation):
    losses, norm = np.array([0.5, 3.0], np.float32), np.linalg.norm(TWO, axis=1)
    divisor = {'l2': norm, 'loss': losses, 'loss+': losses * norm}[normalisation]
    expected = weigh(weighting.mgda(solver='exact'), losses, TWO / divisor[:, None])
    found = weigh(weighting.mgda(normalisation, solver='exact'), losses, TWO)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_imtl_projections_are_equal():
    jacobian = random(1, 0.5)[0]
    weights = weigh(weighting.imtl('gradient'), LOSSES[0], jacobian)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)
    projections = jacobian @ (weights @ jacobian) / np.linalg.norm(jacobian, axis=1)
    np.testing.assert_allclose(projections, projections[0], rtol=1e-3)


def test_imtl_both_halves():
    """The second step: the scales moved by a learning rate, the gradient half is of the scaled losses."""
    jacobian = random(2, 0.5)[0]
    weighter = weighting.imtl(learning_rate=0.1)
    state = weighter.init(3)
    gramian = jnp.asarray(jacobian @ jacobian.T)
    update = jax.jit(weighter.update)
    _, state = update(state, jnp.array([2.0, 0.5, 3.0]), gramian, ALL_LABELLED)
    found, _ = update(state, jnp.ones(3), gramian, ALL_LABELLED)
    scale = np.exp(np.array([-0.1, 0.1, -0.1], np.float32))
    half = weigh(weighting.imtl('gradient'), np.ones(3), jacobian * scale[:, None])
    np.testing.assert_allclose(found, half * scale, rtol=1e-4)


def test_aligned_gradients():
    """Their Gramian is B G Bᵀ = ς² I for independent gradients."""
    jacobian = random(3)[0]
    gramian = jacobian @ jacobian.T
    values, vectors = np.linalg.eigh(gramian.astype(np.float64))
    scales = {'min': values[0], 'median': values[1], 'rmse': values.mean()}
    for mode, square in scales.items():
        balance = np.sqrt(square) * vectors @ np.diag(values**-0.5) @ vectors.T
        np.testing.assert_allclose(balance @ gramian @ balance, square * np.eye(3), atol=1e-3)
        found = weigh(weighting.aligned_mtl(mode), LOSSES[0], jacobian)
        np.testing.assert_allclose(found, balance.mean(axis=1), rtol=1e-3)


def orders(seed, step, number):
    """The order in which each task visits the others."""
    keys = jax.random.split(draw(seed, step), number)
    return [np.argsort(jax.random.uniform(key, (number,))) for key in keys]


def test_pcgrad_projects():
    jacobian = random(4, 0.9)[0].astype(np.float64)
    expected = np.zeros(8)
    conflicts = 0
    for i, order in enumerate(orders(0, jnp.int32(0), 3)):
        v = jacobian[i].copy()
        for j in order:
            if j != i and v @ jacobian[j] < 0:
                v -= v @ jacobian[j] / (jacobian[j] @ jacobian[j]) * jacobian[j]
                conflicts += 1
        expected += v
    assert conflicts >= 3
    found = weigh(weighting.pcgrad(), LOSSES[0], jacobian)
    np.testing.assert_allclose(found @ jacobian, expected, rtol=1e-3, atol=1e-4)


def test_gradvac_turns():
    jacobians = random(5, 0.5)
    found = run('gradvac', LOSSES, jacobians).direction
    target, beta, turned = np.zeros((3, 3)), 0.5, 0
    for step, jacobian in enumerate(jacobians.astype(np.float64)):
        expected = np.zeros(8)
        for i, order in enumerate(orders(0, jnp.int32(step), 3)):
            v = jacobian[i].copy()
            for j in order[order != i]:
                other, rho = jacobian[j], target[i, j]
                norm = np.linalg.norm(v)
                cosine = v @ other / norm / np.linalg.norm(other)
                if cosine < rho:
                    sine = np.sqrt(1 - rho**2)
                    size = norm * (rho * np.sqrt(1 - cosine**2) - cosine * sine) / (np.linalg.norm(other) * sine)
                    v += size * other
                    np.testing.assert_allclose(v @ other / np.linalg.norm(v) / np.linalg.norm(other), rho, atol=1e-9)
                    turned += 1
                target[i, j] = (1 - beta) * rho + beta * cosine
            expected += v
        np.testing.assert_allclose(found[step], expected, rtol=1e-2, atol=1e-3)
    assert turned > 10


def test_gradnorm():
    """Norms 1 and 3, equal rates: the mean is 2, and Adam's first step is the learning rate towards it."""
    weighter = weighting.gradnorm(learning_rate=0.1)
    update = jax.jit(weighter.update)
    gramian = jnp.diag(jnp.array([1.0, 9.0]))
    first, state = update(weighter.init(2), jnp.array([2.0, 5.0]), gramian, ALL_LABELLED[:2])
    np.testing.assert_array_equal(first, 1)
    second, state = update(state, jnp.array([2.0, 5.0]), gramian, ALL_LABELLED[:2])
    np.testing.assert_allclose(second, [1.1, 0.9], rtol=1e-4)
    for _ in range(100):
        weights, state = update(state, jnp.array([2.0, 5.0]), gramian, ALL_LABELLED[:2])
    # Equal norms: w = (1.5, 0.5).
    np.testing.assert_allclose(weights, [1.5, 0.5], atol=0.1)


def test_gradnorm_of_kd_mtl_s_code():
    """Adam at 1e-4, and α 0.12: rates of 1.2 and 0.8 do not turn what norms of 1 and 0.8 ask for; at 1.5 they would."""
    weighter = weighting.gradnorm(variant='kd4mtl')
    assert weighter.weighs_own
    update = jax.jit(weighter.update)
    gramian, state, found = jnp.diag(jnp.array([1.0, 0.8**2])), weighter.init(2), []
    for losses in ([1.0, 1.0], [1.2, 0.8], [1.2, 0.8]):
        weights, state = update(state, jnp.array(losses), gramian, ALL_LABELLED[:2])
        found.append(weights)
    np.testing.assert_allclose(found, [[1, 1], [1 - 1e-4, 1 + 1e-4], [1 - 2e-4, 1 + 2e-4]], atol=2e-6)


def test_mgda_of_kd_mtl_s_code_is_exact_and_weighs_the_heads():
    theirs, jacobian = weighting.mgda(variant='kd4mtl'), random(3)[0]
    assert theirs.weighs_own
    assert not weighting.mgda().weighs_own
    exact = weigh(weighting.mgda(solver='exact'), LOSSES[0], jacobian)
    np.testing.assert_array_equal(weigh(theirs, LOSSES[0], jacobian), exact)
    assert np.any(weigh(weighting.mgda(), LOSSES[0], jacobian) != exact)


def test_gradnorm_favours_the_slow():
    weighter = weighting.gradnorm(alpha=1.5, learning_rate=0.1)
    update = jax.jit(weighter.update)
    _, state = update(weighter.init(2), jnp.array([2.0, 2.0]), jnp.eye(2), ALL_LABELLED[:2])
    for _ in range(100):
        weights, state = update(state, jnp.array([2.0, 1.0]), jnp.eye(2), ALL_LABELLED[:2])
    # w_t / mean w = r_t^1.5 with r = (4/3, 2/3) does not sum to T; w stops where the pulls on both are equal.
    assert weights[0] > 1.3
    np.testing.assert_allclose(weights.sum(), 2, rtol=1e-5)


def test_graddrop_keeps_one_sign():
    weighter = weighting.graddrop()
    jacobian = random(6)[0]
    draw = jax.jit(jax.vmap(lambda step: weighter.update(step, jnp.ones(3), jnp.asarray(jacobian), ALL_LABELLED)[0]))
    found = np.asarray(draw(jnp.arange(1000)))
    positive = np.maximum(jacobian, 0).sum(axis=0)
    negative = np.minimum(jacobian, 0).sum(axis=0)
    is_positive = np.isclose(found, positive, atol=1e-5)
    assert (is_positive | np.isclose(found, negative, atol=1e-5)).all()
    purity = (1 + jacobian.sum(axis=0) / np.abs(jacobian).sum(axis=0)) / 2
    np.testing.assert_allclose(is_positive.mean(axis=0), purity, atol=0.06)


def test_graddrop_leak():
    weighter = weighting.graddrop(leak=1.0)
    jacobian = jnp.asarray(random(7)[0])
    direction, _ = weighter.update(weighter.init(3, 8), jnp.ones(3), jacobian, ALL_LABELLED)
    np.testing.assert_allclose(direction, jacobian.sum(axis=0), rtol=1e-5)


def test_db_mtl_parts_are_equally_long():
    jacobians, average = random(8), np.zeros((3, 8))
    weighter = weighting.db_mtl(beta=0.6, beta_sigma=0.5)
    update, state = jax.jit(weighter.update), weighter.init(3, 8)
    for step, (losses, jacobian) in enumerate(zip(LOSSES, jacobians, strict=True)):
        past = 0.6 / (step + 1) ** 0.5
        average = past * average + (1 - past) * jacobian / losses[:, None]
        direction, state = update(state, jnp.asarray(losses), jnp.asarray(jacobian), ALL_LABELLED)
        norm = np.linalg.norm(average, axis=1)
        expected = np.sum(norm.max() / norm[:, None] * average, axis=0)
        np.testing.assert_allclose(direction, expected, rtol=1e-3, atol=1e-4)
    # The weights are those of the losses, whose logarithm has the gradient g / ℓ.
    parts = (weighter.report(state)['weight'] * LOSSES[-1])[:, None] * average
    np.testing.assert_allclose(np.linalg.norm(parts, axis=1), norm.max(), rtol=1e-4)


@pytest.mark.parametrize('name', ['db_mtl', 'moco'])
def test_an_absent_task_waits(name):
    weighter = ALL[name]
    jacobian = jnp.asarray(random(1)[0])
    update = jax.jit(weighter.update)
    _, before = update(weighter.init(3, 8), jnp.ones(3), jacobian, ALL_LABELLED)
    direction, after = update(before, jnp.array([1.0, 0.0, 2.0]), jacobian.at[1].set(0), jnp.array([True, False, True]))
    np.testing.assert_array_equal(after.average[1], before.average[1])
    assert not np.allclose(after.average[0], before.average[0])
    span = np.asarray(after.average)[[0, 2]]
    rest = direction - span.T @ np.linalg.lstsq(span.T, np.asarray(direction), rcond=None)[0]
    assert np.linalg.norm(rest) < 1e-5


def test_excess_mtl():
    found = run('excess_mtl', LOSSES, random(9))
    squares, weights, first = np.zeros((3, 8)), np.ones(3), None
    for step, jacobian in enumerate(random(9).astype(np.float64)):
        squares += jacobian**2
        excess = np.sum(jacobian**2 / np.sqrt(squares + 1e-7), axis=1)
        if first is None:
            first = excess
        else:
            weights = weights * np.exp(1e-2 * excess / first)
            weights *= 3 / weights.sum()
        np.testing.assert_allclose(found.weights[step], weights, rtol=1e-5)
        np.testing.assert_allclose(found.direction[step], weights @ jacobian, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('paper', [False, True])
def test_moco(paper):
    weighter = weighting.moco(normalise=False, projection='simplex', rho=0.1) if paper else weighting.moco()
    update, state = jax.jit(weighter.update), weighter.init(3, 8)
    average, weights, jacobians = np.zeros((3, 8)), np.full(3, 1 / 3), random(2)
    for step, (losses, jacobian) in enumerate(zip(LOSSES, jacobians, strict=True), start=1):
        sample = jacobian.astype(np.float64)
        if not paper:
            sample = losses[:, None] * sample / np.linalg.norm(sample, axis=1, keepdims=True)
        average = average - 0.5 / step**0.5 * (average - sample)
        pull = (average @ average.T + (0.1 if paper else 0) * np.eye(3)) @ weights
        moved = weights - 0.1 / step**0.5 * pull
        weights = simplex(moved) if paper else np.exp(moved) / np.exp(moved).sum()
        direction, state = update(state, jnp.asarray(losses), jnp.asarray(jacobian), ALL_LABELLED)
        np.testing.assert_allclose(direction, weights @ average, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('name', ['modo', 'sdmgrad'])
def test_pairs_of_batches(name):
    weighter = weighting.modo(gamma=0.05) if name == 'modo' else weighting.sdmgrad(iterations=3, learning_rate=0.5)
    update, state = jax.jit(weighter.update), weighter.init(3, 8)
    jacobians = random(3, 0.3) + random(4)[:1]
    weights = np.full(3, 1 / 3)
    for step, jacobian in enumerate(jacobians.astype(np.float64)):
        if step >= 2:
            product = jacobians[step - 2].astype(np.float64) @ jacobians[step - 1].T
            if name == 'modo':
                weights = simplex(weights - 0.05 * (product + 0.1 * np.eye(3)) @ weights)
            else:
                product = product / np.mean(np.sqrt(np.maximum(np.diag(product), 0))) ** 2
                velocity = 0
                for _ in range(3):
                    velocity = 0.5 * velocity + product @ weights + 0.3 * product.mean(axis=1)
                    weights = simplex(weights - 0.5 * velocity)
        total = weights if name == 'modo' else (weights + 0.3 / 3) / 1.3
        direction, state = update(state, jnp.asarray(LOSSES[step]), jnp.asarray(jacobian, jnp.float32), ALL_LABELLED)
        np.testing.assert_allclose(weighter.report(state)['weight'], total, atol=1e-4)
        np.testing.assert_allclose(direction, total @ jacobian, rtol=1e-3, atol=1e-3)
    assert np.ptp(weights) > 0.05


def test_fixed_counts_its_tasks():
    with pytest.raises(ValueError, match='2 entries for 3 tasks'):
        weighting.fixed([1.0, 2.0]).init(3)
    assert examples.weigh(weighting.fixed([1.0, 2.0]), [1.0, 1.0], TWO).tolist() == [1.0, 2.0]
