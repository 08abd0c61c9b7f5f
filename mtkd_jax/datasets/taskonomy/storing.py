"""Taskonomy's classes, and how its targets are stored.

Prepared data hold the files' whole numbers (the table in `taskonomy.files`), after resizing: less than half the size of
floats, and exactly the files' numbers at the files' size (normals to within one step, for they are brought to unit
length).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtkd_jax.datasets.files.reader import Frame
from mtkd_jax.datasets.files.surfaces import unit

UNCERTAIN = 'uncertain'
CLASSES = (
    *(UNCERTAIN, 'background', 'bottle', 'chair', 'couch', 'potted plant', 'bed', 'dining table', 'toilet', 'tv'),
    *('microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book', 'clock', 'vase'),
)
METRE = 512  # steps of the depth files
FAR = 64_500  # steps from which on depth is undefined
CENTRE = 127  # of the normal files' numbers
STRENGTH = 65_535  # largest number of the keypoint and edge files
STRENGTHS = ('keypoints', 'edges')


def encode(frame: Frame) -> Frame:
    """A frame as it is stored: whole numbers, as the files have them; -1 for keypoints and edges that are absent."""

    def steps(values: np.ndarray, scale: float, least: int, dtype: Any) -> np.ndarray:
        return np.clip(np.rint(values * np.float32(scale)) + least, 0, np.iinfo(dtype).max).astype(dtype)

    return {
        'image': steps(frame['image'], 255, 0, np.uint8),
        'segmentation': frame['segmentation'],
        'depth': steps(frame['depth'], METRE, 0, np.uint16),
        'normals': steps(frame['normals'], CENTRE, CENTRE, np.uint8),
        **{key: np.rint(np.where(frame[key] < 0, -1, frame[key] * STRENGTH)).astype(np.int32) for key in STRENGTHS},
        'index': frame['index'],
    }


def decode(stored: Mapping[str, np.ndarray], classes: int = len(CLASSES)) -> Frame:
    """The frame that was stored.

    `classes`: 18, all of `CLASSES`; or 17, without "uncertain", which is then void (-1).
    """
    dropped = len(CLASSES) - classes
    segmentation = stored['segmentation']
    return {
        'image': stored['image'],
        'segmentation': np.maximum(segmentation - np.int8(dropped), np.int8(-1)),
        'depth': stored['depth'].astype(np.float32) / METRE,
        'normals': unit((stored['normals'].astype(np.float32) - CENTRE) / CENTRE),
        **{key: np.where(stored[key] < 0, -1, stored[key] / STRENGTH).astype(np.float32) for key in STRENGTHS},
        'index': stored['index'],
    }


def class_names(classes: int) -> tuple[str, ...]:
    """Names of the 18 classes, or of the 17 without "uncertain"."""
    return CLASSES[len(CLASSES) - classes :]
