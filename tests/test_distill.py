"""Distillation as a library: distances and adaptors on arrays, without tasks or networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import distill, models
from mtkd_jax.distill import Adaptor, Adaptors, MlpAdaptor, average, feature_distance
from mtkd_jax.methods.kd_mtl import KDMTL
from mtkd_jax.methods.method import feature_similarity
from mtkd_jax.types import UserError
from tests import small

KEY = jax.random.key(0)


def features(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_all_images_count_unless_told_which():
    a, b = features(2, 3, 2, 2, 5)
    labelled = jnp.array([True, False, True])
    everything = feature_distance(a, b)
    np.testing.assert_allclose(everything, feature_distance(a, b, jnp.ones(3, bool)), rtol=1e-6)
    chosen = feature_distance(a[::2], b[::2])
    np.testing.assert_allclose(feature_distance(a, b, labelled), chosen, rtol=1e-6)
    np.testing.assert_array_equal(
        feature_distance(a, b, labelled), feature_distance(a, b, labelled.reshape(3, 1, 1, 1))
    )
    assert abs(chosen - everything) > 1e-3


def test_distances_of_predictions_are_averaged_over_the_labelled_images():
    own, taught = jnp.zeros((2, 1, 2, 2)), jnp.array([[[[3.0, 4.0], [0.0, 0.0]]], [[[6.0, 8.0], [6.0, 8.0]]]])
    apart = distill.l2(own, taught)
    assert average(apart) == (5 + 0 + 10 + 10) / 4
    assert average(apart, jnp.array([True, False])) == 2.5
    assert average(apart, jnp.zeros(2, bool)) == 0


@pytest.mark.parametrize('shape', [(2, 4, 4, 5), (2, 1, 1, 3), (1, 4, 4, 3)])
def test_features_of_other_shapes_are_refused_and_not_broadcast(shape):
    with pytest.raises(UserError, match=r'Features \(2, 4, 4, 3\) and .* differ in shape; .*`Adaptor`'):
        feature_distance(features(2, 4, 4, 3), features(*shape))


def test_an_adaptor_brings_features_to_the_teachers_width_and_size():
    x = features(2, 4, 6, 3)
    variables = Adaptor(7, (8, 12)).init(KEY, x)
    assert jax.tree.map(jnp.shape, variables) == {'params': {'kernel': (1, 1, 3, 7)}}
    mixed = jnp.einsum('bhwc,cd->bhwd', x, variables['params']['kernel'][0, 0], precision='highest')
    np.testing.assert_allclose(Adaptor(7).apply(variables, x), mixed, atol=1e-5)
    larger = Adaptor(7, (8, 12)).apply(variables, x)
    np.testing.assert_allclose(larger, jax.image.resize(mixed, (2, 8, 12, 7), 'bilinear'), atol=1e-5)
    # Half-pixel centres: each new pixel is the mean of the four old ones around its centre, and no others.
    smaller = Adaptor(7, (2, 3)).apply(variables, x)
    np.testing.assert_allclose(smaller, mixed.reshape(2, 2, 2, 3, 2, 7).mean((2, 4)), atol=1e-5)


def test_channels_are_mixed_where_there_are_fewer_pixels():
    def pixels(size):
        adaptor = Adaptor(7, size)
        traced = jax.make_jaxpr(lambda x: adaptor.init_with_output(KEY, x)[0])(jnp.zeros((1, 4, 4, 3)))
        (conv,) = [e for e in traced.jaxpr.eqns if e.primitive.name == 'conv_general_dilated']
        return conv.outvars[0].aval.shape[1:3]

    assert [pixels(size) for size in ((2, 2), (4, 4), (8, 8), (2, 16))] == [(2, 2), (4, 4), (4, 4), (4, 4)]


def test_an_adaptor_starts_as_the_convolution_it_is():
    import flax.linen as nn

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.initializers.xavier_normal()
            return nn.Conv(9, (1, 1), use_bias=False, kernel_init=init, name='depth_last')(x)

    # Of as many channels out as in, other initialisers are the same.
    x, taught = features(1, 2, 2, 5), features(1, 2, 2, 9)
    own = Adaptors(('depth',), ('last',)).init(KEY, {'last': x}, {'depth': {'last': taught}})
    jax.tree.map(np.testing.assert_array_equal, own, Plain().init(KEY, x))


def test_every_teacher_has_an_adaptor_to_its_own_shape():
    own = {'mid': features(2, 2, 2, 3), 'last': {'a': features(2, 8, 8, 4), 'b': features(2, 8, 8, 4, seed=1)}}
    taught = {
        'a': {'mid': features(2, 2, 2, 3), 'last': features(2, 4, 4, 6)},
        'b': {'mid': {'b': features(2, 4, 4, 5)}, 'last': features(2, 8, 8, 1)},
    }
    found, variables = Adaptors(('a', 'b'), ('mid', 'last')).init_with_output(KEY, own, taught)
    assert jax.tree.map(jnp.shape, found) == {
        'a': {'mid': (2, 2, 2, 3), 'last': (2, 4, 4, 6)},
        'b': {'mid': (2, 4, 4, 5), 'last': (2, 8, 8, 1)},
    }
    kernel = variables['params']['b_last']['kernel']
    np.testing.assert_allclose(found['b']['last'], own['last']['b'] @ kernel[0, 0], atol=1e-5)


def test_a_network_learns_from_teachers_of_other_widths_backbones_and_strides():
    names = ('depth', 'normals')
    chosen = small.TASKS[1:]
    batch = jax.tree.map(jnp.asarray, next(small.split(2, 2, chosen=chosen).ordered()))
    teachers = {
        'depth': models.SegNet(chosen[:1], (6, 4, 4, 4, 8)),
        'normals': models.SegNetSD(chosen[1:], (4, 4, 4, 4, 10), branches=('main',)),
    }
    method = KDMTL(
        network=small.network(chosen),
        tasks=chosen,
        adaptors=Adaptors(names, ('mid',)),
        teachers=teachers,
        points=('mid',),
        weights=dict.fromkeys(names, 1.0),
    )
    start = jax.eval_shape(method.init, KEY, batch.image)
    assert jax.tree.map(jnp.shape, start['params']['adaptors']) == {
        'depth_mid': {'kernel': (1, 1, 4, 8)},
        'normals_mid': {'kernel': (1, 1, 4, 10)},
    }
    shapes = {n: jax.eval_shape(functools.partial(t.init, train=False), KEY, batch.image) for n, t in teachers.items()}
    frozen = {name: small.filled(shape) for name, shape in shapes.items()}
    losses, gradient = jax.jit(jax.value_and_grad(lambda p, s: sum_of(method, p, s, frozen, batch)))(
        *(small.filled(start)[key] for key in ('params', 'batch_stats'))
    )
    assert np.isfinite(losses)
    assert losses > 0
    assert all(np.any(tree['kernel']) for tree in gradient['adaptors'].values())
    assert np.any(gradient['network']['encoder_0']['conv_0']['kernel'])


def sum_of(method, params, batch_stats, frozen, batch):
    losses, _ = small.losses(method, {'params': params, 'batch_stats': batch_stats}, frozen, batch)
    return sum(losses.distillation.values())


def test_features_of_two_sizes_are_compared_at_the_smaller():
    small_map = features(2, 2, 2, 3)
    large = jnp.repeat(jnp.repeat(small_map, 2, axis=1), 2, axis=2)
    for own, taught in ((small_map, large), (large, small_map)):
        (alike,) = feature_similarity({'mid': own}, {'depth': {'mid': taught}}).values()
        np.testing.assert_allclose(alike, 1, rtol=1e-5)


def test_an_mlp_adaptor_is_two_convolutions_with_a_relu_between():
    x = jax.random.normal(jax.random.key(2), (2, 4, 6, 3))
    found, variables = MlpAdaptor(7, (8, 12)).init_with_output(KEY, x)
    params = variables['params']
    assert jax.tree.map(jnp.shape, params) == {'hidden': {'kernel': (1, 1, 3, 3)}, 'kernel': (1, 1, 3, 7)}
    hidden = jnp.maximum(x @ params['hidden']['kernel'][0, 0], 0)
    expected = jax.image.resize(hidden @ params['kernel'][0, 0], found.shape, 'bilinear')
    np.testing.assert_allclose(found, expected, atol=1e-5)
    own = Adaptors(('depth',), ('last',), kind='mlp').init(KEY, {'last': x}, {'depth': {'last': x}})
    assert set(own['params']['depth_last']) == {'hidden', 'kernel'}
