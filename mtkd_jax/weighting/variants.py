"""Weightings in two forms: that of their own paper, and that of the code behind KD-MTL's tables (papers.md B7)."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax.weighting.base import check_choice

PAPER, KD4MTL = 'paper', 'kd4mtl'

VARIANTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    'mgda': {
        PAPER: {'normalisation': 'none', 'solver': 'frank_wolfe', 'gramian_of': 'parameters'},
        # Their solver goes on until it moves by less than 1e-5.
        KD4MTL: {'normalisation': 'none', 'solver': 'exact', 'gramian_of': 'features'},
    },
    'gradnorm': {
        PAPER: {'alpha': 1.5, 'learning_rate': 0.025, 'gramian_of': 'parameters'},
        KD4MTL: {'alpha': 0.12, 'learning_rate': 1e-4, 'gramian_of': 'features'},
    },
    'dwa': {PAPER: {'temperature': 2.0}, KD4MTL: {'temperature': 1.0}},
}
"""Weighting → variant → the settings that it decides: defaults of the paper's form, fixed in the other one."""


def settled(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings `given` of the weighting `name`, where None says: what the variant has.

    `given` names a `variant` where the weighting has several; settings that no variant decides stay as they are.

    Raises:
        ValueError: there is no such variant, or a setting contradicts it.
    """
    if name not in VARIANTS:
        return dict(given)
    variant = given['variant']
    check_choice('variant', variant, tuple(VARIANTS[name]))
    decided = VARIANTS[name][variant]
    for key, value in decided.items():
        if variant != PAPER and given.get(key) not in (None, value):
            raise ValueError(
                f'`{key}` is {given[key]!r}, but `variant` is {variant!r}, which has {value!r}; leave one of them out.'
            )
    chosen = {
        key: float(value) if isinstance(decided.get(key), float) else value
        for key, value in given.items()
        if value is not None
    }
    return {**{key: value for key, value in decided.items() if key in given}, **chosen}
