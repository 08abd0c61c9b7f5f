"""Classification of images: loss and accuracy by hand, and images that carry no label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import distill, methods, models, tasks
from mtkd_jax.accumulate import Accumulator
from mtkd_jax.training.evaluate import constant_baselines, statistics
from mtkd_jax.training.programs import Programs
from mtkd_jax.types import Batch, Target
from tests import small

DIGITS = tasks.classification('digits', 3, ['nought', 'one', 'two'])
CHARACTERS = tasks.classification('characters', 5)
SCORES = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]]))[:, None, None]
LABELS = jnp.array([0, 2, -1, 2])[:, None, None, None]


def test_loss_by_hand():
    expected = -(np.log(0.7) + np.log(0.3) + np.log(0.4)) / 3
    assert DIGITS.loss(SCORES, LABELS, DIGITS.validity(LABELS)) == pytest.approx(expected)


@pytest.mark.parametrize('size', [1, 2, 3, 4])
def test_accuracy_and_loss_do_not_depend_on_the_batch_size(size):
    total = Accumulator()
    for i in range(0, 4, size):
        label = LABELS[i : i + size]
        total.add(statistics(DIGITS, SCORES[i : i + size], Target(label, DIGITS.validity(label))))
    assert DIGITS.metrics.compute(total.sums) == {'digits_accuracy': pytest.approx(100 * 2 / 3)}
    expected = -(np.log(0.7) + np.log(0.3) + np.log(0.4)) / 3
    assert total.sums['loss'] / total.sums['examples'] == pytest.approx(expected)


def test_nothing_labelled_is_no_number():
    label = jnp.full((2, 1, 1, 1), -1)
    total = Accumulator()
    total.add(statistics(DIGITS, SCORES[:2], Target(label, DIGITS.validity(label))))
    assert np.isnan(DIGITS.metrics.compute(total.sums)['digits_accuracy'])


def test_words_and_mistakes():
    prediction, target = np.asarray(SCORES), np.asarray(LABELS)
    assert [DIGITS.words(p) for p in prediction] == ['nought', 'one', 'one', 'two']
    assert DIGITS.words(target[1]) == 'two'
    assert CHARACTERS.words(target[1]) == 'class 2'
    assert [bool(DIGITS.mistakes(p, t)) for p, t in zip(prediction, target, strict=True)] == [False, True, True, False]
    with pytest.raises(ValueError, match='2 names for 3 classes of digits'):
        tasks.classification('digits', 3, ['nought', 'one'])


def test_the_majority_class_is_the_baseline():
    def batch(labels):
        label = np.array(labels, np.int32)[:, None, None, None]
        return Batch(np.zeros((len(labels), 2, 2, 3), np.float32), {'digits': Target(label, label >= 0)})

    found = constant_baselines(
        [DIGITS], [batch([0, 1, 1]), batch([1, -1, 2])], [batch([1, 0, 1, -1])], Programs().compiled
    )
    assert found['digits']['digits_accuracy'] == pytest.approx(200 / 3)


def unlabelled(batch_size=6):
    """Images that all carry a digit, and none a character."""
    image = np.random.default_rng(0).uniform(size=(batch_size, 16, 16, 3)).astype(np.float32)
    digits = (np.arange(batch_size) % 3).astype(np.int32)[:, None, None, None]
    none = np.full_like(digits, -1)
    return jax.tree.map(
        jnp.asarray, Batch(image, {'digits': Target(digits, digits >= 0), 'characters': Target(none, none >= 0)})
    )


def kd_mtl():
    names = ('digits', 'characters')
    return methods.kd_mtl.KDMTL(
        network=models.LeNetMTL((DIGITS, CHARACTERS)),
        tasks=(DIGITS, CHARACTERS),
        adaptors=distill.Adaptors(names, ('last',)),
        teachers=dict.fromkeys(names, models.LeNetMTL(())),
        points=('last',),
        weights=dict.fromkeys(names, 10.0),
    )


def test_a_task_without_a_label_in_the_batch_has_no_loss_no_distillation_and_no_gradient():
    method, batch = kd_mtl(), unlabelled()
    variables = method.init(jax.random.key(0), jnp.asarray(batch.image))
    teacher = method.teachers['digits'].init(jax.random.key(1), batch.image, train=False)
    frozen = dict.fromkeys(('digits', 'characters'), teacher)

    def terms(params):
        losses, _ = small.losses(method, {**variables, 'params': params}, frozen, batch)
        return jnp.stack([losses.task['characters'], losses.distillation['characters']]), losses

    values, losses = terms(variables['params'])
    np.testing.assert_array_equal(values, 0)
    assert losses.task['digits'] > 0
    assert losses.distillation['digits'] > 0
    for i in (0, 1):
        gradient = jax.grad(lambda params, i=i: terms(params)[0][i])(variables['params'])
        jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), gradient)
