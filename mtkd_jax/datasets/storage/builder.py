"""What the builders share: tensorflow-datasets' way of storing and reading, without TensorFlow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.data.sources import Example
from mtkd_jax.datasets.base import DataSet, Progress, quiet
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.finding import expanded
from mtkd_jax.datasets.storage.shards import write_split


class LocalInfo(tfds.core.DatasetInfo):
    """The description of a data set that exists on this machine only."""

    def initialize_from_bucket(self) -> None:
        """Nothing: tensorflow-datasets would look for a published copy, and leave a temporary folder behind."""


@dataclass(eq=False, kw_only=True)
class StoredConfig(tfds.core.BuilderConfig):
    """Which variant of a data set it is: the fields of `config.data` that are its own, all of them."""

    name: str
    data: Mapping[str, Any]


class LocalBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder that prints nothing; its caller informs the user.

    Attributes:
        data_set: what is stored.
        progress: receives the progress.
        reader: the user's files, where it is made from some; needed to prepare, not to read.
    """

    data_set: ClassVar[DataSet]
    progress: Progress = staticmethod(quiet)
    reader: Any = None

    @classmethod
    def of(cls, data: Mapping[str, Any], folder: Path) -> 'LocalBuilder':
        """The builder of the variant that `data` (of a config) names, with prepared data in `folder`.

        Raises:
            UserError: there is no such variant.
            DataError: it is prepared, and its description is damaged.
        """
        cls.data_set.check(data)
        full = {field: data.get(field, default) for field, default in cls.data_set.defaults.items()}
        name = cls.config_name(full)
        try:
            return cls(data_dir=folder, config=StoredConfig(name=name, data=full))
        except Exception as error:  # tensorflow-datasets may raise anything for damaged files
            place = folder / cls.name / name / str(cls.VERSION)
            raise DataError(f'{place} is damaged ({error}); remove that folder and prepare it again.') from error

    @classmethod
    def config_name(cls, data: Mapping[str, Any]) -> str:
        """The folder of a variant; `data` has all fields."""
        raise NotImplementedError

    @property
    def data(self) -> Mapping[str, Any]:
        """The fields of `config.data` that are the data set's own."""
        config: Any = self.builder_config
        return config.data

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.data['height'], self.data['width']

    def decoder(self) -> Callable[[Example], Example] | None:
        """Stored arrays → example; None where an example is stored as it is."""
        return None

    def describe(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """The metadata of the examples, from those that are stored."""
        return metadata

    def check_space(self, folder: Path, kept: int) -> None:
        """Refuses to begin if the disk of `folder` is too small; `kept` examples are already there.

        Raises:
            DataError: there is too little free space.
        """

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
    """The targets every indoor data set has, in the stored conventions (papers.md E)."""
    return {
        'segmentation': stored(1, np.int8, height, width),
        'depth': stored(1, np.float32, height, width),
        'normals': stored(3, np.float32, height, width),
        'index': tfds.features.Tensor(shape=(), dtype=np.int32, encoding='bytes'),
    }


def root(data_dir: str | None) -> Path:
    """The folder prepared data lie in: `data_dir`, or tensorflow-datasets' own."""
    return expanded(data_dir or tfds.core.constants.DATA_DIR).absolute()


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds a data set that has been prepared whole; it gets its name last.

    Raises:
        DataError: the system does not say.
    """
    try:
        return (folder / 'dataset_info.json').is_file()
    except OSError as error:
        raise DataError(f'{folder} cannot be read ({error.strerror}); give another `data_dir`.') from error
