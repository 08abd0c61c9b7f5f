"""Rooms as frames that are rendered when they are read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.datasets.files.reader import Frame
from mtkd_jax.datasets.rooms import SPLIT_SEEDS, scenes


class Renderer:
    """A `Reader` of scenes that are rendered when they are read; `data`: the fields of `config.data`, all of them."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.splits: dict[str, int] = {'train': data['train_images'], 'test': data['test_images']}
        self.size: tuple[int, int] = (data['height'], data['width'])
        self.classes = tuple(scenes.CLASSES)
        self.skipped: tuple[str, ...] = ()
        self.metadata: dict[str, Any] = {
            'source': 'rendered',
            'normals': 'exact',
            'resampling': 'none',
            'index': 'seed of the scene',
            'seed': data['scene_seed'],
        }

    def files(self, split: str, i: int) -> Sequence[Path]:
        """See `Reader.files`: none."""
        return ()

    def read(self, split: str, i: int) -> Frame:
        """See `Reader.read`; `index` is the scene's own seed."""
        # A scene is never in two splits, nor in data sets of two seeds.
        first = (2 * self.metadata['seed'] + (split == 'test')) * SPLIT_SEEDS
        return {**scenes.render(first + i, *self.size), 'index': np.array(first + i, np.int32)}
