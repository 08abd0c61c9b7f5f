"""NYUv2 as it is published: `nyu_depth_v2_labeled.mat` (papers.md E), read frame by frame."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.finding import ordinary
from mtkd_jax.datasets.files.reader import Frame, check_frame
from mtkd_jax.datasets.files.surfaces import normals_from_depth, resize_defined, stored_axes
from mtkd_jax.datasets.nyuv2 import COUNTS
from mtkd_jax.datasets.nyuv2.files import class_names, tables
from mtkd_jax.files import as_float32

FILE = 'nyu_depth_v2_labeled.mat'


class RawFile:
    """A `Reader` of the `.mat` file (HDF5, width before height), resized to `size` (height, width).

    Images are resized by area, labels to the nearest pixel, depth by the mean over defined pixels. Normals are computed
    from the resized depth.

    Args:
        classes: 13 or 40.
        official: label tables and splits (`files.tables`).

    Raises:
        DataError: h5py is not installed, or the file is not the published one.
    """

    def __init__(
        self, file: Path, size: tuple[int, int], classes: int = 13, official: dict[str, Any] | None = None
    ) -> None:
        official = official or tables()
        self.file = file
        self.size: tuple[int, int] = size
        self.classes = class_names(classes)
        self._data = _open(file)
        self._frames = {'train': official['train_frames'], 'test': official['test_frames']}
        self.splits: dict[str, int] = {split: len(frames) for split, frames in self._frames.items()}
        self._check_arrays(sum(self.splits.values()))
        to_40 = np.array([0, *official['label_to_40']])
        to_13 = np.array([0, *official['class40_to_13']])
        self._class_of_label = ((to_40 if classes == COUNTS[1] else to_13[to_40]) - 1).astype(np.int8)
        self.skipped: tuple[str, ...] = ()
        self.metadata: dict[str, Any] = {
            'source': 'raw',
            'normals': 'computed: planes fitted to depth around every pixel; the published file has no normals',
            'resampling': 'image by area, label to the nearest pixel, depth by the mean over defined pixels',
            'depth': 'in-painted by the publishers, so nothing in it is marked as undefined',
            'test_split': 'the official test split',
            'index': 'number of the frame in the file, from 1',
        }

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file, which every process opens for itself."""
        return {**self.__dict__, '_data': None}

    def files(self, split: str, i: int) -> list[Path]:
        """See `Reader.files`."""
        return [self.file]

    def read(self, split: str, i: int) -> Frame:
        """See `Reader.read`."""
        self._data = self._data or _open(self.file)
        number = self._frames[split][i]
        name = f'{self.file}, frame {number}'
        try:
            image, depth, label = (self._data[key][number - 1] for key in ('images', 'depths', 'labels'))
        except Exception as error:  # h5py may raise anything for a damaged file
            raise DataError(f'{name} cannot be read ({error}); download the file again.') from error
        arrays = self._resized(image.transpose(2, 1, 0), as_float32(depth.T), label.T, name)
        checked = check_frame(arrays, dict.fromkeys(arrays, name), self.size, len(self.classes))
        return {**checked, 'index': np.array(number, np.int32)}

    def _resized(self, image: np.ndarray, depth: np.ndarray, label: np.ndarray, name: str) -> Frame:
        if label.max() >= len(self._class_of_label):
            last = len(self._class_of_label) - 1
            raise DataError(f'{name} has label {label.max()}; the published labels end at {last}. Download it again.')
        if not np.isfinite(depth).all() or depth.min() < 0:
            raise DataError(f'{name} has depth that is negative, NaN or infinite; download the file again.')
        height, width = self.size
        classes = Image.fromarray(self._class_of_label[label].view(np.uint8))
        depth = resize_defined(depth[..., None], depth > 0, self.size)
        return {
            'image': np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX), np.float32) / 255,
            'segmentation': np.asarray(classes.resize((width, height), Image.Resampling.NEAREST)).view(np.int8)[
                ..., None
            ],
            'depth': depth,
            'normals': stored_axes(normals_from_depth(depth[..., 0])),
        }

    def _check_arrays(self, frames: int) -> None:
        for key in ('images', 'depths', 'labels'):
            try:
                found = self._data.get(key)
            except Exception as error:  # h5py may raise anything for a damaged file
                raise DataError(f'{self.file}: `{key}` cannot be read ({error}); download it again.') from error
            if not hasattr(found, 'dtype'):
                raise DataError(f'{self.file} has no `{key}`; give the labelled data set, {FILE}.')
        images = self._data['images'].shape
        if images is None or len(images) != 4 or images[1] != 3 or 0 in images:
            raise DataError(f'{self.file} has `images` of shape {images}; published are [frames 3 width height].')
        for key in ('images', 'depths', 'labels'):
            shape = self._data[key].shape or (0,)
            if shape[0] != frames:
                raise DataError(
                    f'{self.file} has {shape[0]} frames in `{key}`; published are {frames}, which the official splits '
                    'are made of. Download it again.'
                )
            if key != 'images' and shape[1:] != images[2:]:
                raise DataError(f'{self.file} has `{key}` of shape {shape}, `images` {images}; they do not fit.')
        if self._data['images'].dtype != np.uint8 or self._data['labels'].dtype.kind != 'u':
            raise DataError(f'{self.file} must have `images` as uint8 and `labels` as uint16. Download it again.')
        if self._data['depths'].dtype.kind not in 'fiu':
            raise DataError(f'{self.file} must have `depths` as numbers. Download it again.')


def _open(file: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DataError(f'Reading {file} needs h5py: pip install "mtkd_jax[raw]"') from error
    try:
        return h5py.File(ordinary(file), 'r')
    except DataError:
        raise
    except Exception as error:  # h5py may raise anything for a damaged file
        raise DataError(f'{file} cannot be read ({error}); it may be truncated: download it again.') from error
