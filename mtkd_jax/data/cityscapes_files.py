"""Cityscapes as users have it: the preprocessed folder, and the raw layout (spec E)."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.data import pictures
from mtkd_jax.data.errors import DataError
from mtkd_jax.data.frames import Frame, check_frame
from mtkd_jax.data.npy_folder import Layout, NpyFolder
from mtkd_jax.data.surfaces import resize_defined

OFFICIAL = {'train': 2975, 'test': 500}
DEPTHS = ('inverse', 'metric')
RAW_FOLDERS = {'train': 'train', 'test': 'val'}  # the labels of the official test split are not public
SCALE = 65535  # the preprocessed files' unit of inverse depth: the disparity file's 16-bit number by this
STEPS_PER_PIXEL = 256  # of the disparity file: disparity in pixels is (p - 1) / 256
LEAST_DISPARITY = 1.0  # pixels; what is farther away (about 470 m) has no metric depth

CATEGORIES = ('flat', 'construction', 'object', 'nature', 'sky', 'human', 'vehicle')
# Of each train id: its label id in the files, its name and its category.
TRAINED = (
    (7, 'road', 'flat'),
    (8, 'sidewalk', 'flat'),
    (11, 'building', 'construction'),
    (12, 'wall', 'construction'),
    (13, 'fence', 'construction'),
    (17, 'pole', 'object'),
    (19, 'traffic light', 'object'),
    (20, 'traffic sign', 'object'),
    (21, 'vegetation', 'nature'),
    (22, 'terrain', 'nature'),
    (23, 'sky', 'sky'),
    (24, 'person', 'human'),
    (25, 'rider', 'human'),
    (26, 'car', 'vehicle'),
    (27, 'truck', 'vehicle'),
    (28, 'bus', 'vehicle'),
    (31, 'train', 'vehicle'),
    (32, 'motorcycle', 'vehicle'),
    (33, 'bicycle', 'vehicle'),
)
LARGEST_LABEL = 33
NO_LABEL = 255  # how an 8-bit file holds -1, the licence plate's


def class_names(classes: int) -> tuple[str, ...]:
    """The 7 categories or the 19 trained classes, in the order of their ids."""
    return CATEGORIES if classes == len(CATEGORIES) else tuple(name for _, name, _ in TRAINED)


def class_of_label(classes: int) -> np.ndarray:
    """int8 [256]: label id → class id; -1 for the labels that the official evaluation ignores, of 7 classes, too."""
    table = np.full(256, -1, np.int8)
    for train_id, (label, _, category) in enumerate(TRAINED):
        table[label] = train_id if classes == len(TRAINED) else CATEGORIES.index(category)
    return table


def layout(classes: int) -> Layout:
    """The preprocessed folder with so many classes."""
    return Layout(
        title='Cityscapes',
        text=f'{{train,val}}/{{image,label_{classes},depth}}/{{0,1,...}}.npy (label/ instead of label_{classes}/)',
        arrays={'image': ['image'], 'segmentation': [f'label_{classes}', 'label'], 'depth': ['depth']},
        classes=class_names(classes),
        notes={
            'depth': 'inverse: as given, disparity (the 16-bit number) / 65535; 0 undefined',
            'test_split': 'the folder val; the labels of the official test split are not public',
        },
    )


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
            f.relative_to(place).as_posix().removesuffix(ending) for f in place.glob(f'*/*{ending}') if f.is_file()
        )
        if not frames:
            raise DataError(f'{place} has no CITY/*{ending}; the raw Cityscapes is {self.source}/{LAYOUT}.')
        split = next(s for s, name in RAW_FOLDERS.items() if name == folder)
        needed = ('gtFine', 'disparity', *(['camera'] if self.depth == 'metric' else []))
        for kind in needed:
            missing = [f for f in (self._path(split, frame, kind) for frame in frames) if not f.is_file()]
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
        tree = json.loads(file.read_text())
        found = float(tree['extrinsic']['baseline']) * float(tree['intrinsic']['fx'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{file} is no camera file with extrinsic.baseline and intrinsic.fx ({error!r}); download it again.'
        ) from error
    if not 0 < found < np.inf:
        raise DataError(f'{file} has baseline · fx = {found}, which must be positive; download it again.')
    return found


def open_source(source: str, size: tuple[int, int] | None, classes: int, depth: str) -> NpyFolder | RawTree:
    """A reader of the user's files: the preprocessed folder or the raw layout.

    `size`: height and width in pixels to resize raw frames to (default 128×256); preprocessed files keep theirs.

    Raises:
        DataError: `source` is neither, something in it is missing, or it cannot give what is asked for.
    """
    path = Path(source).expanduser()
    if not path.is_dir():
        raise DataError(f'`source` is {path}, which is no folder; give the one that holds Cityscapes.')
    if classes not in (len(CATEGORIES), len(TRAINED)):
        raise DataError(f'`classes` is {classes}; Cityscapes has {len(CATEGORIES)} categories or {len(TRAINED)}.')
    if depth not in DEPTHS:
        raise DataError(f'`depth` is {depth!r}; choose one of {", ".join(DEPTHS)}.')
    if (path / 'leftImg8bit').is_dir():
        return RawTree(path, size or (128, 256), classes, depth)
    if not (path / 'train').is_dir():
        raise DataError(f'{path} holds neither {LAYOUT} nor {layout(classes).text}; give the folder of one of them.')
    if depth != 'inverse':
        raise DataError(
            f'`depth` is {depth!r}, but {path} has no camera files: the preprocessed files hold inverse depth. Give '
            "the raw layout, or depth 'inverse'."
        )
    folder = NpyFolder(path, layout(classes))
    if size not in (None, folder.size):
        raise DataError(
            f'`size` is {size[0]}x{size[1]}, but the files in {path} are {folder.size[0]}x{folder.size[1]} and are not '
            'resized; leave out `size`.'
        )
    return folder
