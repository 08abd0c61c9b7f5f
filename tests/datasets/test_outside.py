"""Every example of a user's own data set is checked when it is read."""

import pickle

import numpy as np
import pytest

from mtkd_jax import tasks
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.outside import Checked

TASKS = {task.name: task for task in (tasks.segmentation(5), tasks.depth(), tasks.normals())}
CHECKS = {'image': lambda image: None, **{name: task.check for name, task in TASKS.items()}}
GOOD = {
    'image': np.zeros((4, 4, 3), np.uint8),
    'segmentation': np.zeros((4, 4, 1), np.uint8),
    'depth': np.ones((4, 4, 1), np.float32),
    'normals': np.broadcast_to(np.float32([0, -1, 0]), (4, 4, 3)),
}


def checked(**changes):
    shapes = {key: array.shape for key, array in GOOD.items()}
    return Checked([GOOD, {**GOOD, **changes}], 'train of mine', CHECKS, shapes)


def test_good_examples_pass_unchanged():
    source = checked()
    assert len(source) == 2
    assert source[1] == GOOD


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'segmentation': np.full((4, 4, 1), 255, np.uint8)}, r'from 255 to 255; labels must be 0\.\.4, or -1'),
        ({'depth': np.full((4, 4, 1), 3000, np.uint16)}, 'median depth of 3000'),
        ({'normals': np.full((4, 4, 3), 0.5)}, 'median length'),
        ({'depth': np.ones((4, 5, 1))}, r'is \(4, 5, 1\), of the first example \(4, 4, 1\)'),
    ],
)
def test_an_example_that_is_not_the_first_is_refused_by_number(changes, message):
    (key,) = changes
    source = checked(**changes)
    assert source[0] == GOOD
    with pytest.raises(DataError, match=f"^'{key}' of example 1 of train of mine .*{message}") as raised:
        source[1]
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
