"""`nyuv2`: NYU-Depth V2 with 13 classes, depth and normals, made from the user's files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds

from mtkd_jax.data import nyuv2_files, nyuv2_raw
from mtkd_jax.data.builders.frames import FramesBuilder
from mtkd_jax.data.errors import DataError
from mtkd_jax.data.frames import Reader
from mtkd_jax.data.npy_folder import NpyFolder

RAW_SIZE = (288, 384)  # what the papers train on (spec A4)


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


class Nyuv2(FramesBuilder):
    """NYU-Depth V2 (Silberman et al. 2012): 795 training and 654 test frames of indoor scenes.

    Image in [0, 1] as given, 13 classes, depth in metres, unit normals. The folder `val` of preprocessed files is the
    official test split.
    """

    name = 'nyuv2'
    VERSION = tfds.core.Version('1.0.0')
    official = nyuv2_files.OFFICIAL

    def classes(self) -> Sequence[str]:
        """See `FramesBuilder.classes`."""
        return nyuv2_files.class_names()


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
        folder = NpyFolder(path, nyuv2_files.layout())
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
            f'{path} holds neither {nyuv2_files.layout().text} nor {nyuv2_raw.FILE}; give the folder of one of them.'
        )
    return nyuv2_raw.RawFile(file, size or RAW_SIZE)
