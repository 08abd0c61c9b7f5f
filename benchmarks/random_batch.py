"""A batch of noise for timing."""

import numpy as np

from mtkd_jax.types import Batch, Target


def random_batch(batch_size: int, height: int, width: int) -> Batch:
    """Random images and targets, everywhere defined."""
    rng = np.random.default_rng(0)
    shape = (batch_size, height, width)
    normals = rng.standard_normal((*shape, 3)).astype(np.float32)
    values = {
        'segmentation': rng.integers(0, 13, (*shape, 1), dtype=np.int32),
        'depth': rng.uniform(1, 5, (*shape, 1)).astype(np.float32),
        'normals': normals / np.linalg.norm(normals, axis=-1, keepdims=True),
    }
    mask = np.ones((*shape, 1), bool)
    return Batch(rng.uniform(size=(*shape, 3)).astype(np.float32), {k: Target(v, mask) for k, v in values.items()})
