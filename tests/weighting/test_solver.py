"""The interior point against active sets tried one by one in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import weighting
from mtkd_jax.weighting import solver
from mtkd_jax.weighting.cosines import cosines


def gradients(seed, number=4, conflict=0.9):
    rows = np.random.default_rng(seed).standard_normal((number, 12))
    return (rows - conflict * rows.mean(axis=0)).astype(np.float32)


def supports(number):
    return itertools.chain.from_iterable(itertools.combinations(range(number), k) for k in range(number + 1))


def projection(gramian, source):
    """The v ≥ u that minimises vᵀGv."""
    best, least = None, np.inf
    for support in map(list, supports(len(source))):
        added = np.zeros(len(source))
        added[support] = np.linalg.solve(gramian[np.ix_(support, support)], -(gramian @ source)[support])
        value = (source + added) @ gramian @ (source + added)
        if (added >= -1e-12).all() and value < least:
            best, least = source + added, value
    return best


def shortest(gramian):
    """The simplex's w that minimises wᵀGw."""
    best, least = None, np.inf
    for support in map(list, supports(len(gramian))):
        if support:
            weights = np.zeros(len(gramian))
            weights[support] = np.linalg.solve(gramian[np.ix_(support, support)], np.ones(len(support)))
            weights /= weights.sum()
            if (weights >= -1e-12).all() and weights @ gramian @ weights < least:
                best, least = weights, weights @ gramian @ weights
    return best


def run(weighter, gramian):
    """(weights, states) for Gramians [n t t] and losses of 1."""
    number = gramian.shape[-1]
    update = jax.jit(jax.vmap(weighter.update, in_axes=(None, None, 0, None)))
    return update(weighter.init(number), jnp.ones(number), jnp.asarray(gramian), jnp.ones(number, bool))


@pytest.fixture(scope='module')
def batch():
    """Twelve sets of conflicting gradients, and their Gramians in float64 and float32."""
    rows = np.stack([gradients(seed) for seed in range(12)])
    exact = np.einsum('nip,njp->nij', rows.astype(np.float64), rows.astype(np.float64))
    return rows, exact, exact.astype(np.float32)


def test_shortest_vector(batch):
    _, exact, gramians = batch
    weights, outcome = run(weighting.mgda(solver='exact'), gramians)
    np.testing.assert_allclose(weights, [shortest(gramian) for gramian in exact], atol=1e-4)
    assert outcome.converged.all()


def test_projections(batch):
    _, exact, gramians = batch
    expected = [np.mean([projection(g, e) for e in np.eye(4)], axis=0) for g in exact]
    weights, outcome = run(weighting.upgrad(regularisation=0.0), gramians)
    np.testing.assert_allclose(weights, expected, rtol=1e-3)
    assert outcome.converged.all()
    weights, _ = run(weighting.dualproj(regularisation=0.0), gramians)
    np.testing.assert_allclose(weights, [projection(g, np.ones(4) / 4) for g in exact], rtol=1e-3)


@pytest.mark.parametrize('alpha', [0.5, 1.0, 2.0, 10.0])
def test_fair_gains(batch, alpha):
    _, exact, gramians = batch
    weights, outcome = run(weighting.fairgrad(alpha), gramians)
    gains = np.einsum('nij,nj->ni', exact, np.asarray(weights, np.float64))
    np.testing.assert_allclose(gains, np.asarray(weights) ** (-1 / alpha), rtol=2e-3)
    assert outcome.converged.all()


def test_nash_bargain(batch):
    rows, exact, gramians = batch
    weights, _ = run(weighting.nash_mtl(max_norm=None), gramians)
    norm = np.linalg.norm(exact, axis=(1, 2))
    gains = np.einsum('nij,nj->ni', exact, np.asarray(weights, np.float64)) / norm[:, None]
    np.testing.assert_allclose(gains * weights, 1, rtol=1e-3)
    clipped, _ = run(weighting.nash_mtl(max_norm=0.7), gramians)
    direction = np.einsum('ni,nip->np', clipped, rows)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 0.7, rtol=1e-3)
    np.testing.assert_allclose(clipped / clipped[:, :1], weights / weights[:, :1], rtol=1e-4)


@pytest.mark.parametrize('c', [0.1, 0.5, 0.9])
def test_conflict_averse(batch, c):
    """No w of the simplex, of many drawn, is better; the step is as long as allowed."""
    _, exact, gramians = batch
    weights, outcome = run(weighting.cagrad(c), gramians)
    assert outcome.converged.all()
    assert (np.asarray(weights) >= 1 / 4 - 1e-6).all()
    draws = np.random.default_rng(0).dirichlet(np.full(4, 0.5), 2000)
    for gramian, found in zip(exact, np.asarray(weights, np.float64), strict=True):
        added = found - 1 / 4
        radius = c * np.sqrt(gramian.mean())
        np.testing.assert_allclose(np.sqrt(added @ gramian @ added), radius, rtol=1e-3)
        value = lambda w: gramian.mean(axis=0) @ w.T + radius * np.sqrt(np.sum(w @ gramian * w, -1))  # noqa: E731,B023
        assert value(added / added.sum()) <= value(draws).min() + 1e-4 * radius


def test_scale_does_not_matter():
    rows = gradients(1)
    scale = np.array([1e-6, 1e-2, 1e2, 1e6], np.float32)
    scaled = rows * scale[:, None]
    gramians = np.stack([rows @ rows.T, scaled @ scaled.T])
    weights, outcome = run(weighting.nash_mtl(max_norm=None), gramians)
    # Nash: α ‖g‖ does not depend on ‖g‖, up to the common norm.
    relative = np.stack([weights[0], weights[1] * scale])
    np.testing.assert_allclose(relative[0] / relative[0, 0], relative[1] / relative[1, 0], rtol=1e-3)
    assert outcome.converged.all()


def test_cosines():
    rows = gradients(2) * np.array([1e-15, 1.0, 0.0, 1e15], np.float32)[:, None]
    parts = cosines(jnp.asarray(rows @ rows.T))
    np.testing.assert_array_equal(parts.moves, [True, True, False, True])
    norm = np.linalg.norm(rows.astype(np.float64), axis=1)
    np.testing.assert_allclose(parts.scale * parts.length * parts.moves, norm, rtol=1e-5)
    np.testing.assert_allclose(parts.cosine[0, 1], rows[0] @ rows[1] / norm[0] / norm[1], atol=1e-5)
    np.testing.assert_array_equal(parts.cosine[2], [0, 0, 1, 0])


def test_a_failure_is_said():
    """−x has no minimum: x runs away."""
    solution = jax.jit(lambda: solver.minimise(lambda x: (-jnp.ones(2), jnp.zeros((2, 2))), jnp.ones(2)))()
    assert not solution.converged
    assert not solver.report(solver.outcome(solution))['converged']


def test_no_bargain():
    """Equal and opposite gradients leave no gain to share: weights that the ridge bounds, and hardly a direction."""
    weights, _ = run(weighting.fairgrad(), np.array([[[1.0, -1.0], [-1.0, 1.0]]], np.float32))
    np.testing.assert_allclose(weights[0], 1 / np.sqrt(solver.RIDGE), rtol=0.1)
    assert abs(weights[0, 0] - weights[0, 1]) < 1e-3 * weights[0, 0]


def test_frank_wolfe_says_how_far_it_is(batch):
    _, exact, gramians = batch
    weighter = weighting.mgda()
    weights, outcome = run(weighter, gramians)
    for gramian, found, residual in zip(exact, np.asarray(weights, np.float64), outcome.residual, strict=True):
        length = found @ gramian @ found
        # The gap bounds the distance from the least length.
        assert length - shortest(gramian) @ gramian @ shortest(gramian) <= length * (residual + 1e-5)
        np.testing.assert_allclose(residual, (length - (gramian @ found).min()) / length, atol=1e-3)
