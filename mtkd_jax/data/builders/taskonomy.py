"""`taskonomy`: Mini-Taskonomy's tiny split with five targets, made from the user's files."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.data import taskonomy_files
from mtkd_jax.data.builders import base
from mtkd_jax.data.builders.frames import FramesBuilder
from mtkd_jax.data.frames import Frame
from mtkd_jax.data.sources import Example
from mtkd_jax.types import UserError

SIZE = (256, 256)  # (spec B5)


@dataclass(eq=False, kw_only=True)
class TaskonomyConfig(tfds.core.BuilderConfig):
    """`height` and `width` in pixels; `classes`: how it is read, 17 (without "uncertain") or 18; prepared are all."""

    name: str = ''
    height: int = SIZE[0]
    width: int = SIZE[1]
    classes: int = 17

    def __post_init__(self) -> None:
        if self.classes not in (17, 18):
            raise UserError(
                f'`classes` of taskonomy is {self.classes}; give 17 ("uncertain" is void) or 18 (it is a class).'
            )
        self.name = f'{self.height}x{self.width}'

    @property
    def flags(self) -> str:
        """What `prepare` makes it with."""
        return '--source=DIR' + ('' if (self.height, self.width) == SIZE else f' --size={self.height}x{self.width}')


class Taskonomy(FramesBuilder):
    """Taskonomy (Zamir et al. 2018), the tiny split: indoor scans; 17 or 18 classes, depth in metres, unit normals,
    keypoints and edges in [0, 1]. Stored as the files' whole numbers (`mtkd_jax.data.taskonomy_files`).
    """

    name = 'taskonomy'
    VERSION = tfds.core.Version('1.0.0')

    def classes(self) -> Sequence[str]:
        """See `FramesBuilder.classes`."""
        return taskonomy_files.CLASSES

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
        return {**{name: base.stored(*kind, height, width) for name, kind in types.items()}, 'index': index}

    def encode(self, frame: Frame) -> Frame:
        """See `FramesBuilder.encode`."""
        return taskonomy_files.encode(frame)

    def decoder(self) -> Callable[[Example], Example]:
        """See `LocalBuilder.decoder`."""
        config: Any = self.builder_config
        return functools.partial(taskonomy_files.decode, classes=config.classes)

    def describe(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """See `LocalBuilder.describe`."""
        config: Any = self.builder_config
        return {**metadata, 'classes': taskonomy_files.class_names(config.classes)}
