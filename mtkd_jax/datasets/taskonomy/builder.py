"""How `taskonomy` is stored, and made from the user's files."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.data.sources import Example
from mtkd_jax.datasets.base import Preparation, Prepared
from mtkd_jax.datasets.files.finding import expanded
from mtkd_jax.datasets.files.reader import Frame
from mtkd_jax.datasets.storage import opening, writing
from mtkd_jax.datasets.storage.builder import stored
from mtkd_jax.datasets.storage.frames import FramesBuilder
from mtkd_jax.datasets.taskonomy import DATA_SET, storing
from mtkd_jax.datasets.taskonomy.files import Tree


class Taskonomy(FramesBuilder):
    """Taskonomy (Zamir et al. 2018), the tiny split: indoor scans; 17 or 18 classes, depth in metres, unit normals,
    keypoints and edges in [0, 1]. Stored as the files' whole numbers (`mtkd_jax.datasets.taskonomy.storing`).

    All 18 classes are stored; `classes` of `data` says how they are read.
    """

    name = 'taskonomy'
    VERSION = tfds.core.Version('1.0.0')
    data_set = DATA_SET

    @classmethod
    def config_name(cls, data: Mapping[str, Any]) -> str:
        """See `LocalBuilder.config_name`."""
        return f'{data["height"]}x{data["width"]}'

    def classes(self) -> Sequence[str]:
        """See `FramesBuilder.classes`."""
        return storing.CLASSES

    def stored(self, height: int, width: int) -> dict[str, tfds.features.FeatureConnector]:
        """See `FramesBuilder.stored`."""
        types = {
            'image': (3, np.uint8),
            'segmentation': (1, np.int8),
            'depth': (1, np.uint16),
            'normals': (3, np.uint8),
            'keypoints': (1, np.int32),
            'edges': (1, np.int32),
        }
        index = tfds.features.Tensor(shape=(), dtype=np.int32, encoding='bytes')
        return {**{name: stored(*kind, height, width) for name, kind in types.items()}, 'index': index}

    def encode(self, frame: Frame) -> Frame:
        """See `FramesBuilder.encode`."""
        return storing.encode(frame)

    def decoder(self) -> Callable[[Example], Example]:
        """See `LocalBuilder.decoder`."""
        return functools.partial(storing.decode, classes=self.data['classes'])

    def describe(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """See `LocalBuilder.describe`."""
        return {**metadata, 'classes': storing.class_names(self.data['classes'])}


def opened(data: Mapping[str, Any], data_dir: str | None) -> Prepared:
    """See `DataSet.open`."""
    return opening.opened(Taskonomy, data, data_dir)


def prepared(data: Mapping[str, Any], how: Preparation) -> Prepared:
    """See `DataSet.prepare`; from the official tree, resized to height and width, with all 18 classes.

    Raises:
        DataError: the tree is not what it should be, or the disk is too small.
    """
    full = {**DATA_SET.defaults, **data, 'classes': len(storing.CLASSES)}
    reader = Tree(expanded(how.source), (full['height'], full['width']))
    return writing.prepared(Taskonomy, full, how, reader)
