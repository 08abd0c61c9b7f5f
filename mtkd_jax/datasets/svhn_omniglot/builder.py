"""How `svhn_omniglot` is stored, and made from the user's files."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from mtkd_jax.datasets.base import Preparation, Prepared
from mtkd_jax.datasets.files.finding import expanded
from mtkd_jax.datasets.storage import opening, writing
from mtkd_jax.datasets.storage.labelled import Labelled, LabelledBuilder
from mtkd_jax.datasets.svhn_omniglot import DATA_SET, TASKS
from mtkd_jax.datasets.svhn_omniglot.decathlon import Decathlon


class SvhnOmniglot(LabelledBuilder):
    """SVHN (Netzer et al. 2011) and Omniglot (Lake et al. 2015) as in the Visual Decathlon (Rebuffi et al. 2017).

    Split `test` is the challenge's validation split. `reader` is needed to prepare, not to read.
    """

    name = 'svhn_omniglot'
    VERSION = tfds.core.Version('1.0.0')
    data_set = DATA_SET
    tasks = TASKS
    reader: Decathlon

    @classmethod
    def config_name(cls, data: Mapping[str, Any]) -> str:
        """See `LocalBuilder.config_name`."""
        return f'{data["height"]}x{data["width"]}' + ('_partial' if data['partial'] else '')

    def about(self) -> dict[str, Any]:
        """See `LabelledBuilder.about`."""
        return {
            'source': 'visual Decathlon',
            'resampling': 'box, to the given size',
            'test_split': "the challenge's validation images; the labels of its test images are not public",
            'notes': self.reader.notes,
        }

    def class_names(self, task: str) -> Sequence[str]:
        """See `LabelledBuilder.class_names`."""
        return self.reader.annotations[task]['train'].classes

    def count(self, split: str, task: str) -> int:
        """See `LabelledBuilder.count`."""
        return len(self.reader.annotations[task][split].labels)

    def examples(self, split: str, task: str) -> Iterator[Labelled]:
        """See `LabelledBuilder.examples`."""
        return self.reader.images(task, split)


def opened(data: Mapping[str, Any], data_dir: str | None) -> Prepared:
    """See `DataSet.open`."""
    return opening.opened(SvhnOmniglot, data, data_dir)


def prepared(data: Mapping[str, Any], how: Preparation) -> Prepared:
    """See `DataSet.prepare`; images are resized to height and width.

    Raises:
        DataError: a file is not what it should be, or, unless `partial`, there is less than the official data.
    """
    full = {**DATA_SET.defaults, **data}
    reader = Decathlon(expanded(how.source), (full['height'], full['width']), full['partial'])
    return writing.prepared(SvhnOmniglot, data, how, reader)
