"""The sections of a report; each is Markdown made from results."""

from mtkd_jax.reporting.sections.account import (
    cost,
    curves,
    machine,
    panels,
    picture,
    selection,
    settings,
    side_by_side,
    what_ran,
)
from mtkd_jax.reporting.sections.beside_paper import paper
from mtkd_jax.reporting.sections.ends import ends
from mtkd_jax.reporting.sections.numbers import constants, delta, further, legacy_in_words, results, verdict
from mtkd_jax.reporting.sections.over_seeds import seeds, seeds_cost, seeds_results
from mtkd_jax.reporting.sections.time import time

__all__ = [
    'constants',
    'cost',
    'curves',
    'delta',
    'ends',
    'further',
    'legacy_in_words',
    'machine',
    'panels',
    'paper',
    'picture',
    'results',
    'seeds',
    'seeds_cost',
    'seeds_results',
    'selection',
    'settings',
    'side_by_side',
    'time',
    'verdict',
    'what_ran',
]
