"""What a reader of a user's files gives, and the checks that every frame passes before it is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mtkd_jax.datasets.errors import DataError, FrameExcluded

Frame = dict[str, np.ndarray]

CHANNELS = {'image': 3, 'segmentation': 1, 'depth': 1, 'normals': 3, 'keypoints': 1, 'edges': 1}
# The range of values, and the message for those outside.
RANGES = {
    'image': (0, 1, 'images must be in [0, 1]: divide 8-bit images by 255'),
    'depth': (0, np.inf, "depth must be positive (metres, or Cityscapes' inverse depth), 0 where undefined"),
    'normals': (-1.001, 1.001, 'normals must be unit vectors, 0 where undefined'),
    'keypoints': (-1, 1, 'strengths must be in [0, 1], -1 where undefined'),
    'edges': (-1, 1, 'strengths must be in [0, 1], -1 where undefined'),
}


@runtime_checkable
class Reader(Protocol):
    """A data set in the user's files. It is sent to other processes, each of which reads some frames.

    Attributes:
        splits: the number of frames in each split.
        size: height and width of what `read` gives, in pixels.
        classes: names of the segmentation's classes.
        metadata: how it is made, as JSON.
        skipped: files beside the data that are not used.
    """

    splits: dict[str, int]
    size: tuple[int, int]
    classes: tuple[str, ...]
    metadata: dict[str, Any]
    skipped: tuple[str, ...]

    def files(self, split: str, i: int) -> Sequence[Path]:
        """The files that frame `i` of `split` is made of."""
        ...

    def read(self, split: str, i: int) -> Frame:
        """Frame `i` of `split`, checked: arrays [h w c] in the stored conventions (papers.md E), and `index`.

        Raises:
            DataError: a file is not what it should be.
            FrameExcluded: it cannot be used, and the data set does without it.
        """
        ...


@dataclass(frozen=True)
class ReadSplit:
    """Reads a frame of a split, in any process: the stamp of its files, and the frame or why it is excluded."""

    reader: Reader
    split: str

    def __call__(self, i: int) -> tuple[str, Frame | str]:
        # Taken before reading. If a file changes afterwards, the stamp no longer fits it.
        found = stamp(self.reader, self.split, i)
        try:
            return found, self.reader.read(self.split, i)
        except FrameExcluded as error:
            return found, str(error)


def stamp(reader: Reader, split: str, i: int) -> str:
    """Names, sizes and times of the files that a frame is made of."""
    found = []
    for file in reader.files(split, i):
        state = file.stat() if file.is_file() else None
        found.append(f'{file} {state and (state.st_size, state.st_mtime_ns)}')
    return ' '.join(found)


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
    for key in frame.keys() & RANGES.keys():
        _check_range(frame[key], *RANGES[key], names[key])
    remedy = f'labels must be 0..{classes - 1}, or -1 where nothing is labelled'
    _check_range(label, -1, classes - 1, remedy, names['segmentation'])
    if not np.array_equal(label, np.round(label)):
        raise DataError(
            f'{names["segmentation"]} has labels that are not whole numbers, as after a resize that blends; resize '
            'labels to the nearest pixel.'
        )
    types = dict.fromkeys(frame, np.float32) | {'segmentation': np.int8}
    return {key: np.ascontiguousarray(array, types[key]) for key, array in frame.items()}


def _check_range(array: np.ndarray, low: float, high: float, remedy: str, name: str) -> None:
    least, most = float(array.min()), float(array.max())
    if least < low or most > high:
        raise DataError(f'{name} has values from {least:g} to {most:g}; {remedy}.')
