"""Rendered digits and characters: a stand-in for SVHN & Omniglot that needs no download (papers.md A4).

Digits stand before textured backgrounds with parts of other digits at their sides, as cropped house numbers do.
Characters of ten scripts are drawn dark on white, each time a little differently, as by other hands. Both come from the
DejaVu fonts that matplotlib ships, and depend on the numbers given and on nothing else.
"""

from collections.abc import Mapping
from typing import Any

from mtkd_jax.datasets import base
from mtkd_jax.datasets.flags import Flag
from mtkd_jax.datasets.glyphs.classes import CHARACTERS, DIGITS
from mtkd_jax.errors import UserError

TASKS = ('digits', 'characters')
DEFAULTS: dict[str, Any] = {
    'height': 32,
    'width': 32,
    'digits_train': 4000,
    'digits_test': 1000,
    'glyph_seed': 0,
    'classes': {'digits': len(DIGITS), 'characters': len(CHARACTERS)},
}
SPLIT_INDICES = 1_000_000  # digits set aside for one split
LIMITS = {
    **dict.fromkeys(('height', 'width'), (16, 512)),
    **dict.fromkeys(('digits_train', 'digits_test'), (10, SPLIT_INDICES)),
    'glyph_seed': (0, 2**31 - 1),
}


def _check(data: Mapping[str, Any]) -> None:
    base.check_ranges('glyphs', data, LIMITS)
    classes = data.get('classes', DEFAULTS['classes'])
    base.check_ranges('glyphs', classes, {'characters': (2, len(CHARACTERS))})
    if classes['digits'] != len(DIGITS):
        raise UserError(f'`data.classes.digits` is {classes["digits"]}; there are {len(DIGITS)}.')


DATA_SET = base.DataSet(
    name='glyphs',
    about='Rendered digits and characters of the DejaVu fonts, no photographs and no handwriting: nothing is '
    'known of a network on real images that learnt from them alone.',
    defaults=DEFAULTS,
    task_names=TASKS,
    check=_check,
    flags=(
        Flag('train', 'digits_train', 'Training digits'),
        Flag('test', 'digits_test', 'Test digits'),
        Flag('characters', 'classes.characters', 'Classes of characters'),
        Flag('seed', 'glyph_seed', 'Seed; other seeds draw other digits and variations'),
    ),
    per_image=True,
    **base.rendered(__name__),
)
