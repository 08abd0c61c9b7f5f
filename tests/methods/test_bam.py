"""BAM: what its teachers say, in which order it is compared, and on which images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import methods, models
from mtkd_jax.tasks.distances import kl
from mtkd_jax.types import MAIN
from tests import small, tiny
from tests.methods.test_supervised import unequal


def bam(**fields):
    return methods.bam.BAM(
        network=tiny.Network(),
        tasks=tiny.TASKS,
        distances={t.name: t.distances['kl' if 'kl' in t.distances else 'squared_l2'] for t in tiny.TASKS},
        weights={'segmentation': 1.0, 'depth': 2.0, 'normals': 4.0},
        teachers={name: tiny.Network() for name in small.NAMES},
        **fields,
    )


def test_the_distance_is_from_the_networks_own_prediction_to_its_teachers():
    """In this order; teachers with running statistics; over the images that have a label of the task."""
    method, batch = bam(), unequal(next(small.split(4, 4).ordered()))
    variables = small.filled(jax.eval_shape(method.init, jax.random.key(0), batch.image))
    frozen = {
        name: small.filled(jax.eval_shape(lambda: tiny.Network().init(jax.random.key(0), batch.image, train=False)), i)
        for i, name in enumerate(small.NAMES, 1)
    }
    losses, _ = small.losses(method, variables, frozen, batch)
    own = models.train_outputs(method.network, method.network_variables(variables), batch.image)[0].predictions[MAIN]
    for i, name in enumerate(small.NAMES):
        taught = tiny.Network().apply(frozen[name], batch.image, train=False).predictions[MAIN][name]
        apart = kl(own[name], taught) if name == 'segmentation' else jnp.sum((own[name] - taught) ** 2, -1)
        expected = np.delete(np.asarray(apart), i, axis=0).mean()
        np.testing.assert_allclose(losses.distillation[name], expected, rtol=1e-4)


def test_teachers_fade_and_labels_come():
    labels, distillation = bam().mixture(jnp.asarray(0.25))
    assert labels == 0.25
    assert distillation == {'segmentation': 0.75, 'depth': 1.5, 'normals': 3.0}
    labels, distillation = bam(annealing=False).mixture(jnp.asarray(0.25))
    assert (labels, distillation) == (1.0, bam().weights)


@pytest.mark.parametrize('method', [methods.kd_mtl.KDMTL, methods.traditional_kd.TraditionalKD])
def test_others_do_not_fade(method):
    assert method.mixture(bam(), jnp.asarray(0.25)) == (1.0, bam().weights)
