"""The tables of the papers as studies: which recipes their rows are, on their data set or on another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from mtkd_jax import configs, datasets
from mtkd_jax.configs.base import PaperRow
from mtkd_jax.experiment.search import with_fields
from mtkd_jax.recipe import CHOICES
from mtkd_jax.reporting.tables import paper_rows, paper_tables
from mtkd_jax.types import UserError

NAMED_TASKS = {'svhn': 'digits', 'omniglot': 'characters'}
"""Tasks that another data set calls differently."""


@dataclass(frozen=True)
class Entry:
    """A row of a paper's table: what the table calls it, where it is, and the recipes whose stages give it."""

    label: str
    place: Mapping[str, str]
    recipes: tuple[str, ...]

    @property
    def baseline(self) -> bool:
        """Whether it is plain multi-task learning, which the others are compared with."""
        return self.place['method'] in ('uniform', 'vanilla')


@dataclass(frozen=True)
class Part:
    """The rows of a table that are about one data set: its own config, the config they are run with, the rows."""

    table: str
    own: str
    dataset: str
    entries: Sequence[Entry]


def choose(name: str, dataset: str) -> list[Part]:
    """The rows of the table `kdmtl/2` or another, on `dataset`; where that is '', on every data set of the table.

    Raises:
        UserError: there is no such table or data set, or that lacks the tasks of the table.
    """
    table = table_named(name)
    own = [config for config in configs.NAMES if any(row.table == table for row in _rows(config))]
    if dataset in ('', *own):
        return [Part(table, name, name, entries(table, name, name)) for name in own if dataset in ('', name)]
    if dataset not in configs.NAMES:
        raise UserError(f'`dataset` is {dataset!r}; choose one of {", ".join(configs.NAMES)}.')
    # Of two data sets, the first one's rows: the other's are the same methods.
    return [Part(table, own[0], dataset, entries(table, own[0], dataset))]


def table_named(name: str) -> str:
    """The file of a table from `kdmtl/2`.

    Raises:
        UserError: there is no such table.
    """
    paper, _, number = name.partition('/')
    found = [table for table in paper_tables() if table.startswith(f'{paper}_table{number}_')]
    if len(found) != 1:
        have = ', '.join('/'.join(table.split('_')[:2]).replace('table', '') for table in paper_tables())
        raise UserError(f'`table` is {name!r}; choose one of {have}.')
    return found[0]


def entries(table: str, own: str, dataset: str) -> list[Entry]:
    """The rows of `table` for its data set `own`, in the order of the table, with recipes for the config `dataset`.

    Raises:
        UserError: `dataset` lacks the tasks of the table.
    """
    found: dict[tuple[str, ...], list[PaperRow]] = {}
    for row in _rows(own):
        if row.table == table:
            found.setdefault((row.backbone, row.method, row.layers), []).append(row)
    order = [
        tuple(row.get(name) or '' for name in ('backbone', 'method', 'distilled_layers')) for row in paper_rows(table)
    ]
    return [
        Entry(
            ' '.join(filter(None, key)),
            same[0].place,
            tuple(dict.fromkeys(_recipe(row.recipe, own, dataset) for row in same)),
        )
        for key, same in sorted(found.items(), key=lambda item: order.index(item[0]))
    ]


def _rows(name: str) -> Sequence[PaperRow]:
    return getattr(configs.module(name), 'PAPERS', ())


def _recipe(recipe: str, own: str, dataset: str) -> str:
    """The recipe for another data set: with the tasks of its own one."""
    if dataset == own or 'tasks=' in recipe:
        return recipe
    tasks = [NAMED_TASKS.get(task, task) for task in datasets.named(own).task_names]
    lacking = [task for task in tasks if task not in datasets.named(dataset).task_names]
    if lacking:
        fitting = [name for name in configs.NAMES if set(tasks) <= set(datasets.named(name).task_names)]
        raise UserError(
            f'`dataset` is {dataset!r}, which has no {lacking[0]}, but the table has it; choose one of '
            f'{", ".join([own, *(name for name in fitting if name != own)])}.'
        )
    return f'{recipe},tasks={"+".join(tasks)}'


def config_of(dataset: str, recipe: str, fields: Mapping[str, Any], seeds: Sequence[int]) -> ConfigDict:
    """The config of one recipe with these fields and seeds.

    Raises:
        UserError: a recipe or a field does not fit.
    """
    for name in (name for name in fields if name in (*CHOICES, 'seed', 'seeds', 'data.dataset')):
        raise UserError(f'--field={name}=...: the table, --dataset and --seeds choose that; leave it out.')
    if fields.get('selection') == 'held_out':
        raise UserError('--field=selection=held_out: a table is of the test split; --search holds a part out.')
    config = configs.load(f'{dataset}:{recipe}')
    try:
        return with_fields(config, {**fields, 'seeds': tuple(seeds)})
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f'`field` does not fit {dataset}:{recipe}: {" ".join(str(error).split())}') from error
