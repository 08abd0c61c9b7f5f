"""What the builders share: tensorflow-datasets' way of storing and reading, without TensorFlow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.data.builders.shards import write_split
from mtkd_jax.data.sources import Example, Parts, Source, Subset

Progress = Callable[[str, int, int], None]
"""Is told (split, examples done, examples in all)."""


def quiet(split: str, done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        path: its folder.
        sources: random access to the examples of each split, from any number of threads, as NumPy arrays by name.
        metadata: how it was made, and per split what is in it (`metadata.json` in the folder).
    """

    path: Path
    sources: Mapping[str, Source]
    metadata: Mapping[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """Examples in each split."""
        return {split: len(source) for split, source in self.sources.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the segmentation classes, in the order of their ids."""
        return tuple(self.metadata['classes'])

    @property
    def class_count(self) -> int | dict[str, int]:
        """Classes of the segmentation; of a data set with a part per task, of each task."""
        classes = self.metadata['classes']
        return {task: len(names) for task, names in classes.items()} if isinstance(classes, Mapping) else len(classes)


class LocalInfo(tfds.core.DatasetInfo):
    """The description of a data set that exists on this machine only."""

    def initialize_from_bucket(self) -> None:
        """Nothing: tensorflow-datasets would look for a published copy, and leave a temporary folder behind."""


class LocalBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder that leaves it to its caller to tell the user what it does."""

    progress: Progress = staticmethod(quiet)

    def decoder(self) -> Callable[[Example], Example] | None:
        """Stored arrays → example; None where an example is stored as it is."""
        return None

    def describe(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """The metadata of the examples, from those that are stored."""
        return metadata

    def _create_builder_config(self, builder_config: Any, version: Any) -> Any:
        # Every size is a configuration of its own: none is listed, which tensorflow-datasets warns about.
        return builder_config

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[tfds.core.SplitInfo]:
        return [
            write_split(split, examples, self.info.features, self._get_filename_template(split_name=split))
            for split, examples in self._split_generators(dl_manager).items()
        ]

    def _log_download_bytes(self) -> None:
        """Prints nothing about downloads: there are none."""

    def _log_download_done(self) -> None:
        """Prints nothing about downloads: there are none."""


def stored(channels: int, dtype: Any, height: int, width: int) -> tfds.features.Tensor:
    """An array [h w channels] kept as raw bytes: exact, and read without TensorFlow."""
    return tfds.features.Tensor(shape=(height, width, channels), dtype=dtype, encoding='bytes')


def dense_features(height: int, width: int) -> dict[str, tfds.features.FeatureConnector]:
    """The targets every indoor data set has, in the stored conventions (spec E)."""
    return {
        'segmentation': stored(1, np.int8, height, width),
        'depth': stored(1, np.float32, height, width),
        'normals': stored(3, np.float32, height, width),
        'index': tfds.features.Tensor(shape=(), dtype=np.int32, encoding='bytes'),
    }


def root(data_dir: str | None) -> Path:
    """The folder prepared data lie in: `data_dir`, or tensorflow-datasets' own."""
    return Path(data_dir or tfds.core.constants.DATA_DIR).expanduser().absolute()


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds a data set that has been prepared whole; it gets its name last."""
    return (folder / 'dataset_info.json').is_file()


@dataclass(frozen=True)
class Decoded:
    """Stored examples, decoded as they are read."""

    source: Source
    decode: Callable[[Example], Example]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Example:
        if not 0 <= i < len(self):
            raise IndexError(f'There are only {len(self)} examples.')
        return self.decode(self.source[i])


def open_prepared(builder: LocalBuilder) -> Prepared:
    """Reads a data set that `is_complete`."""
    splits = list(builder.info.splits)
    sources: dict[str, Source] = dict(zip(splits, builder.as_data_source(split=splits), strict=True))
    decode = builder.decoder()
    if decode is not None:
        sources = {split: Decoded(source, decode) for split, source in sources.items()}
    metadata = dict(builder.describe(builder.info.metadata or {}))
    for split, counts in metadata.get('parts', {}).items():
        sources[split] = divide(sources[split], counts)
    return Prepared(Path(builder.data_dir), sources, metadata)


def divide(source: Source, counts: Mapping[str, int]) -> Parts:
    """`source` as the parts of so many examples that it holds one after the other."""
    parts, first = {}, 0
    for task, count in counts.items():
        parts[task] = Subset(source, np.arange(first, first + count))
        first += count
    return Parts.whole(parts)
