"""Weights of classes: the published formulas, the weighted cross-entropy, and which stages have them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import tasks
from mtkd_jax.experiment import class_weights
from mtkd_jax.experiment.class_weights import Seen
from mtkd_jax.types import UserError
from tests import small
from tests.recipes import load, stages

SEEN = Seen(np.array([10, 40, 0, 50]), np.array([100, 100, 0, 200]))


def test_median_frequency_by_hand():
    """Shares 0.1, 0.4 and 0.25 in the images that have the class; their median is 0.25."""
    np.testing.assert_allclose(class_weights.median_frequency(SEEN), [2.5, 0.625, 1.0, 1.0])
    nothing = np.zeros(3, np.int64)
    np.testing.assert_array_equal(class_weights.median_frequency(Seen(nothing, nothing)), np.ones(3))


def test_inverse_log_by_hand():
    found = class_weights.inverse_log(SEEN)
    np.testing.assert_allclose(found, 1 / np.log([1.12, 1.42, 1.02, 1.52]))


def test_classes_are_counted_by_pixel_and_by_image():
    examples = small.source(12)
    for example in examples[::2]:
        example['segmentation'] = np.minimum(example['segmentation'], 2)  # these lack the later classes
    split = dataclasses.replace(small.split(12, batch_size=4), source=examples)
    seen = class_weights.count(split.tasks, split)
    assert list(seen) == ['segmentation']
    labels = [example['segmentation'] for example in examples]
    for c in range(len(seen['segmentation'].pixels)):
        having = [label for label in labels if (label == c).any()]
        assert seen['segmentation'].pixels[c] == sum((label == c).sum() for label in labels)
        assert seen['segmentation'].among[c] == sum((label >= 0).sum() for label in having)
    assert len({*seen['segmentation'].among}) == 2


def test_the_weighted_cross_entropy_by_hand():
    task = tasks.segmentation(3)
    prediction = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.2, 0.2, 0.6]]))[None, None]
    target = jnp.array([0, 2, -1])[None, None, :, None]
    loss = task.class_weighted(np.array([1.0, 5.0, 3.0], np.float32))
    expected = -(1 * np.log(0.5) + 3 * np.log(0.7)) / 4
    np.testing.assert_allclose(loss(prediction, target, target >= 0), expected, rtol=1e-6)
    equal = task.class_weighted(np.full(3, 7.0, np.float32))(prediction, target, target >= 0)
    np.testing.assert_allclose(equal, task.loss(prediction, target, target >= 0), rtol=1e-6)
    nothing = jnp.full_like(target, -1)
    value, gradient = jax.value_and_grad(loss)(prediction, nothing, nothing >= 0)
    assert value == 0
    np.testing.assert_array_equal(gradient, jnp.zeros_like(prediction))


@pytest.mark.parametrize('rule', class_weights.RULES)
def test_stages_that_segment_learn_with_them_and_say_so(rooms, tmp_path, rule):
    plain = stages(load('rooms', 'method=kd_mtl', data__data_dir=rooms), tmp_path)
    found = stages(load('rooms', 'method=kd_mtl', data__data_dir=rooms, class_weights=rule), tmp_path)
    for one, other in zip(plain, found, strict=True):
        names = [task.name for task in one.method.tasks]
        said = {name: value for name, value in other.settings.items() if one.settings.get(name) != value}
        assert said == ({'class_weights': rule} if 'segmentation' in names else {})
    train, method = found[-1].data.train, found[-1].method
    for split in (train, found[-1].data.test):  # evaluations are not weighted
        assert [task.loss for task in split.tasks] == [task.loss for task in plain[-1].method.tasks]
    batch = jax.tree.map(jnp.asarray, next(train.ordered()))
    scores = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (*batch.image.shape[:3], 13)))
    segmentation = next(task for task in method.tasks if task.name == 'segmentation')
    weights = class_weights.RULES[rule](class_weights.count([segmentation], train)['segmentation'])
    value, mask = (np.asarray(x) for x in batch.targets['segmentation'])
    chosen = np.where(mask, weights[np.where(mask, value, 0)], 0)
    surprise = -np.take_along_axis(np.asarray(scores), np.where(mask, value, 0), -1)
    expected = (chosen * surprise).sum() / chosen.sum()
    np.testing.assert_allclose(segmentation.loss(scores, *batch.targets['segmentation']), expected, rtol=1e-4)


def test_tasks_without_classes_are_refused(rooms, tmp_path):
    config = load('rooms', 'method=uniform,tasks=depth', data__data_dir=rooms, class_weights='inverse_log')
    with pytest.raises(
        UserError, match=r"'inverse_log', but none of the tasks \(depth\) has classes; set it to 'none'"
    ):
        stages(config, tmp_path)
    config = load('rooms', data__data_dir=rooms, class_weights='inverse')
    with pytest.raises(UserError, match="`class_weights` is 'inverse'"):
        stages(config, tmp_path)
