"""Metrics against plain NumPy, and their independence of batches."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import metrics, tasks
from mtkd_jax.training import sharding
from mtkd_jax.training.evaluate import Evaluator, score_arrays
from mtkd_jax.types import MAIN, Outputs
from tests import small


def test_segmentation_by_hand():
    # Two images of four pixels, three classes; the second has a void pixel that is predicted as class 2.
    truth = np.array([[0, 0, 1, 1], [0, -1, 0, 0]]).reshape(2, 2, 2, 1)
    guess = np.array([[0, 1, 1, 1], [0, 2, 0, 1]]).reshape(2, 2, 2, 1)
    found = score_arrays(tasks.segmentation(3), guess, truth)
    assert found['pixel_accuracy'] == pytest.approx(100 * 5 / 7)
    # Accumulated: class 0: 3 of {3 + 2 missed}; class 1: 2 of {2 + 2 wrong}; class 2 is absent.
    assert found['miou'] == pytest.approx(100 * (3 / 5 + 2 / 4) / 2)
    # Per image: image 1: (1/2 + 2/3)/2; image 2: class 0 2/3, class 1 0, class 2 0, because the void pixel counts.
    assert found['miou_per_image_legacy'] == pytest.approx(100 * ((1 / 2 + 2 / 3) / 2 + (2 / 3) / 3) / 2)
    assert found['pixel_accuracy_per_image_legacy'] == pytest.approx(100 * (3 / 4 + 2 / 3) / 2)


def test_class_ids_out_of_range_are_wrong_not_another_class():
    truth, guess = np.ones((1, 2, 2, 1), int), np.array([1, 4, 1, -3]).reshape(1, 2, 2, 1)
    assert score_arrays(tasks.segmentation(3), guess, truth)['pixel_accuracy'] == 50


def test_depth_by_hand():
    truth, guess = (
        np.array([1.0, 2.0, 0.0, 4.0]).reshape(1, 2, 2, 1),
        np.array([2.0, 2.0, 9.0, 3.0]).reshape(1, 2, 2, 1),
    )
    found = score_arrays(tasks.depth(), guess.astype(np.float32), truth)
    assert found['depth_abs'] == pytest.approx(2 / 3)
    assert found['depth_rel'] == pytest.approx((1 + 0.25) / 3)


def test_iou_of_every_class_against_numpy():
    """Images with other masks each, taken together; a class that is nowhere has none, one that is missed has 0."""
    rng = np.random.default_rng(0)
    truth = rng.choice([-1, 0, 1, 3], (5, 6, 8, 1), p=[0.2, 0.3, 0.3, 0.2])
    truth[0, 2:], truth[3] = -1, -1
    guess = np.where(rng.uniform(size=truth.shape) < 0.3, 0, np.where(truth == 3, 1, truth))
    # Where nothing is labelled, a class may be predicted, and is absent still.
    guess[3] = 4
    inside = truth >= 0
    for size in (2, 5):
        found = score_arrays(tasks.segmentation(5), guess, truth, batch_size=size)
        ious = []
        for i in range(5):
            both, either = ((inside & how((truth == i), (guess == i))).sum() for how in (np.logical_and, np.logical_or))
            ious.append(100 * both / either if either else np.nan)
        assert [found[f'iou_{i}'] for i in range(5)] == pytest.approx(ious, nan_ok=True)
        assert (ious[3], np.isnan(ious).tolist()) == (0, [False, False, True, False, True])
        assert found['miou'] == pytest.approx(np.nanmean(ious))


@pytest.mark.parametrize('inverse', [False, True])
def test_further_numbers_of_depth_against_numpy(inverse):
    """Over the pixels of all images, which have unequal masks; what is 0 or negative counts as a thousandth."""
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.5, 8, (5, 6, 8, 1))
    truth[0, 1:], truth[2, :, 3:], truth[4] = 0, 0, 0
    guess = truth * rng.uniform(0.4, 2.2, truth.shape)
    guess[1, 0, :3, 0], truth[1, 1, 0] = (0, -2, 1e-5), 5e-4
    prefix = 'inverse_depth' if inverse else 'depth'
    y, p = truth[truth > 0], guess[truth > 0]
    apart = np.maximum(np.maximum(p, 1e-3) / np.maximum(y, 1e-3), np.maximum(y, 1e-3) / np.maximum(p, 1e-3))
    for size in (2, 5):
        found = score_arrays(
            tasks.depth(inverse=inverse), guess.astype(np.float32), truth.astype(np.float32), batch_size=size
        )
        assert found[f'{prefix}_rmse'] == pytest.approx(np.sqrt(np.mean((p - y) ** 2)), rel=1e-5)
        logs = np.abs(np.log10(np.maximum(p, 1e-3)) - np.log10(np.maximum(y, 1e-3)))
        assert found[f'{prefix}_log10'] == pytest.approx(logs.mean(), rel=1e-5)
        shares = [100 * np.mean(apart < 1.25**power) for power in (1, 2, 3)]
        assert [found[f'{prefix}_delta{i}'] for i in (1, 2, 3)] == pytest.approx(shares)
        assert 0 < shares[0] < shares[1] < shares[2] < 100


def test_the_papers_batches_of_depth_by_hand():
    """Errors of 1 in three pixels and of 4 in one; a batch without any; 3 in a batch of one image."""
    truth = np.full((5, 2, 2, 1), 2.0)
    truth[0, 0, 0], truth[1, 0], truth[1, 1, 0], truth[2:4] = 0, 0, 0, 0
    guess = truth + np.array([1, 4, 7, 7, 3]).reshape(-1, 1, 1, 1)
    for size in (1, 2, 3, 5):
        found = score_arrays(tasks.depth(), guess.astype(np.float32), truth, batch_size=size)
        assert found['depth_abs_per_batch_legacy'] == pytest.approx((7 / 4 + 3) / 2)
        assert found['depth_rel_per_batch_legacy'] == pytest.approx((7 / 4 + 3) / 2 / 2)
    assert found['depth_abs'] == pytest.approx(19 / 8)
    inverse = score_arrays(tasks.depth(inverse=True), guess.astype(np.float32), truth)
    assert inverse['inverse_depth_rel_per_batch_legacy'] == pytest.approx(100 * (7 / 4 + 3) / 2 / 2)


@pytest.mark.parametrize('size', [2, 3])
def test_the_papers_batches_of_normals_against_numpy(size):
    rng = np.random.default_rng(0)
    truth, guess = rng.standard_normal((2, 5, 3, 4, 3))
    truth[..., :2] *= np.arange(1, 6).reshape(-1, 1, 1, 1)
    truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
    guess[..., :2] += 3 * truth[..., :2]
    truth[0, 0], truth[3, :, 1] = 0, 0
    unit = guess / np.linalg.norm(guess, axis=-1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip(np.sum(truth * unit, axis=-1), -1, 1)))
    batches = [angles[i : i + 2][np.any(truth[i : i + 2] != 0, axis=-1)] for i in (0, 2, 4)]
    found = score_arrays(tasks.normals(), guess.astype(np.float32), truth.astype(np.float32), batch_size=size)
    assert found['normal_mean_per_batch_legacy'] == pytest.approx(np.mean([x.mean() for x in batches]), rel=1e-5)
    assert found['normal_median_per_batch_legacy'] == pytest.approx(np.mean([np.median(x) for x in batches]), rel=1e-5)
    for threshold in (11.25, 22.5, 30):
        share = 100 * np.mean([np.mean(x < threshold) for x in batches])
        assert found[f'normal_{threshold:g}_per_batch_legacy'] == pytest.approx(share)
    assert 'normal_cosine_per_batch_legacy' not in found


@pytest.mark.parametrize('count', [100, 101])
def test_normals_against_numpy(count):
    rng = np.random.default_rng(count)
    truth, guess = rng.standard_normal((2, 1, 1, count, 3))
    truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
    unit = guess / np.linalg.norm(guess, axis=-1, keepdims=True)
    truth[0, 0, :7] = 0
    angles = np.degrees(np.arccos(np.sum(truth * unit, axis=-1)))[0, 0, 7:]
    found = score_arrays(tasks.normals(), guess.astype(np.float32), truth.astype(np.float32))
    assert found['normal_mean'] == pytest.approx(angles.mean(), rel=1e-5)
    assert found['normal_median'] == pytest.approx(np.median(angles), abs=2e-3)
    for threshold in (11.25, 22.5, 30):
        assert found[f'normal_{threshold:g}'] == pytest.approx(100 * np.mean(angles < threshold))


@pytest.mark.parametrize('values', [[3], [1, 2], [1, 1, 5, 7], [0, 9, 9, 9, 2]])
def test_histogram_median(values):
    histogram = np.bincount(values, minlength=10)
    assert metrics.histogram_median(histogram, 1.0) == pytest.approx(np.median(values) + 0.5)


@pytest.mark.parametrize('task', small.TASKS, ids=lambda task: task.name)
def test_nothing_defined_gives_nan_not_zero(task):
    target = np.full((2, 4, 4, 3 if task.name == 'normals' else 1), -1 if task.name == 'segmentation' else 0)
    found = score_arrays(task, np.ones((2, 4, 4, task.channels), np.float32), target)
    assert all(np.isnan(value) for value in found.values())


@pytest.mark.parametrize(('batch_size', 'devices'), [(1, 1), (3, 1), (8, 1), (8, 8)])
def test_results_depend_on_neither_batch_size_nor_devices(batch_size, devices):
    """Ten examples: the last batches are padded, and padding must not count."""

    def predict(variables, image):
        scores = jnp.concatenate([image, image[..., :2] ** 2], axis=-1)
        by_task = {'segmentation': scores, 'depth': 3 * image[..., :1], 'normals': image - 0.4}
        return Outputs({MAIN: by_task, 'other': by_task}, {})

    mesh = small.mesh(devices)
    batches = sharding.on_device(small.split(10, batch_size).ordered(), mesh)
    found = Evaluator(predict, small.TASKS, mesh)({}, batches)
    for task in small.TASKS:
        examples = small.source(10)
        images = np.stack([e['image'] for e in examples])
        expected = score_arrays(
            task,
            np.asarray(predict({}, images).predictions[MAIN][task.name]),
            np.stack([e[task.name] for e in examples]),
            batch_size=10,
        )
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-5), name
            assert found[f'other/{name}'] == found[name]
    assert found['loss/depth'] > 0


@pytest.mark.parametrize(
    'task', [*small.TASKS, tasks.keypoints(), tasks.classification('digits', 10)], ids=lambda task: task.name
)
def test_nan_gives_nan_in_every_metric(task):
    shape = (2, 1, 1) if task.words is not None else (2, 4, 4)
    raw = jnp.zeros((*shape, task.channels)).at[1, 0, 0].set(jnp.nan)
    target = np.ones((*shape, 3 if task.name == 'normals' else 1), task.value_dtype)
    prediction = task.activate(raw)
    assert np.isnan(prediction[1, 0, 0]).all()
    found = score_arrays(task, np.asarray(prediction), target)
    assert np.isnan(list(found.values())).all(), found
    mask = np.ones((*shape, 1), bool)
    assert np.isnan(task.loss(prediction, jnp.asarray(target), jnp.asarray(mask)))
    for distance in task.distances.values():
        assert np.isnan(distance(prediction, prediction)[1, 0, 0]).all()
