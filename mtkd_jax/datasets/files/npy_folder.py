"""Data sets as researchers pass them on: a preprocessed folder of `.npy` files (papers.md E)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.reader import Frame, check_frame

FOLDERS = {'train': 'train', 'test': 'val'}  # the papers test on what the files call val


@dataclass(frozen=True)
class Layout:
    """What such a folder holds.

    Attributes:
        title: the data set, in messages.
        text: the layout, in messages.
        arrays: target → folders that may hold it; the first that is there counts.
        classes: names of the segmentation's classes.
        notes: entries of the metadata.
    """

    title: str
    text: str
    arrays: Mapping[str, Sequence[str]]
    classes: Sequence[str]
    notes: Mapping[str, str]


class NpyFolder:
    """A `Reader` of `{train,val}/ARRAY/{i}.npy`, i = 0, 1, ...; arrays [h w c], label [h w].

    Floats and whole numbers of every width are accepted. The folder `val` is the split `test`.

    Raises:
        DataError: a folder or file is missing, or the numbering has a gap.
    """

    def __init__(self, source: Path, layout: Layout) -> None:
        self.source = source
        self.layout = layout
        self.classes = tuple(layout.classes)
        self._folders = {key: self._folder(key) for key in layout.arrays}
        self.splits: dict[str, int] = {split: self._count(split) for split in FOLDERS}
        file = self._file('train', 'image', 0)
        shape = load(file).shape
        if len(shape) != 3 or shape[-1] != 3 or 0 in shape:
            raise DataError(f'{file} has shape {shape}; images must be [height width 3]: move the channels last.')
        self.size: tuple[int, int] = (shape[0], shape[1])
        self.skipped = self._other_files()
        self.metadata: dict[str, Any] = {
            'source': 'preprocessed',
            'resampling': 'none',
            'index': 'number of the file, from 0 in each split',
            **layout.notes,
        }

    def check_size(self, size: tuple[int, int] | None) -> None:
        """Raises a `DataError` where another `size` (height and width in pixels) was asked for."""
        if size not in (None, self.size):
            height, width = self.size
            raise DataError(
                f'`size` is {size[0]}x{size[1]}, but the files in {self.source} are {height}x{width} and are not '
                'resized; leave out `size`.'
            )

    def files(self, split: str, i: int) -> list[Path]:
        """See `Reader.files`."""
        return [self._file(split, key, i) for key in self.layout.arrays]

    def read(self, split: str, i: int) -> Frame:
        """See `Reader.read`."""
        files = {key: self._file(split, key, i) for key in self.layout.arrays}
        arrays = {key: load(file) for key, file in files.items()}
        for key in ('segmentation', 'depth'):
            if arrays[key].ndim == 2:
                arrays[key] = arrays[key][..., None]
        names = {key: str(file) for key, file in files.items()}
        return {**check_frame(arrays, names, self.size, len(self.classes)), 'index': np.array(i, np.int32)}

    def _folder(self, key: str) -> str:
        names = self.layout.arrays[key]
        return next((name for name in names if (self.source / 'train' / name).is_dir()), names[0])

    def _file(self, split: str, key: str, i: int) -> Path:
        return self.source / FOLDERS[split] / self._folders[key] / f'{i}.npy'

    def _count(self, split: str) -> int:
        numbers = {}
        for key, name in self._folders.items():
            folder = self.source / FOLDERS[split] / name
            if not folder.is_dir():
                others = ' or '.join(self.layout.arrays[key][1:])
                instead = f' (or {others})' if others else ''
                raise DataError(
                    f'The folder {folder}{instead} is missing; the preprocessed {self.layout.title} is '
                    f'{self.layout.text}.'
                )
            numbers[key] = {
                int(f.stem) for f in folder.glob('*.npy') if f.stem.isdecimal() and f.stem == str(int(f.stem))
            }
        every = set().union(*numbers.values())
        if not every:
            raise DataError(
                f'{self.source / FOLDERS[split]} has no frames; the preprocessed {self.layout.title} is '
                f'{self.layout.text}.'
            )
        for i in range(max(every) + 1):
            for key, found in numbers.items():
                if i not in found:
                    wanted = ', '.join(self._folders.values())
                    raise DataError(
                        f'{self._file(split, key, i)} is missing, while there are frames up to {max(every)}; every '
                        f'frame from 0 on needs its {wanted}. Copy the missing file.'
                    )
        return len(every)

    def _other_files(self) -> tuple[str, ...]:
        used = {f for split, n in self.splits.items() for i in range(n) for f in self.files(split, i)}
        return tuple(
            sorted(str(f.relative_to(self.source)) for f in self.source.rglob('*') if f.is_file() and f not in used)
        )


def load(file: Path) -> np.ndarray:
    """The array of numbers in an `.npy` file.

    Raises:
        DataError: there is none.
    """
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f'{file} cannot be read ({error}); it may be truncated: copy it again.') from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in 'fiub':
        raise DataError(f'{file} holds no array of numbers; save it again with `numpy.save`.')
    return array
