"""`cityscapes`: street scenes with 7 or 19 classes and inverse (or metric) depth, made from the user's files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.data import cityscapes_files
from mtkd_jax.data.builders import base
from mtkd_jax.data.builders.frames import FramesBuilder
from mtkd_jax.types import UserError

SIZE = (128, 256)  # what the papers train on (spec A4)


@dataclass(eq=False, kw_only=True)
class CityscapesConfig(tfds.core.BuilderConfig):
    """`height` and `width` in pixels, `classes` (7 or 19), `depth` (`inverse` or `metric`)."""

    name: str = ''
    height: int = SIZE[0]
    width: int = SIZE[1]
    classes: int = 7
    depth: str = 'inverse'

    def __post_init__(self) -> None:
        if self.classes not in (7, 19):
            raise UserError(f'`classes` of cityscapes is {self.classes}; there are 7 categories or 19 classes.')
        if self.depth not in cityscapes_files.DEPTHS:
            raise UserError(
                f'`depth` of cityscapes is {self.depth!r}; choose one of {", ".join(cityscapes_files.DEPTHS)}.'
            )
        self.name = f'{self.height}x{self.width}_{self.classes}classes_{self.depth}'

    @property
    def flags(self) -> str:
        """What `prepare` makes it with."""
        size = '' if (self.height, self.width) == SIZE else f' --size={self.height}x{self.width}'
        classes = '' if self.classes == 7 else f' --classes={self.classes}'
        return f'--source=DIR{size}{classes}' + ('' if self.depth == 'inverse' else f' --depth={self.depth}')


class Cityscapes(FramesBuilder):
    """Cityscapes (Cordts et al. 2016): 2,975 training and 500 validation frames of streets; the latter are `test`.

    Image in [0, 1], 7 categories or 19 classes, inverse depth (the disparity file's number / 65,535) or metres.
    """

    name = 'cityscapes'
    VERSION = tfds.core.Version('1.0.0')
    official = cityscapes_files.OFFICIAL

    def classes(self) -> Sequence[str]:
        """See `FramesBuilder.classes`."""
        config: Any = self.builder_config
        return cityscapes_files.class_names(config.classes)

    def stored(self, height: int, width: int) -> dict[str, tfds.features.FeatureConnector]:
        """See `FramesBuilder.stored`."""
        features = {'image': base.stored(3, np.float32, height, width), **base.dense_features(height, width)}
        return {name: feature for name, feature in features.items() if name != 'normals'}
