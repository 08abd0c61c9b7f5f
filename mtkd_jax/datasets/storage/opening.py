"""Opening what is prepared, or saying how to prepare it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax import places
from mtkd_jax.data.sources import Example, Pools, Source, Subset
from mtkd_jax.datasets import flags
from mtkd_jax.datasets.base import Prepared
from mtkd_jax.datasets.errors import DataError, DataNotPrepared
from mtkd_jax.datasets.storage.builder import LocalBuilder, is_complete, root
from mtkd_jax.datasets.storage.copies import copied


@dataclass(frozen=True)
class Stored:
    """The examples of a split in the folder `path`, decoded as they are read.

    Raises:
        DataError: one cannot be read; names it. (Reading processes can send it.)
    """

    source: Source
    path: Path
    split: str
    decode: Callable[[Example], Example] | None = None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Example:
        if not 0 <= i < len(self):
            raise IndexError(f'There are only {len(self)} examples.')
        try:
            example = self.source[i]
            return example if self.decode is None else self.decode(example)
        except Exception as error:  # the storage library may raise anything for a damaged file
            raise _damaged(self.path, f'{self.split}, example {i} cannot be read ({error})') from error


def open_prepared(builder: LocalBuilder) -> Prepared:
    """Reads a data set that `is_complete`.

    Raises:
        DataError: a file of it is missing or damaged.
    """
    path = Path(builder.data_dir)
    try:
        splits = list(builder.info.splits)
        read = dict(zip(splits, builder.as_data_source(split=splits), strict=True))
        metadata = dict(builder.describe(builder.info.metadata or {}))
    except Exception as error:  # the storage library may raise anything for a damaged file
        raise _damaged(path, f'it cannot be opened ({error})') from error
    sources: dict[str, Source] = {s: Stored(source, path, s, builder.decoder()) for s, source in read.items()}
    if not metadata.get('splits'):
        raise _damaged(path, 'metadata.json is missing or empty')
    for split, counts in metadata.get('parts', {}).items():
        sources[split] = divide(sources[split], counts)
    return Prepared(path, sources, metadata)


def _damaged(path: Path, what: str) -> DataError:
    return DataError(
        f'{path}: {what}. `python -m mtkd_jax.prepare --verify` says what else is damaged; prepare it again with '
        '--overwrite.'
    )


def divide(source: Source, counts: Mapping[str, int]) -> Pools:
    """Splits `source` into pools: consecutive parts of `counts` examples."""
    pools, first = {}, 0
    for task, count in counts.items():
        pools[task] = Subset(source, np.arange(first, first + count))
        first += count
    return Pools.whole(pools)


def opened(kind: type[LocalBuilder], data: Mapping[str, Any], data_dir: str | None) -> Prepared:
    """The prepared variant that `data` names; where it lies in a store, a copy on this machine.

    Raises:
        UserError: there is no such variant.
        DataNotPrepared: it is not in `data_dir`; says which commands make it.
    """
    if data_dir and isinstance(where := places.place(data_dir), places.Stored):
        return open_prepared(copied(lambda folder: kind.of(data, folder), where))
    builder = kind.of(data, root(data_dir))
    if not is_complete(Path(builder.data_dir)):
        raise DataNotPrepared(_how_to_prepare(builder, data_dir))
    return open_prepared(builder)


def _how_to_prepare(builder: LocalBuilder, data_dir: str | None) -> str:
    name, folder, data_set = builder.name, Path(builder.data_dir), builder.data_set
    where = f' --data_dir={data_dir}' if data_dir else ''
    field = f' --config.data.data_dir={data_dir}' if data_dir else ''
    wanted = f' {words}' if (words := flags.command(data_set.flags, data_set.defaults, builder.data)) else ''
    height, width = builder.size
    return (
        f'{name} {height}x{width} is not prepared: there is nothing in {folder}.{_instead(folder)} '
        'Prepare it, then train:\n'
        f'  python -m mtkd_jax.prepare --dataset={name}{wanted}{where}\n'
        f'  python -m mtkd_jax.main --config=configs/{name}.py --workdir=runs/{name}{field}'
    )


def _instead(folder: Path) -> str:
    """What is prepared beside `folder`: by another version, or other variants."""
    found = ''
    versions = [path.parent for path in sorted(folder.parent.glob('*/dataset_info.json'))]
    if versions:
        found += f' What is in {versions[-1]} was prepared by another version and must be prepared again.'
    others = sorted(path.parts[-3] for path in folder.parents[1].glob(f'*/{folder.name}/dataset_info.json'))
    return found + (f' Prepared there are: {", ".join(others)}.' if others else '')
