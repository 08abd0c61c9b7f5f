"""What tells runs of one name apart: the settings in which they differ, in words."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from flax.traverse_util import flatten_dict

Settings = Mapping[str, Any]
"""The settings of a stage by dotted names, but its seed."""
ABSENT = object()
MADE = 'data.made.'  # how data were prepared


def settings_of(stage: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a stage; of results without, what they say of backbone, epochs and data set."""
    said = {'backbone': stage.get('backbone'), 'epochs': stage.get('epochs'), 'data.dataset': stage.get('dataset')}
    found = said | flatten_dict(stage.get('settings') or {}, sep='.')
    return {name: value for name, value in found.items() if name != 'seed'}


def labels(every: Sequence[Settings]) -> list[str]:
    """For each of several settings, those that differ: `points mid+last, weights.depth 2`; '' where it has none.

    What follows from another difference is left out: settings of another optimiser or data set, weights of a task that
    only one has, how data were made that are other data anyway.
    """
    names = [name for name in dict.fromkeys(name for of in every for name in of) if _differs(name, every)]
    short = [_short(name) for name in names]
    said = {name: s if short.count(s) == 1 else name for name, s in zip(names, short, strict=True)}
    return [', '.join(f'{said[name]} {_words(of[name])}' for name in names if name in of) for of in every]


def _differs(name: str, every: Sequence[Settings]) -> bool:
    return any(
        a.get(name, ABSENT) != b.get(name, ABSENT) for a, b in combinations(every, 2) if not _follows(name, a, b)
    )


def _follows(name: str, a: Settings, b: Settings) -> bool:
    """Whether a difference of `a` and `b` in `name` follows from another one, which is said."""
    owner, tasks = _owner(name), (a.get('tasks') or [], b.get('tasks') or [])
    if name.startswith(MADE):
        names = {n for n in {*a, *b} if n.startswith('data.') and not n.startswith(MADE)}
        return any(a.get(n, ABSENT) != b.get(n, ABSENT) for n in names)
    of_one = name.rpartition('.')[2] in {*tasks[0]} ^ {*tasks[1]}
    return of_one or (owner != name and a.get(owner) != b.get(owner))


def _owner(name: str) -> str:
    """What a setting is one of: `optimizer` of `optimizer_settings.b1`; the setting itself where that is all."""
    first, dot, _ = name.partition('.')
    return 'data.dataset' if dot and first == 'data' else first.removesuffix('_settings') if dot else name


def _short(name: str) -> str:
    first, _, rest = name.partition('.')
    return rest if first.endswith('_settings') and rest else name


def _words(value: Any) -> str:
    if isinstance(value, list):
        return '+'.join(map(_words, value))
    if isinstance(value, float) and float(f'{value:g}') == value:
        return f'{value:g}'
    return str(value)
