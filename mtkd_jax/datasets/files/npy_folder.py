"""Data sets as researchers pass them on: a preprocessed folder of `.npy` files (papers.md E)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.finding import open_ordinary, printable, walk
from mtkd_jax.datasets.files.reader import Frame, check_frame
from mtkd_jax.files import as_float32, wide

MARK = 255  # what many files of 8-bit labels mark unlabelled pixels with
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

    Args:
        ignore_label: the label that marks what is not labelled; it is read as -1 (which always does).
        depth_scale: what one unit of the depth files is in the stored unit, such as 0.001 of millimetres.

    Raises:
        DataError: a folder or file is missing, the numbering has a gap, or `depth_scale` is no positive number.
    """

    def __init__(
        self, source: Path, layout: Layout, ignore_label: int | None = None, depth_scale: float | None = None
    ) -> None:
        if depth_scale is not None and not 0 < depth_scale < np.inf:
            raise DataError(f'`depth_scale` is {depth_scale}; give a positive number, such as 0.001 for millimetres.')
        self.ignore_label, self.depth_scale = ignore_label, depth_scale
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
            **({} if ignore_label is None else {'ignore_label': ignore_label}),
            **({} if depth_scale is None else {'depth_scale': depth_scale}),
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
        arrays['segmentation'] = self._labels(arrays['segmentation'], files['segmentation'])
        if self.depth_scale is not None:
            arrays['depth'] = as_float32(arrays['depth'].astype(np.float64) * self.depth_scale)
        names = {key: str(file) for key, file in files.items()}
        return {**check_frame(arrays, names, self.size, len(self.classes)), 'index': np.array(i, np.int32)}

    def _labels(self, label: np.ndarray, file: Path) -> np.ndarray:
        if self.ignore_label is None:
            if len(self.classes) <= MARK and (label == MARK).any():
                last = len(self.classes) - 1
                raise DataError(
                    f'{file} has values from {label.min():g} to {label.max():g}; labels must be 0..{last}, or -1 where '
                    f'nothing is labelled. If {MARK} marks that here, give --ignore_label={MARK}.'
                )
            return label
        return np.where(label == self.ignore_label, -1, label.astype(np.float64))

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
        return tuple(sorted(printable(f.relative_to(self.source)) for f in walk(self.source) if f not in used))


def refuse_given(source: Path, ignore_label: int | None, depth_scale: float | None) -> None:
    """Raises a `DataError` where either is said of published files, whose labels and units are known."""
    for name, value in (('ignore_label', ignore_label), ('depth_scale', depth_scale)):
        if value is not None:
            raise DataError(f'`{name}` is for preprocessed files, and {source} is as published; leave out --{name}.')


def load(file: Path) -> np.ndarray:
    """The array of numbers in an `.npy` file, in this machine's byte order; floats as float32.

    Raises:
        DataError: there is none.
    """
    with open_ordinary(file) as stream:
        try:
            array = np.lib.format.read_array(stream, allow_pickle=False)
        except Exception as error:  # numpy may raise anything for a damaged header
            raise DataError(f'{file} cannot be read ({error}); it may be truncated: copy it again.') from error
    if array.dtype.kind not in 'fiub':
        raise DataError(f'{file} holds no array of numbers but of {array.dtype}; save it as float32 with `numpy.save`.')
    return wide(array)
