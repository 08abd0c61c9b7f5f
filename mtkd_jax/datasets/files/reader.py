"""What a reader of a user's files gives, and the checks that every frame passes before it is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mtkd_jax.data import images
from mtkd_jax.datasets.errors import DataError, FrameExcluded
from mtkd_jax.tasks import gate

Frame = dict[str, np.ndarray]

CHANNELS = {'image': 3, 'segmentation': 1, 'depth': 1, 'normals': 3, 'keypoints': 1, 'edges': 1}


def _image(array: np.ndarray) -> str | None:
    # Prepared images are floats in [0, 1]; what is stored as bytes here holds 0 and 1 only.
    return gate.numbers(array) or images.fault(array.astype(np.float32, copy=False))


# What each array is checked for; labels by the number of classes.
CHECKS: Mapping[str, gate.Check] = {
    'image': _image,
    'depth': gate.depths(),
    'normals': gate.directions,
    'keypoints': gate.strengths,
    'edges': gate.strengths,
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
        check = gate.class_ids(classes) if key == 'segmentation' else CHECKS[key]
        gate.admit(names[key], array, check, DataError)
    types = dict.fromkeys(frame, np.float32) | {'segmentation': np.int8}
    return {key: np.ascontiguousarray(array, types[key]) for key, array in frame.items()}
