"""Tables as studies: which recipes the rows of the papers' tables are, and tables of rows of one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtkd_jax import configs, datasets
from mtkd_jax.configs.base import PaperRow
from mtkd_jax.experiment import balance
from mtkd_jax.experiment.search import alone, space, with_fields
from mtkd_jax.names import choice
from mtkd_jax.recipe import CHOICES
from mtkd_jax.reporting.tables import paper_rows, paper_tables
from mtkd_jax.types import UserError

NAMED_TASKS = {'svhn': 'digits', 'omniglot': 'characters'}
"""Tasks that another data set calls differently."""


OWN = 'rows of your own'
# Fields that rows of one's own have in common where they are of one backbone.
SHARED = ('tasks', 'backbone_settings', 'optimizer', 'optimizer_settings', 'schedule', 'schedule_settings')


@dataclass(frozen=True)
class Entry:
    """A row of a table.

    Attributes:
        label: what the table calls it.
        place: where it is in the paper's table; of a row of one's own its `method` and `backbone` alone.
        recipes: whose stages give it.
        searched: whether a search, where there is one, chooses its main setting.
    """

    label: str
    place: Mapping[str, str]
    recipes: tuple[str, ...]
    searched: bool = True

    @property
    def baseline(self) -> bool:
        """Whether it is plain multi-task learning, which the others are compared with."""
        return self.place['method'] in (balance.UNIFORM, 'vanilla')


@dataclass(frozen=True)
class Part:
    """The rows of a table that are about one data set: its own config, the config they are run with, the rows.

    `table`: the file of a paper's table, or `OWN`.
    """

    table: str
    own: str
    dataset: str
    entries: Sequence[Entry]

    @property
    def name(self) -> str:
        """What the data set is called; of a config in a file the file's name."""
        return Path(self.dataset).stem


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


def own_rows(recipes: Sequence[str], dataset: str) -> list[Part]:
    """A table of these recipes on `dataset`, the name or file of a config.

    A row is called by the parts of its recipe that not all have.

    Raises:
        UserError: there is no such data set, a recipe does not fit, or rows of one backbone cannot be compared.
    """
    if not Path(dataset).is_file():
        choice('dataset', dataset, configs.NAMES)
    made, parts = [], {recipe: recipe.split(',') for recipe in recipes}
    alike: dict[str, dict[str, Any]] = {}
    bases: dict[tuple[str, str], str] = {}
    for recipe, own in parts.items():
        config = configs.load(f'{dataset}:{recipe}')
        given = config.to_dict()
        fields = {name: given[name] for name in SHARED}
        first = alike.setdefault(config.backbone, fields)
        differ = [name for name in SHARED if fields[name] != first[name]]
        if differ:
            raise UserError(
                f'--row={recipe} has another `{differ[0]}` than the rows before on {config.backbone}, so Δm and '
                'differences would be of two things at once; give all the same, or compare runs with '
                '`python -m mtkd_jax.compare`.'
            )
        method = config.method if config.method != 'mtl' else balance.name_of(config)
        base = (config.backbone, method)
        if method in ('stl', balance.UNIFORM) and bases.setdefault(base, recipe) != recipe:
            raise UserError(f'--row={recipe} and --row={bases[base]} are both {method} on {base[0]}; leave one out.')
        told = [part for part in own if not all(part in others for others in parts.values())] or own
        label = ','.join(told).removeprefix('method=')
        made.append(Entry(label, {'method': method, 'backbone': config.backbone}, (recipe,)))
    lacking = [name for name in alike if (name, 'stl') not in bases]
    if lacking:
        raise UserError(f'No row has single-task networks of {lacking[0]}, for Δm; add --row=method=stl,...')
    return [Part(OWN, dataset, dataset, made)]


def beside_defaults(part: Part, fields: Mapping[str, Any]) -> Part:
    """The same with two rows for every one that a search can choose something for: as it is, and searched."""
    made: list[Entry] = []
    for entry in part.entries:
        if any(space(config_of(part.dataset, recipe, fields, (0,))) for recipe in entry.recipes):
            made += [replace(entry, searched=False), replace(entry, label=f'{entry.label} searched')]
        else:
            made.append(entry)
    return replace(part, entries=made)


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
    offered = datasets.named(configs.load(dataset).data.dataset).task_names
    lacking = [task for task in tasks if task not in offered]
    if lacking:
        fitting = [name for name in sorted(datasets.NAMES) if set(tasks) <= set(datasets.named(name).task_names)]
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
        return with_fields(config, {**alone(config), **fields, 'seeds': tuple(seeds)})
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f'`field` does not fit {dataset}:{recipe}: {" ".join(str(error).split())}') from error
