"""`svhn_omniglot`: SVHN and Omniglot of the Visual Decathlon, made from the user's files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow_datasets as tfds

from mtkd_jax.data.builders.labelled import Labelled, LabelledBuilder
from mtkd_jax.data.decathlon import DATASETS, Decathlon

SIZE = (64, 64)  # the papers give none; the challenge's images are 72 pixels on their shorter side


@dataclass(eq=False, kw_only=True)
class SvhnOmniglotConfig(tfds.core.BuilderConfig):
    """`height` and `width` in pixels; `partial`: whether the archives may have less than the official images."""

    name: str = ''
    height: int = SIZE[0]
    width: int = SIZE[1]
    partial: bool = False

    def __post_init__(self) -> None:
        self.name = f'{self.height}x{self.width}' + ('_partial' if self.partial else '')

    @property
    def flags(self) -> str:
        """What `prepare` makes it with."""
        size = '' if (self.height, self.width) == SIZE else f' --size={self.height}x{self.width}'
        return f'--source=DIR{size}' + (' --partial' if self.partial else '')


class SvhnOmniglot(LabelledBuilder):
    """SVHN (Netzer et al. 2011) and Omniglot (Lake et al. 2015) as in the Visual Decathlon (Rebuffi et al. 2017).

    Split `test` is the challenge's validation split. `reader` is needed to prepare, not to read.
    """

    name = 'svhn_omniglot'
    VERSION = tfds.core.Version('1.0.0')
    tasks = DATASETS
    reader: Decathlon

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
