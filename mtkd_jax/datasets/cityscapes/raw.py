"""Cityscapes as it is published: packages of pictures in one tree (papers.md E)."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.datasets.cityscapes.classes import LARGEST_LABEL, NO_LABEL, class_names, class_of_label
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files import pictures
from mtkd_jax.datasets.files.finding import is_hidden, ordinary
from mtkd_jax.datasets.files.reader import Frame, check_frame
from mtkd_jax.datasets.files.surfaces import resize_defined

RAW_FOLDERS = {'train': 'train', 'test': 'val'}  # the labels of the official test split are not public
SCALE = 65535  # the preprocessed files' unit of inverse depth: the disparity file's 16-bit number by this
STEPS_PER_PIXEL = 256  # of the disparity file: disparity in pixels is (p - 1) / 256
LEAST_DISPARITY = 1.0  # pixels; what is farther away (about 470 m) has no metric depth


class RawTree:
    """A `Reader` of `{leftImg8bit,gtFine,disparity,camera}/{train,val}/CITY/CITY_SEQ_FRAME_TYPE.{png,json}`, resized.

    Images are resized by area, labels to the nearest pixel, disparity by the mean over its defined pixels.

    Args:
        source: the folder that holds leftImg8bit and gtFine.
        size: height and width in pixels.
        classes: 7 or 19.
        depth: `inverse`: the disparity file's number / 65535, as the preprocessed files have it; `metric`: metres,
            baseline · focal length / disparity with the camera file's numbers, undefined where the (resized) disparity
            is below one pixel.

    Raises:
        DataError: a folder or file is missing.
    """

    def __init__(self, source: Path, size: tuple[int, int], classes: int = 7, depth: str = 'inverse') -> None:
        self.source, self.size, self.depth = source, size, depth
        self.classes = class_names(classes)
        self._table = class_of_label(classes)
        self._frames = {split: self._find(folder) for split, folder in RAW_FOLDERS.items()}
        self.splits: dict[str, int] = {split: len(frames) for split, frames in self._frames.items()}
        self.skipped: tuple[str, ...] = ()
        unit = {
            'inverse': "inverse: the disparity file's 16-bit number / 65535, as in the preprocessed files; 0 undefined",
            'metric': 'metric: metres, from disparity and camera file; undefined below one pixel of disparity',
        }
        self.metadata: dict[str, Any] = {
            'source': 'raw',
            'resampling': 'image by area, label to the nearest pixel, disparity by the mean over defined pixels',
            'depth': unit[depth],
            'test_split': 'the folder val; the labels of the official test split are not public',
            'index': 'number of the frame among the sorted file names of its split, from 0',
        }

    def files(self, split: str, i: int) -> list[Path]:
        """See `Reader.files`."""
        frame, kinds = self._frames[split][i], list(_TYPES)
        return [self._path(split, frame, kind) for kind in (kinds if self.depth == 'metric' else kinds[:3])]

    def read(self, split: str, i: int) -> Frame:
        """See `Reader.read`."""
        files = self.files(split, i)
        image, labels, steps = (
            pictures.read(file, kind) for file, kind in zip(files[:3], ('rgb', 'uint8', 'uint16'), strict=True)
        )
        for file, array in zip(files[1:3], (labels, steps), strict=True):
            if array.shape[:2] != image.shape[:2]:
                raise DataError(f'{file} is {array.shape[:2]}, its image {image.shape[:2]}; download it again.')
        unknown = labels[(labels > LARGEST_LABEL) & (labels != NO_LABEL)]
        if unknown.size:
            raise DataError(
                f'{files[1]} has label {unknown[0]}; label ids end at {LARGEST_LABEL}. Give the labelIds files, not '
                'colours or train ids.'
            )
        disparity = resize_defined(steps[..., None].astype(np.float32), steps > 0, self.size)
        arrays = {
            'image': pictures.by_area(image, self.size).astype(np.float32) / 255,
            'segmentation': pictures.nearest(self._table[labels], self.size)[..., None],
            'depth': disparity / SCALE if self.depth == 'inverse' else _metres(disparity, _camera(files[3])),
        }
        names = {key: str(file) for key, file in zip(arrays, files, strict=False)}
        return {**check_frame(arrays, names, self.size, len(self.classes)), 'index': np.array(i, np.int32)}

    def _find(self, folder: str) -> list[str]:
        place = self.source / 'leftImg8bit' / folder
        ending = _TYPES['leftImg8bit']
        frames = sorted(
            f.relative_to(place).as_posix().removesuffix(ending)
            for f in place.glob(f'*/*{ending}')
            if not is_hidden(f.name) and not is_hidden(f.parent.name)
        )
        if not frames:
            raise DataError(f'{place} has no CITY/*{ending}; the raw Cityscapes is {self.source}/{LAYOUT}.')
        split = next(s for s, name in RAW_FOLDERS.items() if name == folder)
        needed = ('gtFine', 'disparity', *(['camera'] if self.depth == 'metric' else []))
        for kind in needed:
            missing = [f for f in (self._path(split, frame, kind) for frame in frames) if not f.exists()]
            if missing:
                raise DataError(
                    f'{len(missing)} of {len(frames)} files of {kind}/{folder} are missing, first {missing[0]}; unpack '
                    f'the package {PACKAGES[kind]} beside leftImg8bit.'
                )
        return frames

    def _path(self, split: str, frame: str, kind: str) -> Path:
        return self.source / kind / RAW_FOLDERS[split] / f'{frame}{_TYPES[kind]}'


_TYPES = {
    'leftImg8bit': '_leftImg8bit.png',
    'gtFine': '_gtFine_labelIds.png',
    'disparity': '_disparity.png',
    'camera': '_camera.json',
}
PACKAGES = {
    'gtFine': 'gtFine_trainvaltest.zip',
    'disparity': 'disparity_trainvaltest.zip',
    'camera': 'camera_trainvaltest.zip',
}
LAYOUT = '{leftImg8bit,gtFine,disparity,camera}/{train,val}/CITY/CITY_SEQ_FRAME_TYPE.{png,json}'


def _metres(steps: np.ndarray, baseline_focal: float) -> np.ndarray:
    """Depth in metres from the (averaged) numbers of a disparity file; `baseline_focal` in metres · pixels."""
    disparity = (steps - 1) / STEPS_PER_PIXEL
    defined = disparity >= LEAST_DISPARITY
    return np.where(defined, baseline_focal / np.where(defined, disparity, 1), 0).astype(np.float32)


def _camera(file: Path) -> float:
    """Baseline (metres) times focal length (pixels) of a camera file."""
    try:
        tree = json.loads(ordinary(file).read_text())
        found = float(tree['extrinsic']['baseline']) * float(tree['intrinsic']['fx'])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = f'{type(error).__name__}: {error}'
        raise DataError(
            f'{file} is no camera file with extrinsic.baseline and intrinsic.fx ({reason}); download it again.'
        ) from error
    if not 0 < found < np.inf:
        raise DataError(f'{file} has baseline · fx = {found}, which must be positive; download it again.')
    return found
