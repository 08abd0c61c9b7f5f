"""Rendered digits and characters: a stand-in for SVHN & Omniglot that needs no download (spec A4).

Digits stand before textured backgrounds with parts of other digits at their sides, as cropped house numbers do.
Characters of ten scripts are drawn dark on white, each time a little differently, as by other hands. Both come from the
DejaVu fonts that matplotlib ships, and depend on the numbers given and on nothing else.
"""

from mtkd_jax.data.glyphs.characters import CHARACTERS, render_character
from mtkd_jax.data.glyphs.digits import DIGITS, render_digit

__all__ = ['CHARACTERS', 'DIGITS', 'render_character', 'render_digit']
