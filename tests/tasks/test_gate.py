"""What each task demands of its targets."""

import ml_dtypes
import numpy as np
import pytest

from mtkd_jax.tasks import classification, depth, edges, gate, normals, segmentation
from mtkd_jax.types import UserError

UP = np.broadcast_to(np.float32([0, 0, 1]), (1, 4, 4, 3))
TILTED = np.broadcast_to(np.float32([0.36, -0.48, 0.8]), (1, 4, 4, 3))
ONE_CHANNEL = np.zeros((1, 4, 4, 1), np.float32)


def changed(array, value, count=1):
    array = array.copy()
    array.reshape(-1, array.shape[-1])[:count] = value
    return array


VARIED = np.random.default_rng(0).standard_normal((1, 4, 4, 3))
VARIED /= np.linalg.norm(VARIED, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ('task', 'array', 'message'),
    [
        (segmentation(5), changed(ONE_CHANNEL.astype(np.uint8), 255), r'from 0 to 255; labels must be 0\.\.4, or -1'),
        (segmentation(5), changed(ONE_CHANNEL, 5), r'from 0 to 5'),
        (segmentation(5), changed(ONE_CHANNEL, -2), r'from -2 to 0'),
        (segmentation(5), changed(ONE_CHANNEL, 0.5), r'not whole numbers'),
        (classification('digits', 10), np.full((1, 1, 1, 1), 10, np.int64), r'labels must be 0\.\.9'),
        (depth(), changed(ONE_CHANNEL, -1), r'from -1 to 0; depth must be positive'),
        (depth(), changed(ONE_CHANNEL, np.inf), r'NaN or infinite'),
        (depth(), ONE_CHANNEL + 700, r'median depth of 700, above 100 m: probably millimetres.*divide'),
        (depth(), changed(ONE_CHANNEL.astype(np.uint16), 9900), r'median depth of 9900'),
        (normals(), (TILTED + 1) / 2, r'median length'),
        (normals(), np.abs(VARIED), r'no negative component'),
        (normals(), TILTED * 0.94, r'median length 0\.94'),
        (normals(), TILTED * 1.06, r'median length 1\.06'),
        (normals(), (127.5 * (TILTED + 1)).astype(np.uint8), r'unit vectors'),
        (normals(), TILTED.astype(np.float16) * np.nan, r'NaN'),
        (edges(), changed(ONE_CHANNEL, 2), r'strengths must be in \[0, 1\]'),
        (edges(), changed(ONE_CHANNEL, -0.5), r'between -1 and 0'),
        (depth(), np.full((1, 4, 4, 1), 'deep'), r'holds no numbers'),
        (depth(), ONE_CHANNEL.astype(complex), r'holds no numbers'),
        (depth(), np.zeros((1, 4, 4, 1), 'V2'), r'holds no numbers; save it as float32'),
        (depth(), changed(ONE_CHANNEL.astype(ml_dtypes.bfloat16), np.nan), r'NaN'),
    ],
)
def test_what_a_task_cannot_mean_is_refused_with_what_to_do(task, array, message):
    with pytest.raises(UserError, match=f'^it .*{message}'):
        gate.admit('it', array, task.check)


@pytest.mark.parametrize(
    ('task', 'array'),
    [
        (segmentation(5), changed(ONE_CHANNEL, -1)),
        (segmentation(256), changed(ONE_CHANNEL.astype(np.uint8), 255)),
        (depth(), changed(ONE_CHANNEL + 5, 5000, count=7)),
        (depth(maximum=1000), ONE_CHANNEL + 700),
        (normals(), np.broadcast_to(np.float32([0.4, 0.5, 0.768]), (1, 4, 4, 3))),
        (depth(inverse=True), ONE_CHANNEL + 700),
        (depth(), ONE_CHANNEL),
        (normals(), UP),
        (normals(), changed(TILTED, 0, count=15)),
        (normals(), TILTED * 0),
        (normals(), TILTED.astype(np.float16)),
        (normals(), TILTED.astype('>f8')),
        (normals(), TILTED * 0.97),
        (edges(), changed(ONE_CHANNEL, -1)),
    ],
)
def test_what_a_task_can_mean_passes(task, array):
    gate.admit('it', array, task.check)
