"""Learning from labels: every task by its own mask."""

import jax
import jax.numpy as jnp
import numpy as np

from mtkd_jax import methods, models
from tests import small, tiny


def unequal(batch, seed=0):
    """`batch` with masks of their own for every task, of another size in every image; task i has none in image i."""
    rng, targets = np.random.default_rng(seed), {}
    for i, name in enumerate(small.NAMES):
        target = batch.targets[name]
        share = rng.uniform(0.05, 0.95, (len(target.mask), 1, 1, 1))
        mask = np.asarray(target.mask) & (rng.uniform(size=target.mask.shape) < share)
        mask[i] = False
        targets[name] = target._replace(mask=mask)
    return jax.tree.map(jnp.asarray, batch._replace(targets=targets))


def test_every_loss_is_the_mean_over_its_own_pixels():
    method = methods.Supervised(tiny.Network(), tiny.TASKS)
    batch = unequal(next(small.split(4, 4).ordered()))
    variables = small.filled(jax.eval_shape(method.init, jax.random.key(0), batch.image))
    losses, _ = method.losses(variables, {}, batch)
    outputs, _ = models.train_outputs(method.network, method.network_variables(variables), batch.image)
    of_pixels = {
        'segmentation': lambda p, y: -np.take_along_axis(p, np.maximum(y, 0), -1),
        'depth': lambda p, y: np.abs(p - y),
        'normals': lambda p, y: 1 - np.sum(p * y, -1, keepdims=True),
    }
    for name, target in batch.targets.items():
        apart = of_pixels[name](np.asarray(outputs.predictions['main'][name]), np.asarray(target.value))
        np.testing.assert_allclose(losses.task[name], apart[np.asarray(target.mask)].mean(), rtol=1e-5)
