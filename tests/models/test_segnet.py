"""SegNet at its published size, by shapes alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import models, tasks
from mtkd_jax.models import reference
from mtkd_jax.types import MAIN, UserError
from tests import golden_weights

TASKS = (tasks.segmentation(13), tasks.depth(), tasks.normals())


def shapes(network, height=288, width=384):
    image = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), image)
    return variables, jax.eval_shape(lambda v, x: network.apply(v, x, train=False), variables, image)


def test_published_size():
    variables, outputs = shapes(models.SegNet(TASKS))

    count = sum(np.prod(x.shape) for x in jax.tree.leaves(variables['params']))
    reference_count = sum(
        np.prod(t.shape)
        for name, t in golden_weights.state_dict('kd4mtl_segnet').items()
        if not name.endswith(('running_mean', 'running_var', *reference.IGNORED))
    )
    assert count == reference_count
    assert outputs.features['mid'].shape == (2, 9, 12, 512)
    assert outputs.features['last'].shape == (2, 288, 384, 64)
    found = {name: x.shape for name, x in outputs.predictions[MAIN].items()}
    assert found == {
        'segmentation': (2, 288, 384, 13),
        'depth': (2, 288, 384, 1),
        'normals': (2, 288, 384, 3),
    }


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32():
    variables, outputs = shapes(models.SegNet(TASKS, dtype=jnp.bfloat16), 32, 32)
    assert outputs.features['last'].dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves((variables, outputs.predictions))} == {jnp.dtype('float32')}


def test_predictions_are_what_they_say():
    network = models.SegNet(TASKS, widths=(4,) * 5)
    image = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    variables = network.init(jax.random.key(0), image, train=False)
    outputs, _ = network.apply(variables, image, train=True, mutable=['batch_stats'])
    found = outputs.predictions[MAIN]
    np.testing.assert_allclose(jnp.exp(found['segmentation']).sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(found['normals'], axis=-1), 1, rtol=1e-4)


def test_a_reference_checkpoint_that_does_not_fit_is_refused():
    table = reference.segnet_table(['depth'])
    state = golden_weights.state_dict('kd4mtl_segnet')
    with pytest.raises(UserError, match=r'1 are unknown.*extra.weight'):
        reference.from_reference({**state, 'extra.weight': np.zeros(1)}, table)
    del state['encoder_block.0.0.bias']
    with pytest.raises(UserError, match=r'1 tensors are missing.*encoder_block.0.0.bias'):
        reference.from_reference(state, table)
