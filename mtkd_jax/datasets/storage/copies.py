"""Prepared data that lie in an object store: a copy on this machine is read."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mtkd_jax.datasets.errors import DataNotPrepared
from mtkd_jax.datasets.storage.builder import LocalBuilder, is_complete
from mtkd_jax.datasets.storage.disk import UNFINISHED, alone, explained
from mtkd_jax.files import sync, write_json
from mtkd_jax.places import Stored

AT_ONCE = 8
RECORD = 'copied.json'  # beside the copies, of what store's objects they are


def copied(make: Callable[[Path], LocalBuilder], data_dir: Stored) -> LocalBuilder:
    """The builder of a copy on this machine, made or made anew where the objects in `data_dir` are not those of it.

    It is kept in a folder of $XDG_CACHE_HOME or ~/.cache, whole or not at all; other processes wait while it is made.

    Raises:
        DataNotPrepared: it is not in `data_dir`.
        DataError: this machine's disk is full.
    """
    here = root() / str(data_dir).replace('://', os.sep)
    target = Path(make(here).data_dir)
    there = data_dir / target.relative_to(here).as_posix()
    if not (there / 'dataset_info.json').is_file():
        raise DataNotPrepared(
            f'There are no prepared data in {there}. Prepare them in a folder of this machine, and copy what is in it '
            f'to {data_dir}; nothing is prepared in a store.'
        )
    with explained(here), alone(here):
        objects = {str(item.relative_to(there)): list(item.stat()) for item in there.objects()}
        record = target.with_name(f'{target.name}.{RECORD}')
        if not is_complete(target) or _recorded(record) != objects:
            new = target.with_name(f'{UNFINISHED}copy')
            shutil.rmtree(new, ignore_errors=True)
            _copy([there / name for name in objects], there, new)
            shutil.rmtree(target, ignore_errors=True)
            new.rename(target)
            write_json(record, objects)
    return make(here)


def root() -> Path:
    """Where all copies are."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mtkd_jax' / 'data'


def _copy(objects: list[Stored], there: Stored, new: Path) -> None:
    def one(item: Stored) -> None:
        file = new / item.relative_to(there).as_posix()
        file.parent.mkdir(parents=True, exist_ok=True)
        item.copy_to(file)

    new.mkdir(parents=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, objects))
    sync([*new.rglob('*'), new])


def _recorded(record: Path) -> Any:
    try:
        return json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        return None
