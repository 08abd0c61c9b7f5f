"""What `glyphs` and `svhn_omniglot` share: images that carry one task's label each, a pool per task."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.datasets.storage import builder as base

Labelled = tuple[np.ndarray, int, int]
"""Image uint8 [height width 3], class id, and the number that is kept as `index`."""


class LabelledBuilder(base.LocalBuilder):
    """Writes the pools of a split one after the other; `metadata['parts']` says how large each is.

    A builder says which `tasks` there are, describes itself (`about`), names the classes (`class_names`), and gives the
    images of a pool (`examples`) and their number (`count`).
    """

    tasks: ClassVar[tuple[str, ...]]

    def about(self) -> dict[str, Any]:
        """How the data is made: `source`, `resampling`, `seed`, ..."""
        raise NotImplementedError

    def class_names(self, task: str) -> Sequence[str]:
        """Names of the classes of `task`, in the order of their ids."""
        raise NotImplementedError

    def count(self, split: str, task: str) -> int:
        """Images in a pool."""
        raise NotImplementedError

    def examples(self, split: str, task: str) -> Iterator[Labelled]:
        """The images of a pool."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.size
        label = tfds.features.Tensor(shape=(1, 1, 1), dtype=np.int16, encoding='bytes')
        features = {
            'image': base.stored(3, np.uint8, *size),
            'index': tfds.features.Tensor(shape=(), dtype=np.int32, encoding='bytes'),
            **dict.fromkeys(self.tasks, label),
        }
        return base.LocalInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict({'size': size, 'splits': {}, 'parts': {}}),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        classes = {task: list(self.class_names(task)) for task in self.tasks}
        self.info.metadata.update(self.about(), classes=classes)
        return {split: self._generate_examples(split) for split in ('train', 'test')}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        counts = {task: self.count(split, task) for task in self.tasks}
        total, done = sum(counts.values()), 0
        per_class = {task: np.zeros(len(self.class_names(task)), np.int64) for task in self.tasks}
        brightness = 0.0
        self.progress(split, 0, total)
        for task in self.tasks:
            for image, label, index in self.examples(split, task):
                labels = {t: np.full((1, 1, 1), label if t == task else -1, np.int16) for t in self.tasks}
                per_class[task][label] += 1
                brightness += float(image.mean()) / 255
                yield done, {'image': image, 'index': np.array(index, np.int32), **labels}
                done += 1
                self.progress(split, done, total)
        self.info.metadata['parts'][split] = counts
        self.info.metadata['splits'][split] = {
            'examples': done,
            'mean_brightness': brightness / max(done, 1),
            'images_per_class': {task: [int(n.min()), int(n.max())] for task, n in per_class.items()},
        }
