"""`rooms`: rendered indoor scenes with exact targets, for machines without data."""

import functools
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.data import scenes
from mtkd_jax.data.builders import base
from mtkd_jax.data.reading import follow_parent
from mtkd_jax.data.summary import Summary
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


class Rooms(base.LocalBuilder):
    """Rendered rooms: image, 13 classes, depth, normals, edges, keypoints (`mtkd_jax.data.scenes`)."""

    name = 'rooms'
    VERSION = tfds.core.Version('1.0.0')

    def _info(self) -> tfds.core.DatasetInfo:
        config: RoomsConfig = self.builder_config
        size = config.height, config.width
        features = {
            'image': base.stored(3, np.uint8, *size),
            **base.dense_features(*size),
            'edges': base.stored(1, np.float32, *size),
            'keypoints': base.stored(1, np.float32, *size),
        }
        metadata = {
            'source': 'rendered',
            'normals': 'exact',
            'resampling': 'none',
            'index': 'seed of the scene',
            'seed': config.seed,
            'size': size,
            'classes': scenes.CLASSES,
            'splits': {},
        }
        return base.LocalInfo(
            builder=self,
            description=scenes.__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(metadata),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        config: RoomsConfig = self.builder_config
        # A scene is never in two splits, nor in data sets of two seeds.
        first = config.seed * 2 * SPLIT_SEEDS
        return {
            'train': self._generate_examples('train', first, config.train),
            'test': self._generate_examples('test', first + SPLIT_SEEDS, config.test),
        }

    def _generate_examples(self, split: str, first: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        config: RoomsConfig = self.builder_config
        render = functools.partial(scenes.render, height=config.height, width=config.width)
        summary = Summary(len(scenes.CLASSES))
        self.progress(split, 0, count)
        # Fresh processes: forking one in which JAX already runs threads can hang.
        context = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(min(os.cpu_count() or 1, count), context, _start_worker) as pool:
            for i, example in enumerate(pool.map(render, range(first, first + count), chunksize=2)):
                summary.add(example)
                self.progress(split, i + 1, count)
                yield i, {**example, 'index': np.array(first + i, np.int32)}
        self.info.metadata['splits'][split] = summary.as_dict()


def _start_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
