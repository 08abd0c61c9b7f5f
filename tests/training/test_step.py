"""The step: the same on one device and on eight, exact weighting, gradients where they belong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import distill, methods, weighting
from mtkd_jax.data.augment import augmentation
from mtkd_jax.training import sharding
from mtkd_jax.training.diagnostics import diagnosis
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import compile_step, train_step
from mtkd_jax.types import UserError
from tests import small, tiny

OPTIMIZER = small.make_optimizer(1e-3, [1.0], 10, 1e-2, 5e-4)


STILL = small.make_optimizer(0.0, [], 10, 0.0, 0.0)
AUGMENT = augmentation('scale_crop_flip', small.TASKS, 0)


def one_step(method, devices=1, weights=None, batch=None, **options):
    """(state before, state after, scalars) of one step on `devices` devices."""
    mesh = small.mesh(devices)
    weighter = weighting.uniform() if weights is None else weighting.fixed(weights)
    before = initial_state(method, weighter, OPTIMIZER, jax.random.key(0), (8, *small.SIZE, 3))
    batch = batch or next(small.split(16).ordered())
    step = compile_step(train_step(method, weighter, OPTIMIZER, 10, **options), mesh)
    state = sharding.replicate(jax.tree.map(jnp.copy, before), mesh)
    batch = jax.device_put(batch, sharding.batched(mesh))
    after, scalars = step(state, sharding.replicate(small.frozen(), mesh), batch)
    return before, jax.device_get(after), jax.device_get(scalars)


def test_one_and_eight_devices_agree():
    _, one, scalars_one = one_step(small.kd_mtl())
    _, eight, scalars_eight = one_step(small.kd_mtl(), devices=8)
    for name in scalars_one:
        # The gradient's norm feels every pooling maximum that rounding moves.
        rtol = 1e-2 if name == 'gradient_norm' else 1e-3
        np.testing.assert_allclose(scalars_one[name], scalars_eight[name], rtol=rtol, err_msg=name)
    # Batch normalisation over the global batch: per-device statistics would differ far more than this.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.batch_stats, eight.batch_stats)
    # Adam's first step is ± the learning rate; only where a gradient is rounding noise may the sign differ.
    different = jax.tree.map(lambda a, b: np.mean(np.abs(a - b) > 1e-4), one.params, eight.params)
    sizes = jax.tree.map(np.size, one.params)
    total = sum(d * s for d, s in zip(jax.tree.leaves(different), jax.tree.leaves(sizes), strict=True))
    assert total / sum(jax.tree.leaves(sizes)) < 0.05


def test_total_is_the_weighted_sum():
    _, _, s = one_step(small.kd_mtl(weights=(1.0, 3.0, 2.0)), weights=(0.5, 1.0, 4.0))
    expected = 0.5 * s['loss/segmentation'] + s['loss/depth'] + 4 * s['loss/normals']
    expected += s['distillation/segmentation'] + 3 * s['distillation/depth'] + 2 * s['distillation/normals']
    np.testing.assert_allclose(s['loss/total'], expected, rtol=1e-6)
    assert s['weight/normals'] == 4


def test_teachers_do_not_change_and_two_optimisers_act():
    before, after, _ = one_step(small.kd_mtl())
    moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max(), before.params, after.params)
    # Adam's first update is the learning rate: 1e-3 for the network, 1e-2 for the adaptors.
    assert max(jax.tree.leaves(moved['network'])) == pytest.approx(1e-3, rel=1e-2)
    assert max(jax.tree.leaves(moved['adaptors'])) == pytest.approx(1e-2, rel=1e-2)


def test_a_task_without_labels_has_no_loss_and_no_gradient():
    batch = next(small.split(16).ordered())
    target = batch.targets['depth']
    unlabelled = target._replace(mask=np.zeros_like(target.mask), value=np.full_like(target.value, np.inf))
    batch = batch._replace(targets={**batch.targets, 'depth': unlabelled})
    before, after, scalars = one_step(small.kd_mtl(), batch=batch)
    assert scalars['loss/depth'] == 0
    assert np.isfinite(scalars['gradient_norm'])
    head = before.params['network']['head_depth'], after.params['network']['head_depth']
    jax.tree.map(np.testing.assert_array_equal, *head)


@pytest.fixture(scope='module')
def tiny_kd_mtl():
    """(method, variables of its teachers, state that steps leave as it is, batch)."""
    teacher = tiny.Network(())
    method = methods.kd_mtl.KDMTL(
        network=tiny.Network(),
        tasks=tiny.TASKS,
        adaptors=distill.Adaptors(small.NAMES, ('last',)),
        teachers=dict.fromkeys(small.NAMES, teacher),
        points=('last',),
        weights=dict.fromkeys(small.NAMES, 1.0),
    )
    mesh, batch = small.mesh(), next(small.split(8).ordered())
    frozen = {
        n: teacher.init(jax.random.key(i), jnp.asarray(batch.image), train=False) for i, n in enumerate(small.NAMES)
    }
    state = initial_state(method, weighting.uniform(), STILL, jax.random.key(9), batch.image.shape)
    return method, sharding.replicate(frozen, mesh), state, jax.device_put(batch, sharding.batched(mesh))


def test_every_network_sees_the_same_augmented_batch(tiny_kd_mtl):
    """Augmenting inside a step, or a diagnosis, is augmenting what goes in: teachers see what their student sees."""
    method, frozen, state, batch = tiny_kd_mtl
    augmented = jax.jit(AUGMENT)(state.step, batch)
    assert not np.array_equal(augmented.image, batch.image)
    found = []
    for own, given in (({'augment': AUGMENT}, batch), ({}, augmented)):
        step = jax.jit(train_step(method, weighting.uniform(), STILL, 10, **own))
        diagnose = diagnosis(method, small.mesh(), *own.values())
        found.append(jax.device_get(step(state, frozen, given)[1] | diagnose(state, frozen, given)))
    inside, before = found
    assert {'distillation/depth', 'cka/depth/last', 'gradient/depth', 'cosine/depth/normals'} <= set(inside)
    for name in inside:
        np.testing.assert_allclose(inside[name], before[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_augmented_steps_differ_and_compile_once(tiny_kd_mtl):
    method, frozen, state, batch = tiny_kd_mtl
    step = compile_step(train_step(method, weighting.uniform(), STILL, 10, augment=AUGMENT), small.mesh())
    state, losses = sharding.replicate(jax.tree.map(jnp.copy, state), small.mesh()), []
    for _ in range(3):
        state, scalars = step(state, frozen, batch)
        losses.append(float(scalars['loss/depth']))
    assert len(set(losses)) == 3
    assert step._cache_size() == 1


@pytest.mark.parametrize('dtype', [jnp.bfloat16])
def test_mixed_precision_keeps_float32_state(dtype):
    _, after, scalars = one_step(small.kd_mtl(dtype=dtype))
    assert {x.dtype for x in jax.tree.leaves((after.params, after.batch_stats))} == {np.dtype('float32')}
    _, _, full = one_step(small.kd_mtl())
    for name in full:
        if name.startswith(('loss', 'distillation')):
            np.testing.assert_allclose(scalars[name], full[name], rtol=0.1, err_msg=name)
    assert scalars['loss/total'] != full['loss/total']


@pytest.mark.parametrize(('epochs', 'factor'), [((2.0,), 0.5), ((2.0, 2.0), 0.25)])
def test_learning_rate_is_halved_where_the_epoch_begins(epochs, factor):
    optimizer = small.make_optimizer(1.0, epochs, 5, 1.0, 0.0)
    params = {'network': jnp.zeros(()), 'adaptors': jnp.zeros(())}
    state = optimizer.init(params)
    taken = []
    for _ in range(12):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        taken.append((float(updates['network']), float(updates['adaptors'])))
    np.testing.assert_allclose([n for n, _ in taken], [-1.0] * 10 + [-factor] * 2, rtol=1e-3)
    np.testing.assert_allclose([a for _, a in taken], [-1.0] * 12, rtol=1e-3)


def test_learning_rate_decays_in_steps_on_top_of_halving():
    optimizer = small.make_optimizer(1.0, (2.0,), 2, 1.0, 0.0, decay_every_epochs=1.5, decay_factor=0.8)
    params = {'network': jnp.zeros(()), 'adaptors': jnp.zeros(())}
    state, taken = optimizer.init(params), []
    for _ in range(7):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        taken.append((float(updates['network']), float(updates['adaptors'])))
    np.testing.assert_allclose([n for n, _ in taken], [-1, -1, -1, -0.8, -0.4, -0.4, -0.32], rtol=1e-3)
    np.testing.assert_allclose([a for _, a in taken], [-1] * 7, rtol=1e-3)


def test_adaptor_l2_is_added_to_the_gradient():
    optimizer = small.make_optimizer(1.0, [], 1, 1.0, 0.5)
    params = {'network': jnp.asarray([4.0]), 'adaptors': jnp.asarray([4.0, -4.0])}
    gradient = {'network': jnp.zeros(1), 'adaptors': jnp.asarray([-1.0, 0.0])}
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    # Gradients become -1 + 0.5·4 = 1 and -2; Adam's first step keeps only their sign. The network has no L2.
    np.testing.assert_allclose(updates['adaptors'], [-1.0, 1.0], rtol=1e-5)
    assert updates['network'] == 0


def test_mesh_errors():
    with pytest.raises(UserError, match='`devices` is 99'):
        sharding.make_mesh(99)
    with pytest.raises(UserError, match=r'`batch_size` is 6.*multiple of 4'):
        sharding.check_batch_size('batch_size', 6, small.mesh(4))
