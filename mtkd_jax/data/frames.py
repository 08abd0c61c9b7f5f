"""What a reader of a user's files gives, and the checks that every frame passes before it is stored."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mtkd_jax.data.errors import DataError

Frame = dict[str, np.ndarray]

CHANNELS = {'image': 3, 'segmentation': 1, 'depth': 1, 'normals': 3}


@runtime_checkable
class Reader(Protocol):
    """A data set in the user's files.

    Attributes:
        splits: the number of frames in each split.
        size: height and width of what `read` gives, in pixels.
        metadata: how it is made, as JSON.
        skipped: files beside the data that are not used.
    """

    splits: dict[str, int]
    size: tuple[int, int]
    metadata: dict[str, Any]
    skipped: tuple[str, ...]

    def read(self, split: str, i: int) -> Frame:
        """Frame `i` of `split`, checked: arrays [h w c] in the stored conventions (spec E), and `index`."""
        ...


def check_frame(frame: Frame, names: Mapping[str, str], size: tuple[int, int], classes: int) -> Frame:
    """`frame` in the stored types, when every array is what it should be.

    `names`: what to call each array in an error (its file).

    Raises:
        DataError: an array has a wrong shape, values that are not finite, or values out of range.
    """
    for key, array in frame.items():
        expected = (*size, CHANNELS[key])
        if array.shape != expected:
            raise DataError(
                f'{names[key]} has shape {array.shape}, but {key} must be {expected}: [height width channels], one '
                'size for all files. Convert it again like the others.'
            )
        if not np.isfinite(array).all():
            raise DataError(
                f'{names[key]} has NaN or infinite values; mark undefined pixels as 0 (depth, normals) or -1 (label).'
            )
    label = frame['segmentation']
    _check_range(frame['image'], 0, 1, names['image'], 'images must be in [0, 1]: divide 8-bit images by 255')
    _check_range(frame['depth'], 0, np.inf, names['depth'], 'depth must be in metres, 0 where undefined')
    _check_range(frame['normals'], -1.001, 1.001, names['normals'], 'normals must be unit vectors, 0 where undefined')
    _check_range(
        label,
        -1,
        classes - 1,
        names['segmentation'],
        f'labels must be 0..{classes - 1}, or -1 where nothing is labelled',
    )
    if not np.array_equal(label, np.round(label)):
        raise DataError(
            f'{names["segmentation"]} has labels that are not whole numbers, as after a resize that blends; resize '
            'labels to the nearest pixel.'
        )
    return {
        'image': np.ascontiguousarray(frame['image'], np.float32),
        'segmentation': np.ascontiguousarray(label, np.int8),
        'depth': np.ascontiguousarray(frame['depth'], np.float32),
        'normals': np.ascontiguousarray(frame['normals'], np.float32),
    }


def _check_range(array: np.ndarray, low: float, high: float, name: str, remedy: str) -> None:
    least, most = float(array.min()), float(array.max())
    if least < low or most > high:
        raise DataError(f'{name} has values from {least:g} to {most:g}; {remedy}.')
