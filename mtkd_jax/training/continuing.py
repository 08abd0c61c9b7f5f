"""A stage that goes on where a finished one ended: with its last checkpoint, its records and what it kept as best."""

import os
import shutil
from pathlib import Path

from mtkd_jax.files import sync
from mtkd_jax.records import BEST, CHECKPOINTS, METRICS
from mtkd_jax.types import UserError

PARTIAL = 'continued.partial'


def saved(folder: Path) -> list[int]:
    """Steps of the checkpoints of the stage in `folder`, a folder of this machine, in order."""
    return sorted(int(entry.name) for entry in (folder / CHECKPOINTS).glob('*') if entry.name.isdecimal())


def begin(folder: Path, before: Path) -> None:
    """Copies what training goes on from, unless `folder` has checkpoints: whole, or nothing.

    Raises:
        UserError: `before` has no checkpoint any more.
    """
    if saved(folder):
        return
    steps, target = saved(before), folder / CHECKPOINTS
    if not steps:
        raise UserError(f'{before / CHECKPOINTS} has no checkpoint to continue from; train that stage again.')
    partial = folder / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(before / CHECKPOINTS / str(steps[-1]), partial / str(steps[-1]))
    shutil.copy(before / METRICS, folder / METRICS)
    if (before / BEST).is_dir():
        shutil.copytree(before / BEST, folder / BEST, dirs_exist_ok=True)
    sync([*partial.rglob('*'), folder / METRICS, *(folder / BEST).rglob('*')])
    shutil.rmtree(target, ignore_errors=True)
    # Last: where it is, all is.
    os.rename(partial, target)
    sync([folder])
