"""Views: exact where nothing is resampled, by hand where something is, and what every task makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import tasks
from mtkd_jax.types import Target
from mtkd_jax.views import View
from tests import small

DENSE = (*small.TASKS, tasks.depth(0.5, inverse=True), tasks.keypoints(), tasks.edges())
IDS = [*small.NAMES, 'inverse', 'keypoints', 'edges']


def view(scale=1.0, corner=(0.0, 0.0), flip=False, count=1):
    """The same view for `count` images."""
    return View(jnp.full(count, scale), jnp.tile(jnp.asarray(corner), (count, 1)), jnp.full(count, flip))


def target(task, value):
    value = jnp.asarray(value, task.value_dtype)
    return Target(value, task.validity(value))


def move(task, before, seen):
    """`task.move`, jitted as in a step."""
    return jax.jit(task.move)(before, seen)


def examples(task, count=3):
    """Targets of random images, a tenth undefined; keypoints and edges from the images themselves."""
    found = small.source(count, size=(8, 12))
    stored = [e[task.name] if task.name in e else np.where(e['depth'] > 0, e['image'][..., :1], -1) for e in found]
    return target(task, np.stack(stored))


@pytest.mark.parametrize('task', DENSE, ids=IDS)
def test_the_whole_and_its_mirror_image_are_exact(task):
    before = examples(task)
    assert 0 < before.mask.mean() < 1
    same = move(task, before, view(count=3))
    np.testing.assert_array_equal(same.value, before.value)
    np.testing.assert_array_equal(same.mask, before.mask)
    assert (same.value.dtype, same.mask.dtype) == (before.value.dtype, before.mask.dtype)
    mirrored = move(task, before, view(flip=True, count=3))
    turned = np.asarray([-1, 1, 1]) if task.name == 'normals' else 1
    np.testing.assert_array_equal(mirrored.value, before.value[:, :, ::-1] * turned)
    np.testing.assert_array_equal(mirrored.mask, before.mask[:, :, ::-1])


@pytest.mark.parametrize('task', DENSE, ids=IDS)
def test_masks_follow_from_moved_values(task):
    """What is valid in a view is valid by the task's own convention, and nothing undefined has a value."""
    before = examples(task)
    after = move(task, before, View(jnp.asarray([1.2, 1.5, 2.0]), jnp.ones((3, 2)), jnp.asarray([True, False, True])))
    np.testing.assert_array_equal(after.mask, task.validity(after.value))
    assert 0 < after.mask.mean() < 1


def test_images_are_interpolated_between_centres():
    """Twice the size from column 1 on: its pixels' centres lie at 1.25, 1.75, 2.25, 2.75; its rows', at 0.25, 0.75."""
    image = jnp.asarray([[0.0, 10, 20, 40], [100, 110, 120, 140]])[None, :, :, None]
    seen = jax.jit(View.bilinear)(view(2.0, (0.0, 1.0)), image)[0, :, :, 0]
    # Values of columns stand at 0.5, 1.5, ...; above the first row's centre, its value goes on.
    top = np.asarray([7.5, 12.5, 17.5, 25.0])
    np.testing.assert_allclose(seen, [top, top + 25.0], rtol=1e-6)
    mirrored = jax.jit(View.bilinear)(view(2.0, (0.0, 1.0), flip=True), image)[0, :, :, 0]
    np.testing.assert_array_equal(mirrored, seen[:, ::-1])


def test_labels_and_masks_come_from_the_pixel_below():
    task = tasks.segmentation(13)
    before = target(task, np.asarray([[3, 12, -1, 5]])[None, :, :, None])
    after = move(task, before, view(2.0, (0.0, 0.75)))
    # Centres at 1.0, 1.5, 2.0, 2.5: a pixel begins where its predecessor ends.
    np.testing.assert_array_equal(after.value.ravel(), [12, 12, -1, -1])
    np.testing.assert_array_equal(after.mask.ravel(), [True, True, False, False])
    np.testing.assert_array_equal(move(task, before, view(2.0, (0.0, 0.75), True)).value.ravel(), [-1, -1, 12, 12])


@pytest.mark.parametrize('task', DENSE[:1] + DENSE[4:], ids=[IDS[0], *IDS[4:]])
def test_labels_are_never_blended(task):
    before = examples(task)
    after = move(task, before, View(jnp.full(3, 1.3), jnp.full((3, 2), 0.4), jnp.asarray([True, False, True])))
    for old, new in zip(before.value, after.value, strict=True):
        assert set(np.unique(new)) <= set(np.unique(old))


def test_what_is_enlarged_comes_nearer():
    """An object's width in pixels times its depth stays what it was, and so does depth times inverse depth."""
    metres = np.full((1, 4, 24, 1), 6.0, np.float32)
    metres[:, :, 8:16] = 3.0
    metres[:, :, 20:] = 0.0
    depth, inverse = tasks.depth(), tasks.depth(0.5, inverse=True)
    per_metre = np.where(metres > 0, 1 / np.maximum(metres, 1e-9), 0)
    for scale in (1.0, 1.5, 2.0):
        seen = view(scale, (0.0, 6.0))
        value, mask = move(depth, target(depth, metres), seen)
        np.testing.assert_array_equal(np.unique(value[mask]), np.asarray([3, 6], np.float32) / np.float32(scale))
        width = np.sum(np.asarray(value[0, 0]) == np.float32(3) / np.float32(scale))
        assert width * 3 / scale == 8 * 3
        assert not value[~mask].any()
        back, also = move(inverse, target(inverse, per_metre), seen)
        np.testing.assert_array_equal(also, mask)
        np.testing.assert_allclose((value * back)[mask], 1, rtol=1e-6)


def test_depth_that_is_infinite_where_undefined_spreads_nowhere():
    value = jnp.asarray([2.0, jnp.inf, 4.0, 4.0]).reshape(1, 1, 4, 1)
    mask = jnp.asarray([True, False, True, True]).reshape(1, 1, 4, 1)
    after = move(tasks.depth(), Target(value, mask), view(1.5, (0.0, 0.5)))
    np.testing.assert_array_equal(after.value[after.mask], np.asarray([2, 4, 4], np.float32) / np.float32(1.5))
    normal = jnp.full((1, 1, 4, 3), jnp.nan).at[0, 0, 0].set(jnp.asarray([0.0, 0, 1]))
    known = jnp.asarray([True, False, False, False]).reshape(1, 1, 4, 1)
    after = move(tasks.normals(), Target(normal, known), view(2.0))
    np.testing.assert_array_equal(after.mask.ravel(), [True, True, False, False])
    np.testing.assert_array_equal(after.value, np.where(after.mask, [0, 0, 1], 0))


def test_normals_turn_with_the_mirror_and_are_blended_by_weight():
    task = tasks.normals()
    before = target(task, [[[[0.6, 0.0, 0.8], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]])
    # Centres at 0.25, 0.75, ..., 1.75: weights of the two defined pixels around are 1, 3/4, 1/4, 1/4.
    after = move(task, before, view(2.0))
    np.testing.assert_array_equal(after.mask.ravel(), [True, True, False, False])
    expected = [[0.6, 0, 0.8], [0.6, 0, 0.8], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(after.value[0, 0], expected, atol=1e-6)
    mirrored = move(task, before, view(2.0, flip=True))
    np.testing.assert_allclose(mirrored.value[0, 0], np.asarray(expected)[::-1] * [-1, 1, 1], atol=1e-6)
    # From column 2 on: 1/4, 3/4, then 3/4 of the third and 1/4 of the fourth, ...; brought to unit length.
    later = move(task, before, view(2.0, (0.0, 2.0))).value[0, 0]
    long = np.sqrt(0.75**2 + 0.25**2)
    expected = [[0, 1, 0], [0, 0.75 / long, 0.25 / long], [0, 0.25 / long, 0.75 / long], [0, 0, 1]]
    np.testing.assert_allclose(later, expected, atol=1e-6)


def test_opposite_normals_cancel_into_an_undefined_one():
    before = target(tasks.normals(), [[[[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]]])
    after = move(tasks.normals(), before, view(2.0, (0.0, 0.75)))
    np.testing.assert_array_equal(after.mask.ravel(), [False, True])
    np.testing.assert_array_equal(after.value[0, 0], [[0, 0, 0], [-1, 0, 0]])


def test_an_image_without_labels_stays_without():
    for task in small.TASKS:
        value = examples(task).value
        nowhere = Target(value, jnp.zeros((*value.shape[:3], 1), bool))
        assert not move(task, nowhere, view(1.2, (1.0, 1.0), count=3)).mask.any()
