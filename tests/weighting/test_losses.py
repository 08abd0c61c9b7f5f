"""Weightings that read the losses only, against values computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import weighting


def weights(weighter, losses):
    """Weights of each step for a list of losses [T], None where a task has no label, and the last state."""
    state, found = weighter.init(len(losses[0])), []
    update = jax.jit(lambda state, losses, labelled: weighter.update(state, losses, None, labelled))
    for row in losses:
        labelled = jnp.array([loss is not None for loss in row])
        weight, state = update(state, jnp.array([0.0 if loss is None else loss for loss in row], jnp.float32), labelled)
        found.append(np.asarray(weight))
    return np.array(found), state


def test_uncertainty():
    weighter = weighting.uncertainty(initial=0.0, learning_rate=0.1)
    found, state = weights(weighter, [[3.0, 0.5], [3.0, 0.5]])
    # 1 / (2 exp 0); Adam's first step is the learning rate towards s = log ℓ.
    np.testing.assert_allclose(found[0], [0.5, 0.5])
    np.testing.assert_allclose(found[1], [0.5 * np.exp(-0.1), 0.5 * np.exp(0.1)], rtol=1e-5)
    assert weighter.report(state)['log_variance'][0] > 0.1
    # At rest exp s = ℓ, so that w ℓ = 1/2.
    found, _ = weights(weighter, [[3.0, 0.5]] * 200)
    np.testing.assert_allclose(found[-1] * [3.0, 0.5], 0.5, rtol=0.02)


def test_dwa():
    losses = [[1.0, 2.0], [3.0, 2.0], [1.0, None], [1.0, 1.0], [9.0, 9.0], [9.0, 9.0], [1.0, 1.0]]
    found, _ = weights(weighting.dwa(temperature=2.0, steps_per_epoch=2), losses)
    np.testing.assert_array_equal(found[:4], 1)
    # Means 2 and 2, then 1 and (the batch without a label left out) 1; then 9 and 9.
    expected = np.exp([1 / 4, 1 / 4])
    np.testing.assert_allclose(found[4:6], np.tile(2 * expected / expected.sum(), (2, 1)), rtol=1e-6)
    found, _ = weights(weighting.dwa(temperature=0.5), [[4.0, 4.0], [1.0, 2.0], [5.0, 5.0], [5.0, 5.0]])
    for row, ratio in ((2, [1 / 4, 2 / 4]), (3, [5.0, 2.5])):
        expected = np.exp(np.array(ratio) / 0.5)
        np.testing.assert_allclose(found[row], 2 * expected / expected.sum(), rtol=1e-5)


def test_dwa_of_kd_mtl_s_code_has_temperature_1():
    losses = [[4.0, 4.0], [1.0, 2.0], [5.0, 5.0]]
    found, _ = weights(weighting.dwa(variant='kd4mtl'), losses)
    expected = np.exp([1 / 4, 2 / 4])
    np.testing.assert_allclose(found[2], 2 * expected / expected.sum(), rtol=1e-5)
    np.testing.assert_array_equal(weights(weighting.dwa(), losses)[0], weights(weighting.dwa(2.0), losses)[0])


def test_rlw():
    found, _ = weights(weighting.rlw(), [[1.0, 2.0, 3.0]] * 400)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    # Softmax of standard normals: their logarithms differ by a normal of variance 2.
    difference = np.log(found[:, 0] / found[:, 1])
    assert abs(difference.mean()) < 0.25
    assert 1.6 < difference.var() < 2.4
    again, _ = weights(weighting.rlw(seed=1), [[1.0, 2.0, 3.0]])
    assert not np.allclose(again[0], found[0])


def test_gls():
    found, _ = weights(weighting.gls(), [[1.0, 4.0], [1e-20, 1e20], [3.0, None]])
    # M = 2: 2 / (2 · 1), 2 / (2 · 4). M = 1. One task: its own loss.
    np.testing.assert_allclose(found[0], [1.0, 0.25], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.5e20, 0.5e-20], rtol=1e-4)
    np.testing.assert_allclose(found[2], [1.0, 0.0], rtol=1e-6)


def test_gls_is_the_gradient_of_the_geometric_mean():
    losses = jnp.array([0.5, 2.0, 3.0])
    expected = jax.grad(lambda losses: jnp.prod(losses) ** (1 / 3))(losses)
    np.testing.assert_allclose(weights(weighting.gls(), [losses])[0][0], expected, rtol=1e-5)


def test_imtl_loss_half():
    weighter = weighting.imtl('loss', learning_rate=0.1)
    assert weighter.needs == 'losses'
    found, _ = weights(weighter, [[4.0, 0.25]] * 200)
    np.testing.assert_array_equal(found[0], 1)
    np.testing.assert_allclose(found[1], np.exp([-0.1, 0.1]), rtol=1e-5)
    np.testing.assert_allclose(found[-1] * [4.0, 0.25], 1, rtol=0.02)


def test_famo():
    found, state = weights(weighting.famo(learning_rate=0.1), [[1.0, 4.0], [1.0, 2.0]])
    # z = ½: 1 and 1/4, scaled to sum 1.
    np.testing.assert_allclose(found[0], [0.8, 0.2], rtol=1e-6)
    # The second task improved, δ = (0, log 2): against (−x, x), x = log 2 / 4. Adam's second step, after one of zero,
    # has the moments (1 − β) x and (1 − β) x², and divides them by 1 − β² each.
    moved = 0.1 * (0.1 / (1 - 0.9**2)) / np.sqrt(0.001 / (1 - 0.999**2))
    np.testing.assert_allclose(state.logits, [moved, -moved], rtol=1e-4)
    ratio = np.exp([moved, -moved]) / [1.0, 2.0]
    np.testing.assert_allclose(found[1], ratio / ratio.sum(), rtol=1e-5)


def test_famo_gradient_of_the_softmax():
    """Without moments Adam would follow z (δ − z·δ), the softmax's transposed derivative of δ."""
    logits, delta = jnp.array([0.3, -0.2, 0.1]), jnp.array([0.5, -0.1, 0.2])
    share, pull = jax.vjp(jax.nn.softmax, logits)
    np.testing.assert_allclose(share * (delta - share @ delta), pull(delta)[0], rtol=1e-5)


def test_stch():
    losses = [[9.0, 9.0], [1.0, 4.0], [3.0, 4.0], [1.0, 4.0], [None, 4.0], [None, None]]
    found, _ = weights(weighting.stch(mu=0.5, warmup_steps=3, nadir_steps=2), losses)
    np.testing.assert_allclose(found[:3], 1 / np.array(losses[:3], float), rtol=1e-6)
    # ν = (2, 4): ratios ½ and 1, to the power 1/μ = 2, are ¼ and 1.
    np.testing.assert_allclose(found[3], 2 * np.array([0.2, 0.8]) / [1.0, 4.0], rtol=1e-5)
    np.testing.assert_allclose(found[4], [0.0, 2 / 4], rtol=1e-5)
    np.testing.assert_array_equal(found[5], 0)


def test_stch_is_the_gradient_of_its_objective():
    nadir, losses, mu = jnp.array([2.0, 4.0, 1.0]), jnp.array([1.0, 4.0, 0.5]), 0.3
    objective = lambda losses: 3 * mu * jax.nn.logsumexp(jnp.log(losses / nadir) / mu)  # noqa: E731
    found, _ = weights(weighting.stch(mu=mu, warmup_steps=1), [nadir, losses])
    np.testing.assert_allclose(found[1], jax.grad(objective)(losses), rtol=1e-4)


@pytest.mark.parametrize(
    ('weighter', 'kept'),
    [
        (weighting.uncertainty(learning_rate=0.1), 'log_variance'),
        (weighting.imtl('loss', learning_rate=0.1), 'log_scale'),
        (weighting.famo(learning_rate=0.1), 'logit'),
    ],
)
def test_what_is_learned_waits_for_a_label(weighter, kept):
    losses = [[3.0, 2.0, 1.0], [2.0, 2.0, 1.0], [3.0, 1.0, 2.0]]
    _, before = weights(weighter, losses)
    _, after = weights(weighter, [*losses, [3.0, None, 2.0], [2.0, None, 2.0]])
    assert weighter.report(after)[kept][1] == weighter.report(before)[kept][1]
    assert weighter.report(after)[kept][0] != weighter.report(before)[kept][0]
