"""How `glyphs` are stored, and rendered."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from mtkd_jax.datasets.base import Preparation, Prepared
from mtkd_jax.datasets.glyphs import DATA_SET, SPLIT_INDICES, TASKS
from mtkd_jax.datasets.glyphs.characters import render_character
from mtkd_jax.datasets.glyphs.classes import CHARACTERS, DIGITS
from mtkd_jax.datasets.glyphs.digits import render_digit
from mtkd_jax.datasets.storage import opening, writing
from mtkd_jax.datasets.storage.labelled import Labelled, LabelledBuilder

VARIATIONS = 20  # of every character, as in Omniglot
TRAINING = 15  # of them: 3 to 1, as in the Visual Decathlon


class Glyphs(LabelledBuilder):
    """Rendered digits before textures and characters of ten scripts (`mtkd_jax.datasets.glyphs`)."""

    name = 'glyphs'
    VERSION = tfds.core.Version('1.0.0')
    data_set = DATA_SET
    tasks = TASKS

    @classmethod
    def config_name(cls, data: Mapping[str, Any]) -> str:
        """See `LocalBuilder.config_name`."""
        digits = f'{data["digits_train"]}+{data["digits_test"]}digits'
        which = f'{data["height"]}x{data["width"]}_seed{data["glyph_seed"]}'
        return f'{which}_{digits}_{data["classes"]["characters"]}characters'

    def about(self) -> dict[str, Any]:
        """See `LabelledBuilder.about`."""
        return {'source': 'rendered', 'resampling': 'none', 'seed': self.data['glyph_seed']}

    def class_names(self, task: str) -> Sequence[str]:
        """See `LabelledBuilder.class_names`."""
        return DIGITS if task == 'digits' else CHARACTERS[: self.data['classes']['characters']]

    def count(self, split: str, task: str) -> int:
        """See `LabelledBuilder.count`."""
        if task == 'digits':
            return self.data[f'digits_{split}']
        return self.data['classes']['characters'] * (TRAINING if split == 'train' else VARIATIONS - TRAINING)

    def examples(self, split: str, task: str) -> Iterator[Labelled]:
        """See `LabelledBuilder.examples`; the index determines the drawing of a digit, the variation of a character."""
        seed, size = self.data['glyph_seed'], self.size
        if task == 'digits':
            first = 0 if split == 'train' else SPLIT_INDICES
            for i in range(first, first + self.count(split, task)):
                yield render_digit(seed, i, *size), i % len(DIGITS), i
            return
        variations = range(TRAINING) if split == 'train' else range(TRAINING, VARIATIONS)
        for label in range(self.data['classes']['characters']):
            for variation in variations:
                yield render_character(seed, label, variation, *size), label, variation


def opened(data: Mapping[str, Any], data_dir: str | None) -> Prepared:
    """See `DataSet.open`."""
    return opening.opened(Glyphs, data, data_dir)


def prepared(data: Mapping[str, Any], how: Preparation) -> Prepared:
    """See `DataSet.prepare`.

    Raises:
        UserError: a number is out of range.
    """
    return writing.prepared(Glyphs, data, how)
