"""`nyuv2`: NYU-Depth V2 with 13 classes, depth and normals, made from the user's files."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.data import nyuv2_files, nyuv2_raw
from mtkd_jax.data.builders import base
from mtkd_jax.data.errors import DataError
from mtkd_jax.data.frames import Reader
from mtkd_jax.data.summary import Summary

RAW_SIZE = (288, 384)  # what the papers train on (spec A4)
BYTES_PER_PIXEL = 3 * 4 + 1 + 4 + 3 * 4


@dataclass(eq=False, kw_only=True)
class Nyuv2Config(tfds.core.BuilderConfig):
    """`height` and `width` in pixels."""

    name: str = ''
    height: int = RAW_SIZE[0]
    width: int = RAW_SIZE[1]

    def __post_init__(self) -> None:
        self.name = f'{self.height}x{self.width}'

    @property
    def flags(self) -> str:
        """What `prepare` makes it with."""
        return '--source=DIR' + ('' if (self.height, self.width) == RAW_SIZE else f' --size={self.height}x{self.width}')


class Nyuv2(base.LocalBuilder):
    """NYU-Depth V2: image in [0, 1] as given, 13 classes, depth in metres, unit normals.

    Splits are `train` and `test`; the folder `val` of preprocessed files is the official test split. `reader` is needed
    to prepare, not to read.
    """

    name = 'nyuv2'
    VERSION = tfds.core.Version('1.0.0')
    reader: Reader

    def _info(self) -> tfds.core.DatasetInfo:
        config: Nyuv2Config = self.builder_config
        size = config.height, config.width
        return base.LocalInfo(
            builder=self,
            description='NYU-Depth V2 (Silberman et al. 2012): 795 training and 654 test frames of indoor scenes.',
            features=tfds.features.FeaturesDict(
                {'image': base.stored(3, np.float32, *size), **base.dense_features(*size)}
            ),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict({'size': size, 'classes': nyuv2_files.class_names(), 'splits': {}}),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        self.info.metadata.update(self.reader.metadata, notes=notes(self.reader))
        return {split: self._generate_examples(split, count) for split, count in self.reader.splits.items()}

    def _generate_examples(self, split: str, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        summary = Summary(len(nyuv2_files.class_names()))
        self.progress(split, 0, count)
        for i in range(count):
            frame = self.reader.read(split, i)
            summary.add(frame)
            self.progress(split, i + 1, count)
            yield i, frame
        self.info.metadata['splits'][split] = summary.as_dict()


def notes(reader: Reader) -> list[str]:
    """What a user should know about the files, one sentence each."""
    found = []
    for split, official in nyuv2_files.OFFICIAL.items():
        if reader.splits[split] != official:
            found.append(f'{split} has {reader.splits[split]} frames; the official split has {official}.')
    height, width = reader.size
    if height % 32 or width % 32:
        found.append(f'WARNING: {height}x{width} is not a multiple of 32 in both directions, which SegNet needs.')
    if reader.skipped:
        shown = ', '.join(reader.skipped[:3]) + (', ...' if len(reader.skipped) > 3 else '')
        count = '1 other file was' if len(reader.skipped) == 1 else f'{len(reader.skipped)} other files were'
        found.append(f'{count} not used: {shown}')
    return found


def open_source(source: str, size: tuple[int, int] | None) -> Reader:
    """A reader of the user's files: the preprocessed folder, or the published `.mat` file (or a folder that holds it).

    `size`: height and width in pixels to resize the `.mat` file's frames to (default 288×384); preprocessed files keep
    theirs.

    Raises:
        DataError: `source` is neither, or something in it is missing.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f'`source` is {path}, which does not exist; give the folder or file that holds NYUv2.')
    if (path / 'train').is_dir() or (path / 'val').is_dir():
        folder = nyuv2_files.PreprocessedFolder(path)
        if size not in (None, folder.size):
            height, width = folder.size
            raise DataError(
                f'`size` is {size[0]}x{size[1]}, but the files in {path} are {height}x{width} and are not resized; '
                'leave out `size`.'
            )
        return folder
    file = path / nyuv2_raw.FILE if path.is_dir() else path
    if not file.is_file() or file.suffix != '.mat':
        raise DataError(
            f'{path} holds neither {nyuv2_files.LAYOUT} nor {nyuv2_raw.FILE}; give the folder of one of them.'
        )
    return nyuv2_raw.RawFile(file, size or RAW_SIZE)


def check_space(reader: Reader, folder: Path) -> None:
    """Refuses to begin what the disk cannot hold.

    Raises:
        DataError: there is too little free space.
    """
    needed = sum(reader.splits.values()) * reader.size[0] * reader.size[1] * BYTES_PER_PIXEL
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DataError(
            f'{folder} has {free / 1e9:.1f} GB free; preparing needs {needed / 1e9:.1f} GB. Free some space, or give '
            'another `data_dir`.'
        )
