"""NYUv2 as researchers have it: the preprocessed folder of `.npy` files (spec E)."""

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.data.errors import DataError
from mtkd_jax.data.frames import Frame, check_frame

OFFICIAL = {'train': 795, 'test': 654}
FOLDERS = {'train': 'train', 'test': 'val'}  # the papers test on what the files call val
ARRAYS = {'image': 'image', 'segmentation': 'label', 'depth': 'depth', 'normals': 'normal'}
LAYOUT = '{train,val}/{image,label,depth,normal}/{0,1,...}.npy'


@functools.cache
def tables() -> dict[str, Any]:
    """The official tables: raw label → 40 → 13 classes, their names, and the frames of the splits (1-based)."""
    return json.loads((resources.files('mtkd_jax.data.assets') / 'nyuv2_classes_and_splits.json').read_text())


def class_names() -> tuple[str, ...]:
    """The 13 classes, in the order of their ids."""
    return tuple(tables()['class13_names'])


class PreprocessedFolder:
    """A `Reader` of `{train,val}/{image,label,depth,normal}/{i}.npy`, i = 0, 1, ...; arrays [h w c], label [h w].

    Floats and whole numbers of every width are accepted. The folder `val` is the split `test`.

    Raises:
        DataError: a folder or file is missing, or the numbering has a gap.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self.splits: dict[str, int] = {split: self._count(split) for split in FOLDERS}
        file = self._file('train', 'image', 0)
        shape = _load(file).shape
        if len(shape) != 3 or shape[-1] != 3 or 0 in shape:
            raise DataError(f'{file} has shape {shape}; images must be [height width 3]: move the channels last.')
        self.size: tuple[int, int] = (shape[0], shape[1])
        self.skipped = self._other_files()
        self.metadata: dict[str, Any] = {
            'source': 'preprocessed',
            'normals': 'as given',
            'resampling': 'none',
            'test_split': 'the folder val, which holds the official test split',
            'index': 'number of the file, from 0 in each split',
        }

    def read(self, split: str, i: int) -> Frame:
        """See `Reader.read`."""
        files = {key: self._file(split, key, i) for key in ARRAYS}
        arrays = {key: _load(file) for key, file in files.items()}
        for key in ('segmentation', 'depth'):
            if arrays[key].ndim == 2:
                arrays[key] = arrays[key][..., None]
        names = {key: str(file) for key, file in files.items()}
        return {**check_frame(arrays, names, self.size, len(class_names())), 'index': np.array(i, np.int32)}

    def _file(self, split: str, key: str, i: int) -> Path:
        return self.source / FOLDERS[split] / ARRAYS[key] / f'{i}.npy'

    def _count(self, split: str) -> int:
        numbers = {}
        for key, name in ARRAYS.items():
            folder = self.source / FOLDERS[split] / name
            if not folder.is_dir():
                raise DataError(f'The folder {folder} is missing; the preprocessed NYUv2 is {LAYOUT}.')
            numbers[key] = {
                int(f.stem) for f in folder.glob('*.npy') if f.stem.isdecimal() and f.stem == str(int(f.stem))
            }
        every = set().union(*numbers.values())
        if not every:
            raise DataError(f'{self.source / FOLDERS[split]} has no frames; the preprocessed NYUv2 is {LAYOUT}.')
        for i in range(max(every) + 1):
            for key, found in numbers.items():
                if i not in found:
                    raise DataError(
                        f'{self._file(split, key, i)} is missing, while there are frames up to {max(every)}; every '
                        'frame from 0 on needs its image, label, depth and normal. Copy the missing file.'
                    )
        return len(every)

    def _other_files(self) -> tuple[str, ...]:
        used = {self._file(split, key, i) for split, n in self.splits.items() for key in ARRAYS for i in range(n)}
        return tuple(
            sorted(str(f.relative_to(self.source)) for f in self.source.rglob('*') if f.is_file() and f not in used)
        )


def _load(file: Path) -> np.ndarray:
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f'{file} cannot be read ({error}); it may be truncated: copy it again.') from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in 'fiub':
        raise DataError(f'{file} holds no array of numbers; save it again with `numpy.save`.')
    return array
