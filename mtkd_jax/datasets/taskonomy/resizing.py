"""From the numbers of Taskonomy's files to targets of the size that is asked for."""

import numpy as np

from mtkd_jax.datasets.files import pictures
from mtkd_jax.datasets.files.surfaces import resize_defined, unit
from mtkd_jax.datasets.taskonomy.storing import CENTRE, FAR, METRE, STRENGTH


def _image(p: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return pictures.by_area(p, size).astype(np.float32) / 255


def _segmentation(p: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return pictures.nearest(p, size)[..., None].astype(np.float32)


def _depth(p: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return resize_defined(p[..., None].astype(np.float32) / METRE, (p > 0) & (p < FAR), size)


def _normals(p: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    vectors = (p.astype(np.float32) - CENTRE) / CENTRE
    return unit(resize_defined(unit(vectors), (p != CENTRE).any(-1), size))


def _strength(p: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return resize_defined(p[..., None].astype(np.float32) / STRENGTH, np.ones(p.shape, bool), size)


RESIZED = {
    'image': _image,
    'segmentation': _segmentation,
    'depth': _depth,
    'normals': _normals,
    'keypoints': _strength,
    'edges': _strength,
}
