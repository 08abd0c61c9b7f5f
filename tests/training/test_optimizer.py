"""Optimisers and schedules: what every setting does, by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtkd_jax.training import optimizer
from mtkd_jax.types import UserError
from tests import by_hand

PARAMS = {'network': jnp.asarray([3.0, 4.0])}


def taken(chosen, schedule, count, gradient=(1.0, 1.0), **options):
    """The updates of `count` steps with the same gradient."""
    made = optimizer.make_optimizer(chosen, schedule, 5, 20, {}, **options)
    state, found = made.init(PARAMS), []
    for _ in range(count):
        updates, state = made.update({'network': jnp.asarray(gradient)}, state, PARAMS)
        found.append(np.asarray(updates['network']))
    return np.stack(found)


def constant(epoch, end):
    return optimizer.steps(1.0, epoch, end)


def plain(rate):
    return optimizer.sgd(rate, momentum=0.0)


def test_cosine_falls_from_the_rate_to_its_share():
    cosine = functools.partial(optimizer.cosine, 2.0, final_share=0.1)
    found = -taken(plain, cosine, 21)[:, 0]
    assert found[0] == 2
    np.testing.assert_allclose(found[10], 1.1, rtol=1e-6)
    np.testing.assert_allclose(found[20], 0.2, rtol=1e-6)
    assert (np.diff(found) < 0).all()


def test_polynomial_falls_by_its_power():
    polynomial = functools.partial(optimizer.polynomial, 2.0, power=2.0)
    np.testing.assert_allclose(-taken(plain, polynomial, 11)[[0, 10], 0], [2.0, 0.5], rtol=1e-6)


@pytest.mark.parametrize('name', list(optimizer.SCHEDULES))
def test_warm_up_rises_to_the_schedule_itself(name):
    schedule = functools.partial(optimizer.SCHEDULES[name], 1.0)
    warmed = functools.partial(schedule, warmup_epochs=0.8)  # four of five updates
    found, without = -taken(plain, warmed, 8)[:, 0], -taken(plain, schedule, 8)[:, 0]
    np.testing.assert_allclose(found[:4], without[:4] * [0.25, 0.5, 0.75, 1.0], rtol=1e-6)
    np.testing.assert_allclose(found[4:], without[4:], rtol=1e-6)


def test_weight_decay_is_decoupled_in_adamw_and_part_of_the_gradient_in_sgd():
    decoupled = taken(functools.partial(optimizer.adamw, weight_decay=0.1), constant, 1, (0.0, 0.0))
    np.testing.assert_allclose(decoupled[0], [-0.3, -0.4], rtol=1e-5)
    coupled = taken(functools.partial(optimizer.sgd, momentum=0.0, weight_decay=0.1), constant, 1, (1.0, 0.0))
    np.testing.assert_allclose(coupled[0], [-1.3, -0.4], rtol=1e-6)


@pytest.mark.parametrize('options', [{}, {'b1': 0.5, 'b2': 0.6, 'eps': 0.1}])
def test_adam_by_hand(options):
    """Gradients of several sizes: of equal ones, Adam's steps are the rate, whatever its settings."""
    gradients = np.array([[1.0, -2.0], [0.5, 4.0], [-3.0, 0.1]])
    made = optimizer.adam(lambda count: 0.1, **options)
    found = by_hand.updates(made, jnp.asarray(gradients), jnp.zeros(2))
    np.testing.assert_allclose(found, by_hand.adam(gradients, 0.1, **options), rtol=1e-4)


def test_momentum_adds_up():
    np.testing.assert_allclose(
        -taken(functools.partial(optimizer.sgd, momentum=0.5), constant, 3)[:, 0], [1, 1.5, 1.75]
    )


def test_clipping_keeps_the_direction():
    clipped = taken(plain, constant, 1, (3.0, 4.0), clip_norm=1.0)
    np.testing.assert_allclose(clipped[0], [-0.6, -0.8], rtol=1e-6)
    np.testing.assert_allclose(taken(plain, constant, 1, (0.3, 0.4), clip_norm=1.0)[0], [-0.3, -0.4], rtol=1e-6)


def test_clipping_leaves_other_groups_alone():
    made = optimizer.make_optimizer(plain, constant, 5, 20, {'adaptors': optax.sgd(1.0)}, clip_norm=1.0)
    params = {'network': jnp.zeros(2), 'adaptors': jnp.zeros(2)}
    gradient = {'network': jnp.asarray([3.0, 4.0]), 'adaptors': jnp.asarray([30.0, 40.0])}
    updates, _ = made.update(gradient, made.init(params), params)
    np.testing.assert_allclose(updates['adaptors'], [-30, -40])
    np.testing.assert_allclose(updates['network'], [-0.6, -0.8], rtol=1e-6)


def test_accumulated_steps_are_one_update_of_their_mean():
    made = optimizer.make_optimizer(plain, constant, 5, 20, {}, accumulate_steps=2)
    state, found = made.init(PARAMS), []
    for gradient in ([1.0, 0.0], [3.0, 2.0], [1.0, 1.0]):
        updates, state = made.update({'network': jnp.asarray(gradient)}, state, PARAMS)
        found.append(np.asarray(updates['network']))
    np.testing.assert_allclose(found, [[0, 0], [-2, -1], [0, 0]])


def test_schedules_count_updates_not_steps():
    """Halved at epoch 1 of five steps, two to an update: after 2.5 updates, so from the third on."""
    halved = functools.partial(optimizer.steps, 1.0, halve_at_epochs=(1.0,))
    found = -taken(plain, halved, 8, accumulate_steps=2)[1::2, 0]
    np.testing.assert_allclose(found, [1, 1, 0.5, 0.5])
    rate = optimizer.rate_of_steps(halved, 5, 20, accumulate_steps=2)
    assert [float(rate(step)) for step in range(8)] == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize('epochs', [0.1, 0.2, 0.25])
def test_a_warm_up_of_one_update_is_none(epochs):
    """0.5 to 1.25 updates: the first would already have the full rate."""
    warmed = functools.partial(optimizer.steps, 1.0, warmup_epochs=epochs)
    np.testing.assert_allclose(-taken(plain, warmed, 4)[:, 0], 1.0)


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [('b1', 1.0, 'give a number below 1'), ('eps', float('nan'), 'give finite'), ('power', -1.0, '0 or more')],
)
def test_settings_that_make_no_sense_are_refused(name, value, message):
    with pytest.raises(UserError, match=message):
        optimizer.check('optimizer_settings', {name: value})


@pytest.mark.parametrize('name', list(optimizer.OPTIMIZERS))
def test_every_optimiser_goes_downhill(name):
    made = optimizer.make_optimizer(optimizer.OPTIMIZERS[name], constant, 5, 20, {})
    updates, _ = made.update(jax.tree.map(jnp.ones_like, PARAMS), made.init(PARAMS), PARAMS)
    assert (np.asarray(updates['network']) < 0).all()
