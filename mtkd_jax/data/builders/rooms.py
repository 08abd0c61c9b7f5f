"""`rooms`: rendered indoor scenes with exact targets, for machines without data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.data import scenes
from mtkd_jax.data.builders import base
from mtkd_jax.data.builders.frames import FramesBuilder
from mtkd_jax.data.frames import Frame
from mtkd_jax.types import UserError

SPLIT_SEEDS = 1_000_000  # scene seeds set aside for one split
SEEDS = 1000  # a scene's own seed, at most about 2 SEEDS · SPLIT_SEEDS, is kept as int32


@dataclass(eq=False, kw_only=True)
class RoomsConfig(tfds.core.BuilderConfig):
    """Which rooms: `height` and `width` in pixels, scenes in `train` and `test`, `seed`."""

    name: str = ''
    height: int = 64
    width: int = 96
    train: int = 480
    test: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        most = SPLIT_SEEDS
        limits = {'height': (8, most), 'width': (8, most), 'train': (1, most), 'test': (1, most), 'seed': (0, SEEDS)}
        for field, (least, most) in limits.items():
            value = getattr(self, field)
            if not least <= value <= most:
                raise UserError(f'`{field}` of rooms is {value}; give a number from {least} to {most}.')
        self.name = f'{self.height}x{self.width}_seed{self.seed}_{self.train}+{self.test}'

    @property
    def flags(self) -> str:
        """What `prepare` makes it with."""
        return f'--size={self.height}x{self.width} --train={self.train} --test={self.test} --seed={self.seed}'


class Rooms(FramesBuilder):
    """Rendered rooms: image, 13 classes, depth, normals, edges, keypoints (`mtkd_jax.data.scenes`)."""

    name = 'rooms'
    VERSION = tfds.core.Version('1.0.0')

    def classes(self) -> Sequence[str]:
        """See `FramesBuilder.classes`."""
        return scenes.CLASSES

    def stored(self, height: int, width: int) -> dict[str, tfds.features.FeatureConnector]:
        """See `FramesBuilder.stored`."""
        return {
            'image': base.stored(3, np.uint8, height, width),
            **base.dense_features(height, width),
            'edges': base.stored(1, np.float32, height, width),
            'keypoints': base.stored(1, np.float32, height, width),
        }


class Renderer:
    """A `Reader` of scenes that are rendered when they are read."""

    def __init__(self, config: RoomsConfig) -> None:
        self.splits: dict[str, int] = {'train': config.train, 'test': config.test}
        self.size: tuple[int, int] = (config.height, config.width)
        self.classes = tuple(scenes.CLASSES)
        self.skipped: tuple[str, ...] = ()
        self.metadata: dict[str, Any] = {
            'source': 'rendered',
            'normals': 'exact',
            'resampling': 'none',
            'index': 'seed of the scene',
            'seed': config.seed,
        }

    def files(self, split: str, i: int) -> Sequence[Path]:
        """See `Reader.files`: none."""
        return ()

    def read(self, split: str, i: int) -> Frame:
        """See `Reader.read`; `index` is the scene's own seed."""
        # A scene is never in two splits, nor in data sets of two seeds.
        first = (2 * self.metadata['seed'] + (split == 'test')) * SPLIT_SEEDS
        return {**scenes.render(first + i, *self.size), 'index': np.array(first + i, np.int32)}
