"""Every task: its loss, its masks, its pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import tasks
from mtkd_jax.training.evaluate import score_arrays
from tests import small


@pytest.fixture(params=small.TASKS, ids=lambda task: task.name)
def task(request):
    return request.param


def example(task, seed=0):
    """(raw output, target) of two 4×4 images."""
    stored = np.stack([e[task.name][:4, :4] for e in small.source(2, seed)])
    raw = jax.random.normal(jax.random.key(seed), (2, 4, 4, task.channels))
    return raw, jnp.asarray(stored.astype(task.value_dtype))


def test_undefined_pixels_change_nothing(task):
    raw, target = example(task)
    mask = task.validity(target)
    assert not mask.all()
    assert mask.any()
    loss = lambda raw, target: task.loss(task.activate(raw), target, mask)  # noqa: E731
    noise = 100 * jax.random.normal(jax.random.key(1), raw.shape)
    elsewhere = jnp.where(mask, raw, noise)
    assert loss(elsewhere, target) == loss(raw, target)
    np.testing.assert_array_equal(jnp.where(mask, 0.0, jax.grad(loss)(raw, target)), jnp.zeros_like(raw))


def test_pixels_count_alike_whichever_image_they_are_in(task):
    """Loss and metrics are means over pixels: an image with two defined pixels has not the say of one with sixteen."""
    raw, target = example(task)
    undefined = -1 if task.name == 'segmentation' else 0
    target = jnp.where(task.validity(target), target, target[0, 0, 0]).at[1, 2:].set(undefined)
    target = target.at[1, 0, :2].set(undefined).at[1, 1, 1:].set(undefined)
    prediction, mask = task.activate(raw), task.validity(target)
    counts = mask.sum((1, 2, 3))
    assert counts.tolist() == [16, 3]

    def found(chosen):
        scores = score_arrays(task, np.asarray(prediction[chosen]), np.asarray(target[chosen]))
        # These are no means over pixels.
        others = ('legacy', 'miou', 'median', 'rmse')
        means = {n: x for n, x in scores.items() if not n.endswith(others) and not n.startswith('iou_')}
        return {**means, 'loss': float(task.loss(prediction[chosen], target[chosen], mask[chosen]))}

    together, first, second = found(slice(0, 2)), found(slice(0, 1)), found(slice(1, 2))
    for name, value in together.items():
        assert value == pytest.approx((16 * first[name] + 3 * second[name]) / 19, rel=1e-5, abs=1e-6), name
    assert abs(together['loss'] - (first['loss'] + second['loss']) / 2) > 1e-2


def test_nothing_defined_is_zero_with_zero_gradient(task):
    raw, target = example(task)
    nowhere = jnp.zeros((2, 4, 4, 1), bool)
    loss, gradient = jax.value_and_grad(lambda raw: task.loss(task.activate(raw), target, nowhere))(raw)
    assert loss == 0
    np.testing.assert_array_equal(gradient, jnp.zeros_like(raw))


def test_predictions_are_float32_whatever_comes_in(task):
    raw, _ = example(task)
    assert task.activate(raw.astype(jnp.bfloat16)).dtype == jnp.float32


def test_pictures(task):
    raw, target = example(task)
    for array in (task.activate(raw)[0], target[0]):
        picture = task.render(np.asarray(array), None)
        assert picture.shape == (4, 4, 3)
        assert picture.dtype == np.uint8
    mask = np.asarray(task.validity(target))[0]
    masked = task.render(np.asarray(target[0]), mask)
    assert (masked[~mask[..., 0]] == 0).all()


def test_losses_by_hand():
    mask = jnp.ones((1, 1, 2, 1), bool)
    scores = jnp.log(jnp.array([[[[0.5, 0.5], [0.9, 0.1]]]]))
    segmentation = tasks.segmentation(2).loss(scores, jnp.array([[[[0], [1]]]]), mask)
    assert segmentation == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2)
    depth = tasks.depth().loss(jnp.array([[[[1.0], [5.0]]]]), jnp.array([[[[2.0], [2.0]]]]), mask)
    assert depth == 2
    a, b = jnp.array([[[[1.0, 0, 0], [0, 1.0, 0]]]]), jnp.array([[[[1.0, 0, 0], [0, -1.0, 0]]]])
    assert tasks.normals().loss(a, b, mask) == 1


def test_a_normal_whose_channels_sum_to_zero_is_a_normal():
    target = np.array([[[[0.6, -0.6, 0.0], [0, 0, 0]]]], np.float32)
    np.testing.assert_array_equal(tasks.normals().validity(target).ravel(), [True, False])


def test_palette_has_a_colour_per_class():
    from matplotlib import colormaps

    from mtkd_jax.tasks.segmentation import palette

    assert len(np.unique(palette(40), axis=0)) == 40
    tab20, *rest = (np.array(colormaps[name].colors) for name in ('tab20', 'tab20b', 'tab20c'))
    every = np.concatenate([tab20[::2], tab20[1::2], *rest])
    np.testing.assert_array_equal(palette(60), (every * 255).round())
    np.testing.assert_array_equal(palette(62)[60:], palette(2))


def test_the_training_median_is_as_fine_as_its_range():
    for maximum, inverse in ((10.0, False), (0.5, True)):
        constant = tasks.depth(maximum, inverse).constant
        target = maximum * np.asarray([0.013, 0.0275, 0.9]).reshape(1, 3, 1)
        found = constant.value(constant.statistic(target, np.ones((1, 3, 1), bool)))
        np.testing.assert_allclose(found, 0.0275 * maximum, atol=maximum / 10_000)
        assert constant.describes == f'median {"inverse depth" if inverse else "depth"} of the training set'


def test_near_is_red_in_depth_and_in_inverse_depth():
    near = tasks.depth(8.0).render(np.zeros((1, 1, 1)), None), tasks.depth(0.5, True).render(np.ones((1, 1, 1)), None)
    np.testing.assert_array_equal(*near)
    assert [word for word, _ in tasks.depth(0.5, True).legend] == ['0', '0.125', '0.25', '0.375', '0.5']


def test_legends_give_the_colours_of_pictures():
    seg = tasks.segmentation(3, ['floor', 'wall', 'sky'])
    assert [word for word, _ in seg.legend] == ['floor', 'wall', 'sky']
    np.testing.assert_array_equal(seg.render(np.array([[[1]]]), None)[0, 0], dict(seg.legend)['wall'])
    for depth in (tasks.depth(8.0), tasks.depth(8.0, inverse=True)):
        drawn = depth.render(np.array([0.0, 2, 4, 6, 8]).reshape(1, 5, 1), None)
        np.testing.assert_array_equal(drawn[0], [colour for _, colour in depth.legend])
    assert [word for word, _ in tasks.depth(8.0).legend] == ['0 m', '2 m', '4 m', '6 m', '8 m']
    normals = tasks.normals()
    np.testing.assert_array_equal(normals.render(np.array([[[0.0, 0, 1]]]), None)[0, 0], dict(normals.legend)['up'])
    with pytest.raises(ValueError, match='2 names for 3 classes'):
        tasks.segmentation(3, ['floor', 'wall'])
