"""How many devices share a batch changes a gradient by rounding, and by nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import devices
from benchmarks.decisions import decisions, otherwise
from benchmarks.ours import random_network
from mtkd_jax import weighting
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import train_step
from mtkd_jax.types import UserError
from tests import small


def test_four_devices_are_one_in_float64():
    """Pooling, batch normalisation, teachers, adaptors, heads, a Gramian; float32 is off by 1e-6."""
    weighter = weighting.mgda()
    method, batch = devices.in_any_type(small.kd_mtl()), next(small.split(8).ordered())
    frozen = {name: random_network(method, batch.image.shape, i) for i, name in enumerate(small.NAMES)}
    start = initial_state(method, weighter, devices.KEPT, jax.random.key(0), batch.image.shape)
    step = train_step(method, weighter, devices.KEPT, 10)
    with jax.enable_x64(True):
        state, *given = (devices.as_type(tree, 'float64') for tree in (start, frozen, batch))
        (one, losses), (four, own) = (devices.Gradient(step, count, state, *given)(state) for count in (1, 4))
    assert one.dtype == np.float64
    assert devices.apart(four, one) < 1e-9
    for name, value in losses.items():
        np.testing.assert_allclose(own[name], value, rtol=1e-9, err_msg=name)


def test_decisions_are_counted_where_they_differ():
    network, image = small.network(), jnp.asarray(next(small.split(8).ordered()).image)
    variables = small.filled(jax.eval_shape(lambda: network.init(jax.random.key(0), image, train=False)))
    one, two = (decisions(network, variables, image, count) for count in (1, 2))
    assert {layer: places.shape for layer, places in one.items()} == {
        'encoder_0/__call__': (8, 16, 16, 4),
        'encoder_0/norm_0/__call__': (8, 32, 32, 4),
        'norm/__call__': (8, 8, 8, 4),
    }
    assert otherwise(two, one) < 10
    # What was below 0 is above it.
    turned = 'kernel', 'bias'
    negative = jax.tree_util.tree_map_with_path(lambda path, x: -x if path[-1].key in turned else x, variables)
    changed = decisions(network, negative, image, 1)
    first = 'encoder_0/norm_0/__call__'
    assert otherwise({**one, first: changed[first]}, one) > 0.99 * one[first].size


@pytest.mark.parametrize('given', [['4'], ['1', '0'], ['1', 'two']])
def test_devices_are_two_numbers_or_more(given):
    with pytest.raises(UserError, match=f'`devices` is {",".join(given)}; give two numbers or more'):
        devices.parse_counts(given)
