"""KD-MTL: the distance, the teachers' modes, who gets a gradient."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import distill, models
from mtkd_jax.distill import feature_distance
from mtkd_jax.methods import Supervised
from mtkd_jax.methods.kd_mtl import KDMTL
from tests import by_hand, small
from tests.methods.test_supervised import unequal

BATCH = jax.tree.map(jnp.asarray, next(small.split(8).ordered()))


def variables(method, seed=0):
    return method.init(jax.random.key(seed), jnp.asarray(BATCH.image))


def test_distance_by_hand():
    a = jnp.array([[[[3.0, 4.0], [0.0, 2.0]]]])
    b = jnp.array([[[[3.0, 4.0], [2.0, 0.0]]]])
    # The first position agrees; at the second two orthogonal unit vectors are √2 apart.
    both = jnp.ones((1, 1, 1, 1), bool)
    assert feature_distance(a, b, both) == pytest.approx(1.0, abs=1e-5)
    assert feature_distance(5 * a, 0.1 * b, both) == pytest.approx(1.0, abs=1e-3)
    assert feature_distance(a, a, both) == 0
    zeros = jnp.zeros_like(a)
    assert np.isfinite(jax.grad(feature_distance)(zeros, zeros, both)).all()


def test_images_without_a_label_of_the_task_are_not_distilled():
    a, b = jax.random.normal(jax.random.key(0), (2, 3, 2, 2, 5))
    labelled = jnp.array([True, False, True]).reshape(3, 1, 1, 1)
    chosen = feature_distance(a[::2], b[::2], labelled[::2])
    np.testing.assert_allclose(feature_distance(a, b, labelled), chosen, rtol=1e-6)
    nobody = jnp.zeros_like(labelled)
    assert feature_distance(a, b, nobody) == 0
    np.testing.assert_array_equal(jax.grad(feature_distance)(a, b, nobody), jnp.zeros_like(a))


def test_the_network_starts_as_the_supervised_one_does():
    plain = Supervised(small.network(), small.TASKS)
    jax.tree.map(
        np.testing.assert_array_equal,
        variables(small.kd_mtl())['params']['network'],
        variables(plain)['params']['network'],
    )


@pytest.mark.parametrize('points', [('last',), ('mid', 'last')])
def test_only_the_chosen_points_are_distilled(points):
    method = small.kd_mtl(points)
    adaptors = variables(method)['params']['adaptors']
    assert set(adaptors) == {f'{name}_{point}' for name in small.NAMES for point in points}


def test_teachers_run_with_running_statistics_unless_asked_otherwise():
    start = variables(small.kd_mtl())
    kept, batch = (
        jax.jit(functools.partial(small.losses, small.kd_mtl(teacher_batch_stats=flag)))(start, small.frozen(), BATCH)[
            0
        ].distillation
        for flag in (False, True)
    )
    assert all(kept[name] != batch[name] for name in small.NAMES)
    # Only running statistics that are not the batch's make the difference visible: shift them.
    shifted = jax.tree.map(lambda x: x, small.frozen())
    shifted['depth']['batch_stats'] = jax.tree.map(lambda x: x + 1, shifted['depth']['batch_stats'])
    again = jax.jit(functools.partial(small.losses, small.kd_mtl(teacher_batch_stats=True)))(start, shifted, BATCH)[
        0
    ].distillation
    np.testing.assert_allclose(again['depth'], batch['depth'], rtol=1e-6)


def test_every_task_is_distilled_on_the_images_that_carry_its_own_label():
    method, batch = small.kd_mtl(points=('mid', 'last')), unequal(BATCH)
    start = variables(method)
    losses, _ = jax.jit(functools.partial(small.losses, method))(start, small.frozen(), batch)
    outputs, _ = models.train_outputs(method.network, method.network_variables(start), batch.image)
    for i, name in enumerate(small.NAMES):
        taught, expected = method.teach(small.frozen(), batch.image)[name], 0.0
        for point in method.points:
            own = outputs.features[point] @ start['params']['adaptors'][f'{name}_{point}']['kernel'][0, 0]
            unit = [np.asarray(x / jnp.sqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-6)) for x in (own, taught[point])]
            expected += np.delete(np.sum((unit[0] - unit[1]) ** 2, axis=-1), i, axis=0).mean()
        np.testing.assert_allclose(losses.distillation[name], expected, rtol=1e-4)


@pytest.mark.parametrize('settings', [(0.1, 5e-4), (0.5, 2.0)])
def test_adaptors_follow_adam_with_l2_in_the_gradient(settings):
    rate, l2 = settings
    method = dataclasses.replace(small.kd_mtl(), adaptor_optimizer=settings)
    kernel, gradients = np.array([3.0, -1.0]), np.array([[-4.0, 1e-3], [1.0, 2e-3], [1e-3, -1e-3]])
    found = by_hand.updates(method.optimizers()['adaptors'], jnp.asarray(gradients), jnp.asarray(kernel))
    # Adam's first step says little: only the sign of the gradient. The later ones weigh their sizes.
    np.testing.assert_allclose(found, by_hand.adam(gradients + l2 * kernel, rate), rtol=1e-4)


def test_the_papers_adaptor_optimizer_is_the_default():
    assert small.kd_mtl().adaptor_optimizer == (0.1, 5e-4)


def test_teachers_get_no_gradient_and_adaptors_only_theirs():
    method = small.kd_mtl()
    start = variables(method)

    def depth_distance(params, frozen):
        return small.losses(method, {**start, 'params': params}, frozen, BATCH)[0].distillation['depth']

    params, frozen = jax.jit(jax.grad(depth_distance, argnums=(0, 1)))(start['params'], small.frozen())
    assert all(not np.any(x) for x in jax.tree.leaves(frozen))
    for name, gradient in params['adaptors'].items():
        assert np.any(gradient['kernel']) == name.startswith('depth_')
    assert all(not np.any(x) for name in small.NAMES for x in jax.tree.leaves(params['network'][f'head_{name}']))
    assert np.any(params['network']['encoder_0']['conv_0']['kernel'])


def test_features_of_each_tasks_own_are_distilled_into_it():
    """On MTAN: both points, from single-task MTANs; the other task's masks, head and adaptors get nothing."""
    chosen, widths = small.TASKS[1:], (4, 6, 8, 10, 12)
    names = [task.name for task in chosen]
    method = KDMTL(
        network=models.MTAN(chosen, widths),
        tasks=chosen,
        adaptors=distill.Adaptors(tuple(names), ('mid', 'last')),
        teachers={task.name: models.MTAN((task,), widths) for task in chosen},
        points=('mid', 'last'),
        weights=dict.fromkeys(names, 1.0),
    )
    batch = jax.tree.map(lambda x: x[:2], BATCH)
    start = small.filled(jax.eval_shape(method.init, jax.random.key(0), batch.image))
    frozen = {
        name: small.filled(jax.eval_shape(functools.partial(teacher.init, train=False), jax.random.key(0), batch.image))
        for name, teacher in method.teachers.items()
    }
    shapes = {name: tree['kernel'].shape for name, tree in start['params']['adaptors'].items()}
    expected = {'mid': (1, 1, 12, 12), 'last': (1, 1, 4, 4)}
    assert shapes == {f'{name}_{point}': shape for name in names for point, shape in expected.items()}

    def depth_distance(params):
        losses = small.losses(method, {**start, 'params': params}, frozen, batch)[0]
        return losses.distillation['depth'], losses

    (_, losses), gradient = jax.jit(jax.value_and_grad(depth_distance, has_aux=True))(start['params'])
    assert all(np.isfinite(x) and x > 0 for x in jax.tree.leaves((losses.task, losses.distillation)))
    for name, tree in gradient['adaptors'].items():
        assert np.any(tree['kernel']) == name.startswith('depth_')
    for name, tree in gradient['network'].items():
        if name.endswith('_normals') or name == 'head_depth':
            assert not any(np.any(x) for x in jax.tree.leaves(tree)), name
    for name in ('encoder_0_first', 'decoder_0_rest', 'encoder_pass_0', 'decoder_attention_0_depth'):
        assert any(np.any(x) for x in jax.tree.leaves(gradient['network'][name])), name
