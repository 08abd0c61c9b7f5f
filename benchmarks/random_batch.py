"""A batch of noise for timing."""

import numpy as np

from mtkd_jax.types import Batch, Target

CLASSES = 13


def random_batch(batch_size: int, height: int, width: int) -> Batch:
    """Random images and targets; a tenth of the pixels is undefined, in every target others."""
    rng = np.random.default_rng(0)
    shape = (batch_size, height, width)
    normals = rng.standard_normal((*shape, 3)).astype(np.float32)
    values = {
        'segmentation': (rng.integers(0, CLASSES, (*shape, 1), dtype=np.int32), np.int32(-1)),
        'depth': (rng.uniform(1, 5, (*shape, 1)).astype(np.float32), np.float32(0)),
        'normals': (normals / np.linalg.norm(normals, axis=-1, keepdims=True), np.float32(0)),
    }
    targets = {}
    for name, (value, undefined) in values.items():
        mask = rng.uniform(size=(*shape, 1)) >= 0.1
        targets[name] = Target(np.where(mask, value, undefined), mask)
    return Batch(rng.uniform(size=(*shape, 3)).astype(np.float32), targets)
