"""An epoch as published PyTorch code trains it: files read by a `DataLoader`, sent, one step, every loss fetched.

The steps are those of benchmarks/torch_step.py. It does less than KD4MTL's own loop, which also computes the metrics of
every training batch.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.timing import WARM, cores

WORKERS = 24  # that KD4MTL reads with; here, no more than there are cores


class Frames(Dataset):
    """The frames in a folder, see `random_data.write_files`."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        image, label, depth, normal = (
            torch.from_numpy(np.load(self.folder / name / f'{i}.npy')) for name in ('image', 'label', 'depth', 'normal')
        )
        return image.permute(2, 0, 1).float(), label.float(), depth.permute(2, 0, 1), normal.permute(2, 0, 1).float()


def reading(folder: Path, count: int, batch: int) -> tuple[Iterator[Any], int]:
    """One epoch of shuffled batches, and how many processes read them, from now on.

    To be called before JAX or CUDA are used: the processes are forks of this one.
    """
    workers = min(WORKERS, cores())
    loader = DataLoader(Frames(folder, count), batch, shuffle=True, num_workers=workers, drop_last=True)
    return iter(loader), workers


def train(step: Any, batches: Iterator[Any], most: float) -> tuple[float, int]:
    """Seconds that a step takes, and of how many: all of the epoch, or as many as `most` seconds allow.

    The first steps do not count.
    """
    began, done = time.perf_counter(), -WARM
    for image, label, depth, normal in batches:
        if done == 0:
            began = time.perf_counter()
        step.take(image, targets(label, depth, normal))
        for value in step.run().values():
            value.item()
        done += 1
        if done > 0 and time.perf_counter() - began > most:
            break
    return (time.perf_counter() - began) / done, done


def targets(label: Tensor, depth: Tensor, normal: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """As `torch_step.Step.take` takes them."""
    return {
        'segmentation': (label[:, None], label >= 0),
        'depth': (depth, depth[:, 0] != 0),
        'normals': (normal, (normal != 0).any(1)),
    }
