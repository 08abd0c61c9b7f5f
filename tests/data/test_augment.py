"""Presets: what is drawn, on what it depends, and that a step with them compiles once and moves no image."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax.data.augment import NONE, PRESETS, SCALES, augmentation, random_view, seen
from mtkd_jax.tasks import classification
from mtkd_jax.training import sharding
from tests import small


def batch(count=8):
    return next(small.split(count, batch_size=count).ordered())


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_none_returns_the_batch_itself():
    stored = batch()
    assert NONE(jnp.asarray(3), stored) is stored
    assert augmentation('none', small.TASKS, 0)(jnp.asarray(3), stored) is stored


def test_scales_windows_and_flips_are_drawn_evenly():
    view = random_view(jax.random.key(0), (3000, 20, 40, 3))
    scale, corner = np.asarray(view.scale), np.asarray(view.corner)
    np.testing.assert_allclose([np.mean(scale == np.float32(s)) for s in SCALES], 1 / 3, atol=0.03)
    assert np.mean(view.flip) == pytest.approx(0.5, abs=0.03)
    assert np.mean(view.flip[scale == 1]) == pytest.approx(0.5, abs=0.05)
    room = (1 - 1 / scale)[:, None] * [20, 40]
    assert (corner[scale == 1] == 0).all()
    inside = corner[scale > 1] / room[scale > 1]
    assert (inside.min(), inside.max()) == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.01))
    np.testing.assert_allclose(inside.mean(axis=0), 0.5, atol=0.03)
    # Row and column are drawn apart.
    assert abs(np.corrcoef(inside.T)[0, 1]) < 0.05


@pytest.mark.parametrize('name', [name for name in PRESETS if name != 'none'])
def test_what_a_step_sees_depends_on_seed_and_step_alone(name):
    single = next(small.split(1, batch_size=1).ordered())
    same = jax.tree.map(lambda x: np.repeat(x, 8, axis=0), single)
    zero, one = (jax.jit(augmentation(name, small.TASKS, seed)) for seed in (0, 1))
    first = zero(5, same)
    assert_same(first, jax.jit(augmentation(name, small.TASKS, 0))(5, same))
    assert len(np.unique(first.image, axis=0)) > 4
    for other in (zero(6, same), one(5, same)):
        assert not np.array_equal(first.image, other.image)
    # A single-task network sees the views that the multi-task network sees.
    alone = augmentation(name, small.TASKS[1:2], 0)
    found = jax.jit(alone)(5, same._replace(targets={'depth': same.targets['depth']}))
    np.testing.assert_array_equal(found.image, first.image)
    assert_same(found.targets['depth'], first.targets['depth'])


def test_targets_move_with_the_image():
    """Class and depth of `small` are functions of the image's colours; where nothing is blended they still are."""
    stored = batch(8)
    view = random_view(jax.random.key(1), stored.image.shape)
    after = jax.jit(lambda stored, view: seen(stored, small.TASKS, view))(stored, view)
    nearest = view.nearest(jnp.asarray(stored.image))
    mask = after.targets['segmentation'].mask
    classes = (nearest[..., :1] * 5).astype(np.int32)
    np.testing.assert_array_equal(after.targets['segmentation'].value[mask], classes[mask])
    expected = (1 + 3 * nearest[..., 1:2]) / view.scale[:, None, None, None]
    np.testing.assert_allclose(after.targets['depth'].value[mask], expected[mask], rtol=1e-5)
    whole = np.asarray(view.scale == 1)
    assert 0 < whole.sum() < 8
    np.testing.assert_array_equal(after.image[whole], nearest[whole])


def test_a_task_that_cannot_follow_a_view_is_refused():
    with pytest.raises(ValueError, match='digits has no `move`'):
        seen(batch(), [classification('digits', 10)], random_view(jax.random.key(0), (8, *small.SIZE, 3)))


def test_images_stay_on_their_devices():
    """Sharded over eight devices: the same result, and no device needs another's images."""
    mesh, stored = small.mesh(8), batch(16)
    split, everywhere = sharding.batched(mesh), sharding.replicated(mesh)
    function = augmentation('scale_crop_flip', small.TASKS, 0)
    compiled = jax.jit(function, in_shardings=(everywhere, split), out_shardings=split).lower(0, stored).compile()
    assert not re.findall(r'all-gather|all-to-all|all-reduce|collective-permute', compiled.as_text())
    spread = compiled(0, jax.device_put(stored, split))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), spread, jax.jit(function)(0, stored))
