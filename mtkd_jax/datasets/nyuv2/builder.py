"""How `nyuv2` is stored, and made from the user's files."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from mtkd_jax.datasets.base import Preparation, Prepared, given_size
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.finding import expanded
from mtkd_jax.datasets.files.npy_folder import NpyFolder, refuse_given
from mtkd_jax.datasets.files.reader import Reader
from mtkd_jax.datasets.nyuv2 import COUNTS, DATA_SET, OFFICIAL, files, raw
from mtkd_jax.datasets.storage import opening, writing
from mtkd_jax.datasets.storage.frames import FramesBuilder


class Nyuv2(FramesBuilder):
    """NYU-Depth V2 (Silberman et al. 2012): 795 training and 654 test frames of indoor scenes.

    Image in [0, 1] as given, 13 or 40 classes, depth in metres, unit normals. The folder `val` of preprocessed files
    is the official test split.
    """

    name = 'nyuv2'
    VERSION = tfds.core.Version('1.0.0')
    data_set = DATA_SET
    official = OFFICIAL

    @classmethod
    def config_name(cls, data: Mapping[str, Any]) -> str:
        """See `LocalBuilder.config_name`."""
        classes = data['classes']
        # Without their number where it is the default: data that were prepared before 40 could be are still found.
        return f'{data["height"]}x{data["width"]}' + ('' if classes == COUNTS[0] else f'_{classes}classes')

    def classes(self) -> Sequence[str]:
        """See `FramesBuilder.classes`."""
        return files.class_names(self.data['classes'])


def opened(data: Mapping[str, Any], data_dir: str | None) -> Prepared:
    """See `DataSet.open`."""
    return opening.opened(Nyuv2, data, data_dir)


def prepared(data: Mapping[str, Any], how: Preparation) -> Prepared:
    """See `DataSet.prepare`; of `data`, height and width, which preprocessed files say themselves, and classes.

    Raises:
        DataError: a file is not what it should be, or the disk is too small.
    """
    full = {**DATA_SET.defaults, **data}
    DATA_SET.check(full)
    reader = open_source(how.source, given_size(data), full['classes'], how.ignore_label, how.depth_scale)
    return writing.prepared(Nyuv2, data, how, reader)


def open_source(
    source: str,
    size: tuple[int, int] | None,
    classes: int = 13,
    ignore_label: int | None = None,
    depth_scale: float | None = None,
) -> Reader:
    """A reader of the user's files: the preprocessed folder, or the published `.mat` file (or a folder that holds it).

    `size`: height and width in pixels to resize the `.mat` file's frames to (default 288×384); preprocessed files keep
    theirs. `classes`: 13 or 40. `ignore_label`, `depth_scale`: of preprocessed files (`NpyFolder`).

    Raises:
        DataError: `source` is neither, or something in it is missing.
    """
    path = expanded(source)
    if not path.exists():
        raise DataError(f'`source` is {path}, which does not exist; give the folder or file that holds NYUv2.')
    if (path / 'train').is_dir() or (path / 'val').is_dir():
        folder = NpyFolder(path, files.layout(classes), ignore_label, depth_scale)
        folder.check_size(size)
        return folder
    file = path / raw.FILE if path.is_dir() else path
    if not file.exists() or file.suffix != '.mat':
        known = f'neither {files.layout(classes).text} nor {raw.FILE}'
        raise DataError(f'{path} holds {known}; give the folder of one of them.')
    refuse_given(path, ignore_label, depth_scale)
    return raw.RawFile(file, size or (DATA_SET.defaults['height'], DATA_SET.defaults['width']), classes)
