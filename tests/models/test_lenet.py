"""LeNet-MTL: shapes, parameters counted by hand, what belongs to whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import models, tasks

TASKS = (tasks.classification('svhn', 10), tasks.classification('omniglot', 1623))


def shapes(size, chosen=TASKS, **options):
    network = models.LeNetMTL(chosen, **options)
    image = jax.ShapeDtypeStruct((3, *size, 3), jnp.float32)
    return jax.eval_shape(lambda key, x: network.init_with_output(key, x, train=False), jax.random.key(0), image)


# Sides after conv5×5 and pooling, twice: 64 → 60 → 30 → 26 → 13; 32 → 28 → 14 → 10 → 5; 16 → 12 → 6 → 2 → 1.
@pytest.mark.parametrize(('size', 'positions'), [((64, 64), 13 * 13), ((32, 64), 5 * 13), ((16, 16), 1)])
def test_shapes_and_parameters(size, positions):
    outputs, variables = shapes(size)
    assert outputs.features['last'].shape == (3, 1, 1, 50)
    assert {t: p.shape for t, p in outputs.predictions['main'].items()} == {
        'svhn': (3, 1, 1, 10),
        'omniglot': (3, 1, 1, 1623),
    }
    trunk = (75 * 10 + 10) + (250 * 20 + 20) + (positions * 20 * 50 + 50)
    heads = 2 * (50 * 50 + 50) + (50 * 10 + 10) + (50 * 1623 + 1623)
    assert sum(x.size for x in jax.tree.leaves(variables)) == trunk + heads
    assert set(variables) == {'params'}
    assert set(variables['params']) == {'conv_0', 'conv_1', 'representation', 'head_svhn', 'head_omniglot'}


def test_widths():
    outputs, variables = shapes((32, 32), TASKS[:1], widths=(3, 4, 5, 6))
    assert outputs.features['last'].shape == (3, 1, 1, 5)
    assert variables['params']['head_svhn']['hidden']['kernel'].shape == (5, 6)


def test_predictions_and_parameters_are_float32_whatever_computes():
    outputs, variables = shapes((32, 32), dtype=jnp.bfloat16)
    assert outputs.features['last'].dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves((outputs.predictions, variables))} == {np.dtype('float32')}


def test_the_gradient_with_respect_to_the_shared_features_is_that_of_a_perturbation():
    network = models.LeNetMTL(TASKS[:1])
    image = jax.random.uniform(jax.random.key(1), (2, 16, 16, 3))
    variables = jax.jit(lambda key: network.init(key, image, train=False))(jax.random.key(0))

    def loss(shift):
        given = {**variables, 'perturbations': {'shared': shift}}
        return network.apply(given, image, train=True).predictions['main']['svhn'][..., 3].sum()

    zero = jnp.zeros((2, 1, 1, 50))
    gradient = jax.grad(loss)(zero)
    plain = network.apply(variables, image, train=True)
    np.testing.assert_allclose(jnp.exp(plain.predictions['main']['svhn']).sum(-1), 1, rtol=1e-5)
    assert loss(zero) == plain.predictions['main']['svhn'][..., 3].sum()
    # By hand: through the head alone.
    head = variables['params']['head_svhn']

    def by_hand(x):
        hidden = jax.nn.relu(x @ head['hidden']['kernel'] + head['hidden']['bias'])
        return jax.nn.log_softmax(hidden @ head['out']['kernel'] + head['out']['bias'])[..., 3].sum()

    np.testing.assert_allclose(gradient, jax.grad(by_hand)(plain.features['last']), rtol=1e-4, atol=1e-6)
