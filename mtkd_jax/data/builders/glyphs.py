"""`glyphs`: rendered digits and characters, for machines without data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow_datasets as tfds

from mtkd_jax.data import glyphs
from mtkd_jax.data.builders.labelled import Labelled, LabelledBuilder
from mtkd_jax.types import UserError

VARIATIONS = 20  # of every character, as in Omniglot
TRAINING = 15  # of them: 3 to 1, as in the Visual Decathlon
SPLIT_INDICES = 1_000_000  # digits set aside for one split


@dataclass(eq=False, kw_only=True)
class GlyphsConfig(tfds.core.BuilderConfig):
    """Which glyphs: `height` and `width` in pixels, digits in `train` and `test`, classes of `characters`, `seed`."""

    name: str = ''
    height: int = 32
    width: int = 32
    train: int = 4000
    test: int = 1000
    characters: int = len(glyphs.CHARACTERS)
    seed: int = 0

    def __post_init__(self) -> None:
        most = SPLIT_INDICES
        limits = {
            'height': (16, 512),
            'width': (16, 512),
            'train': (10, most),
            'test': (10, most),
            'characters': (2, len(glyphs.CHARACTERS)),
            'seed': (0, 2**31 - 1),
        }
        for field, (least, most) in limits.items():
            value = getattr(self, field)
            if not least <= value <= most:
                raise UserError(f'`{field}` of glyphs is {value}; give a number from {least} to {most}.')
        digits = f'{self.train}+{self.test}digits'
        self.name = f'{self.height}x{self.width}_seed{self.seed}_{digits}_{self.characters}characters'

    @property
    def flags(self) -> str:
        """What `prepare` makes it with."""
        size = f'--size={self.height}x{self.width} --train={self.train} --test={self.test}'
        return f'{size} --characters={self.characters} --seed={self.seed}'


class Glyphs(LabelledBuilder):
    """Rendered digits before textures and characters of ten scripts (`mtkd_jax.data.glyphs`)."""

    name = 'glyphs'
    VERSION = tfds.core.Version('1.0.0')
    tasks = ('digits', 'characters')

    def about(self) -> dict[str, Any]:
        """See `LabelledBuilder.about`."""
        return {'source': 'rendered', 'resampling': 'none', 'seed': self.builder_config.seed}

    def class_names(self, task: str) -> Sequence[str]:
        """See `LabelledBuilder.class_names`."""
        return glyphs.DIGITS if task == 'digits' else glyphs.CHARACTERS[: self.builder_config.characters]

    def count(self, split: str, task: str) -> int:
        """See `LabelledBuilder.count`."""
        config: GlyphsConfig = self.builder_config
        if task == 'digits':
            return config.train if split == 'train' else config.test
        return config.characters * (TRAINING if split == 'train' else VARIATIONS - TRAINING)

    def examples(self, split: str, task: str) -> Iterator[Labelled]:
        """See `LabelledBuilder.examples`; a digit's index tells what is drawn, a character's which variation."""
        config: GlyphsConfig = self.builder_config
        size = config.height, config.width
        if task == 'digits':
            first = 0 if split == 'train' else SPLIT_INDICES
            for i in range(first, first + self.count(split, task)):
                yield glyphs.render_digit(config.seed, i, *size), i % len(glyphs.DIGITS), i
            return
        variations = range(TRAINING) if split == 'train' else range(TRAINING, VARIATIONS)
        for label in range(config.characters):
            for variation in variations:
                yield glyphs.render_character(config.seed, label, variation, *size), label, variation
