"""How many devices share a batch changes a gradient by rounding, and by nothing else."""

import jax
import numpy as np

from benchmarks import devices
from benchmarks.ours import random_network
from mtkd_jax import weighting
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import train_step
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
