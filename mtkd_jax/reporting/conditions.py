"""Under which conditions numbers arose: only numbers of the same budget, seed and data can be compared."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flax.traverse_util import flatten_dict

Conditions = Mapping[str, Any]
ByTask = Mapping[str, Conditions]
"""The conditions of every task of a row; single-task networks that share a row may differ in theirs."""

SEED = 'seed'


def of_stage(stage: Mapping[str, Any]) -> Conditions:
    """What a stage's numbers depend on besides method, optimiser and network, as far as its results say.

    `epochs`, `batch_size`, `seed`, `selection`, and the fields of `data` by their dotted names. Of a given teacher,
    which was not trained here, only the data.
    """
    settings, rule = stage.get('settings') or {}, (stage.get('selection') or {}).get('rule')
    trained = {'epochs': stage.get('epochs'), 'batch_size': settings.get('batch_size'), SEED: stage.get(SEED)}
    known = {} if rule == 'given' else {**trained, 'selection': rule}
    data = flatten_dict({'data': {'dataset': stage.get('dataset'), **settings.get('data', {})}}, sep='.')
    return {name: value for name, value in {**known, **data}.items() if value is not None}


def differences(a: ByTask, b: ByTask, tasks: Iterable[str], ignored: Sequence[str] = ()) -> list[str]:
    """In what the rows `a` and `b` differ where both have one of `tasks`, in words: `epochs 1 and 3`."""
    found: dict[str, None] = {}
    for task in (task for task in tasks if task in a and task in b):
        first, second = a[task], b[task]
        for name in sorted({*first, *second} - set(ignored)):
            # A field that only one has is unknown in the other; but of data that both describe, it is a difference.
            described = name.startswith('data.') and min(_described(first), _described(second)) > 1
            if (described or (name in first and name in second)) and first.get(name) != second.get(name):
                found[f'{name} {first.get(name, "not set")} and {second.get(name, "not set")}'] = None
    return list(found)


def _described(conditions: Conditions) -> int:
    return sum(name.startswith('data.') for name in conditions)


def marks(rows: Sequence[ByTask], ignored: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """(a mark for every row, what the marks mean).

    A row that can be compared, task by task, with the first that has the task, has the mark ''; others ` [1]`, ` [2]`,
    ..., those of the same differences the same.
    """
    first: dict[str, Conditions] = {}
    for row in rows:
        first = {**row, **first}
    texts = ['; '.join(differences(row, first, row, ignored)) for row in rows]
    numbers = {text: i for i, text in enumerate(dict.fromkeys(filter(None, texts)), 1)}
    notes = [f'[{i}] Not to be compared with the rows above: {text}.' for text, i in numbers.items()]
    return [f' [{numbers[text]}]' if text else '' for text in texts], notes
