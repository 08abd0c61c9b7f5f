"""Random frames like those of NYUv2: as a source on our side, as the published code's files on the other."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.random_batch import random_batch

DIFFERENT = 8  # frames; a larger set repeats them
FILES = {'image': 'image', 'segmentation': 'label', 'depth': 'depth', 'normals': 'normal'}
"""Name of an array → folder of its files in the preprocessed NYUv2."""


class RandomFrames:
    """A source of so many frames of a size (height, width), in the types that NYUv2 is stored in."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        batch = random_batch(DIFFERENT, *size)
        self._count = count
        targets = {name: np.asarray(target.value) for name, target in batch.targets.items()}
        targets['segmentation'] = targets['segmentation'].astype(np.int8)
        self._frames = {'image': np.asarray(batch.image), **targets}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> Mapping[str, np.ndarray]:
        return {name: x[i % DIFFERENT] for name, x in self._frames.items()}


def write_files(source: RandomFrames, folder: Path) -> None:
    """Writes the frames as the published code reads them: `{image,label,depth,normal}/{0,1,...}.npy`, float32."""
    for name in FILES.values():
        (folder / name).mkdir()
    for i in range(len(source)):
        frame = source[i]
        for name, of_files in FILES.items():
            array = frame[name].astype(np.float32)
            # Labels have no axis of channels.
            np.save(folder / of_files / f'{i}.npy', array[..., 0] if name == 'segmentation' else array)
