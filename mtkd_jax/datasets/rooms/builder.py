"""How `rooms` are stored, and rendered."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.datasets.base import Preparation, Prepared
from mtkd_jax.datasets.rooms import DATA_SET, scenes
from mtkd_jax.datasets.rooms.renderer import Renderer
from mtkd_jax.datasets.storage import opening, writing
from mtkd_jax.datasets.storage.builder import dense_features, stored
from mtkd_jax.datasets.storage.frames import FramesBuilder


class Rooms(FramesBuilder):
    """Rendered rooms: image, 13 classes, depth, normals, edges, keypoints (`mtkd_jax.datasets.rooms.scenes`)."""

    name = 'rooms'
    VERSION = tfds.core.Version('1.0.0')
    data_set = DATA_SET

    @classmethod
    def config_name(cls, data: Mapping[str, Any]) -> str:
        """See `LocalBuilder.config_name`."""
        size, counts = f'{data["height"]}x{data["width"]}', f'{data["train_images"]}+{data["test_images"]}'
        return f'{size}_seed{data["scene_seed"]}_{counts}'

    def classes(self) -> Sequence[str]:
        """See `FramesBuilder.classes`."""
        return scenes.CLASSES

    def stored(self, height: int, width: int) -> dict[str, tfds.features.FeatureConnector]:
        """See `FramesBuilder.stored`."""
        return {
            'image': stored(3, np.uint8, height, width),
            **dense_features(height, width),
            'edges': stored(1, np.float32, height, width),
            'keypoints': stored(1, np.float32, height, width),
        }


def opened(data: Mapping[str, Any], data_dir: str | None) -> Prepared:
    """See `DataSet.open`."""
    return opening.opened(Rooms, data, data_dir)


def prepared(data: Mapping[str, Any], how: Preparation) -> Prepared:
    """See `DataSet.prepare`; also renders what was rendered in part.

    Raises:
        UserError: a number is out of range.
        DataError: the disk is too small.
    """
    DATA_SET.check(data)
    return writing.prepared(Rooms, data, how, Renderer({**DATA_SET.defaults, **data}))
