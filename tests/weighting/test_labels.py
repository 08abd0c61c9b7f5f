"""Masks say which tasks have a label; losses of 0 and below are losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import weighting
from mtkd_jax.weighting.base import RESOLUTION
from mtkd_jax.weighting.scaled import scaled
from tests.weighting import examples
from tests.weighting.examples import ALL, LOSSES, random, run

NEED_POSITIVE = {'db_mtl', 'famo', 'gls', 'gradnorm', 'mgda_loss+', 'moco', 'stch'}
# These read the losses themselves, of any sign; DWA their means, which have to be positive.
READ_ANY = {'dwa', 'imtl', 'imtl_loss', 'uncertainty'}
NAMES = sorted(ALL)


def outcome(name, losses, labelled=True, seed=0):
    """All that five steps answer and report; the gradient of a task without a label is zero."""
    jacobian = random(seed, 0.5) * np.broadcast_to(labelled, (5, 3))[..., None]
    return jax.tree.leaves(run(name, losses, jacobian, labelled))


def unequal(a, b):
    return any(not np.allclose(x, y, rtol=1e-4, atol=1e-7) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('garbage', [-3.0, 5.0, np.nan])
def test_the_loss_of_a_task_without_a_label_is_not_read(name, garbage):
    labelled = np.ones((5, 3), bool)
    labelled[:3, 1] = labelled[4, 0] = False
    expected = outcome(name, np.where(labelled, LOSSES, 0), labelled)
    found = outcome(name, np.where(labelled, LOSSES, garbage), labelled)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('name', sorted(set(ALL) - NEED_POSITIVE - READ_ANY))
@pytest.mark.parametrize('losses', [0.0, -1.0])
def test_weightings_of_gradients_are_the_same_for_losses_of_any_sign(name, losses):
    for a, b in zip(outcome(name, losses * LOSSES), outcome(name, LOSSES), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('name', sorted(NEED_POSITIVE))
@pytest.mark.parametrize('moves', [1.0, 0.0])
def test_a_loss_below_0_is_nan_where_losses_need_to_be_positive(name, moves):
    losses, jacobian = LOSSES.copy(), random(1, 0.5)
    losses[2, 1] = -0.5
    jacobian[2, 1] *= moves
    found = run(name, losses, jacobian)
    assert np.isfinite(found.direction[:2]).all()
    assert np.isnan(found.direction[2]).all()
    # The loop names the weighting where its weights are not finite.
    assert np.isnan(found.weights[2]).any()


@pytest.mark.parametrize('name', sorted(NEED_POSITIVE))
def test_a_loss_of_0_is_the_smallest_that_counts(name):
    losses = LOSSES.copy()
    losses[0, 0] = losses[2:4, 1] = 0
    labelled = losses > 0
    found = outcome(name, losses, seed=1)
    assert all(np.isfinite(x).all() for x in found)
    for a, b in zip(found, outcome(name, np.where(labelled, losses, RESOLUTION), seed=1), strict=True):
        np.testing.assert_array_equal(a, b)
    # Without a label the same losses and gradients mean something else.
    jacobian = random(1, 0.5)
    assert unequal(found, jax.tree.leaves(run(name, losses, jacobian, labelled)))


@pytest.mark.parametrize('name', sorted(READ_ANY))
def test_losses_of_0_and_below_are_losses(name):
    for loss in (0.0, -0.5):
        losses = LOSSES.copy()
        losses[1, 1] = loss
        labelled = np.ones((5, 3), bool)
        labelled[1, 1] = False
        found = outcome(name, losses, seed=1)
        assert all(np.isfinite(x).all() for x in found)
        jacobian = random(1, 0.5)
        assert unequal(found, jax.tree.leaves(run(name, losses, jacobian, labelled)))


@pytest.mark.parametrize('loss', [0.0, -2.0])
def test_learned_scales_follow_losses_of_any_sign(loss):
    """Adam's first step is the learning rate, against the sign of the gradient."""
    for make, sign in ((weighting.uncertainty, -1), (lambda **fields: weighting.imtl('loss', **fields), 1)):
        weighter = make(learning_rate=0.1)
        before = weighter.init(2)
        _, after = weighter.update(before, jnp.array([loss, loss]), None, jnp.array([True, False]))
        moved = jax.tree.leaves(after)[0] - jax.tree.leaves(before)[0]
        np.testing.assert_allclose(moved, [sign * 0.1, 0], rtol=1e-5)


def dwa(losses):
    """Weights of the last step, temperature 1, two steps in an epoch; None: no label."""
    weighter = weighting.dwa(temperature=1.0, steps_per_epoch=2)
    state = weighter.init(2)
    for row in losses:
        labelled = jnp.array([loss is not None for loss in row])
        losses = jnp.array([0.0 if loss is None else loss for loss in row])
        weights, state = weighter.update(state, losses, None, labelled)
    return weights


def test_dwa_needs_positive_means_only():
    softmax = lambda ratio: 2 * jax.nn.softmax(jnp.array(ratio))  # noqa: E731
    # Means (1, 2), then (2, 1).
    found = dwa([[-1.0, 0.0], [3.0, 4.0], [4.0, -1.0], [0.0, 3.0], [1.0, 1.0]])
    np.testing.assert_allclose(found, softmax([2.0, 0.5]), rtol=1e-6)
    # A mean of 0 after one that is positive, and before it: the limits of the ratio.
    np.testing.assert_allclose(dwa([[1.0, 1.0]] * 2 + [[0.0, 1.0]] * 2 + [[1.0, 1.0]]), softmax([0.0, 1.0]), rtol=1e-5)
    np.testing.assert_allclose(dwa([[0.0, 1.0]] * 2 + [[1.0, 1.0]] * 3), [2, 0], atol=1e-6)
    assert np.isnan(dwa([[1.0, 1.0]] * 2 + [[-1.0, 1.0]] * 2 + [[1.0, 1.0]])).all()


@pytest.mark.parametrize('first', [1.0, 4.0])
def test_dwa_knows_nothing_of_an_epoch_without_labels(first):
    """The ratio is 1: the mean of nothing is not 0."""
    for epochs in ([[first, 1.0]] * 2 + [[None, 1.0]] * 2, [[None, 1.0]] * 2 + [[first, 1.0]] * 2):
        np.testing.assert_allclose(dwa([*epochs, [1.0, 1.0]]), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ('make', 'limit'),
    [
        # Σ z log ℓ: the logarithm of the smallest loss is steepest, and the weights have sum 1.
        (weighting.famo, [1, 0, 0]),
        # The shortest vector gives nothing to the one that is infinitely long.
        (lambda: weighting.mgda('loss', solver='exact'), [0, 0.5, 0.5]),
        # T (ℓ/ν)^(1/μ) / ℓ, μ below 1.
        (lambda: weighting.stch(mu=0.5, warmup_steps=1), [0, 1.5, 1.5]),
    ],
)
def test_limits_of_a_loss_that_vanishes(make, limit):
    weighter, jacobian = make(), jnp.eye(3, 8)
    state = examples.initial(weighter)
    for loss in (1.0, 0.0):
        _, weights, state = examples.step(weighter, state, jnp.array([loss, 1.0, 1.0]), jacobian)
    np.testing.assert_allclose(weights, limit, atol=1e-6)


def test_stch_averages_labelled_losses_only():
    weighter = weighting.stch(warmup_steps=1)
    _, state = weighter.update(weighter.init(2), jnp.array([2.0, 7.0]), None, jnp.array([True, False]))
    np.testing.assert_array_equal(state.total, [2, 0])
    np.testing.assert_array_equal(state.number, [1, 0])


def test_famo_of_a_task_without_a_label():
    weighter, labelled = weighting.famo(learning_rate=0.1), jnp.array([True, False, True])
    _, before = weighter.update(weighter.init(3), jnp.array([1.0, 2.0, 3.0]), None, jnp.ones(3, bool))
    weights, after = weighter.update(before, jnp.array([0.5, 9.0, 3.0]), None, labelled)
    assert weights[1] == 0
    np.testing.assert_array_equal(after.last, [0.5, 2, 3])
    np.testing.assert_array_equal(after.logits != 0, labelled)


def test_gradnorm_of_a_task_without_a_label():
    """Even where it has a gradient."""
    weighter, labelled = weighting.gradnorm(), jnp.array([True, False, True])
    gramian = jnp.diag(jnp.array([1.0, 4.0, 9.0]))
    _, state = weighter.update(weighter.init(3), jnp.array([1.0, 9.0, 3.0]), gramian, labelled)
    np.testing.assert_array_equal(state.initial, [1, 0, 3])
    np.testing.assert_array_equal(state.weights != 1, labelled)
    _, state = weighter.update(state, jnp.array([2.0, 5.0, 2.0]), gramian, jnp.ones(3, bool))
    np.testing.assert_array_equal(state.initial, [1, 5, 3])


def test_excess_mtl_of_a_task_without_a_label():
    """Even where it has a gradient."""
    weighter, labelled = weighting.excess_mtl(), jnp.array([True, False, True])
    _, state = weighter.update(weighter.init(3, 8), jnp.ones(3), jnp.asarray(random(3)[0]), labelled)
    np.testing.assert_array_equal(state.initial > 0, labelled)


def test_mgda_by_losses_leaves_out_a_task_without_a_label():
    jacobian, labelled = jnp.asarray(random(2, 0.9)[0]), jnp.array([True, False, True])
    weighter = weighting.mgda('loss', solver='exact')
    _, weights, _ = examples.step(weighter, examples.initial(weighter), jnp.ones(3), jacobian, labelled)
    _, two, _ = examples.step(weighter, examples.initial(weighter, 2), jnp.ones(2), jacobian[labelled])
    np.testing.assert_allclose(weights, [two[0], 0, two[1]], atol=1e-5)


@pytest.mark.parametrize('name', ['gls', 'gradnorm', 'db_mtl'])
def test_a_factor_of_0_takes_a_task_out(name):
    """As if it had no label: its loss of 0 is no loss of the task."""
    weighter, given = ALL[name], scaled(ALL[name], [1.0, 0.0, 1.0])
    losses, jacobian = jnp.asarray(LOSSES[0]), jnp.asarray(random(3, 0.5)[0])
    labelled, mask = jnp.array([True, False, True]), jnp.array([1.0, 0.0, 1.0])
    found = examples.step(given, examples.initial(given), losses, jacobian)
    expected = examples.step(weighter, examples.initial(weighter), losses, mask[:, None] * jacobian, labelled)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, found[2], expected[2])


def test_factors_pass_on_which_tasks_have_a_label():
    weighter = scaled(weighting.gls(), [2.0, 2.0])
    weights, _ = weighter.update((), jnp.array([1.0, 5.0]), None, jnp.array([True, False]))
    np.testing.assert_allclose(weights, [2, 0])
