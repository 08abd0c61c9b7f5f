"""How `cityscapes` is stored, and made from the user's files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.datasets.base import Preparation, Prepared, given_size
from mtkd_jax.datasets.cityscapes import DATA_SET, OFFICIAL, files
from mtkd_jax.datasets.cityscapes.classes import class_names
from mtkd_jax.datasets.storage import opening, writing
from mtkd_jax.datasets.storage.builder import dense_features, stored
from mtkd_jax.datasets.storage.frames import FramesBuilder


class Cityscapes(FramesBuilder):
    """Cityscapes (Cordts et al. 2016): 2,975 training and 500 validation frames of streets; the latter are `test`.

    Image in [0, 1], 7 categories or 19 classes, inverse depth (the disparity file's number / 65,535) or metres.
    """

    name = 'cityscapes'
    VERSION = tfds.core.Version('1.0.0')
    data_set = DATA_SET
    official = OFFICIAL

    @classmethod
    def config_name(cls, data: Mapping[str, Any]) -> str:
        """See `LocalBuilder.config_name`."""
        return f'{data["height"]}x{data["width"]}_{data["classes"]}classes_{data["depth"]}'

    def classes(self) -> Sequence[str]:
        """See `FramesBuilder.classes`."""
        return class_names(self.data['classes'])

    def stored(self, height: int, width: int) -> dict[str, tfds.features.FeatureConnector]:
        """See `FramesBuilder.stored`."""
        features = {'image': stored(3, np.float32, height, width), **dense_features(height, width)}
        return {name: feature for name, feature in features.items() if name != 'normals'}


def opened(data: Mapping[str, Any], data_dir: str | None) -> Prepared:
    """See `DataSet.open`."""
    return opening.opened(Cityscapes, data, data_dir)


def prepared(data: Mapping[str, Any], how: Preparation) -> Prepared:
    """See `DataSet.prepare`; of `data`, height and width, which preprocessed files say themselves, classes and depth.

    Raises:
        DataError: a file is not what it should be, or the disk is too small.
    """
    full = {**DATA_SET.defaults, **data}
    reader = files.open_source(
        how.source, given_size(data), full['classes'], full['depth'], how.ignore_label, how.depth_scale
    )
    return writing.prepared(Cityscapes, data, how, reader)
