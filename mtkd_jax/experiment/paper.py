"""Which row of a paper's table stands beside a stage: one whose own recipe would record the same settings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from mtkd_jax import configs
from mtkd_jax.configs.base import PaperRow
from mtkd_jax.experiment.plans import plans
from mtkd_jax.experiment.settings import stage_settings
from mtkd_jax.methods.plan import Plan

# What does not decide the outcome, or what no paper gives.
NOT_COMPARED = ('seed', 'data.made')


class Candidate(NamedTuple):
    """A paper's row, and the settings that its recipe would record for the stage (flat)."""

    row: PaperRow
    settings: Mapping[str, Any]


def paper_rows(config: ConfigDict, plan: Plan) -> list[dict[str, str]]:
    """Where papers' rows for what this stage trains are; none where anything that decides its outcome differs."""
    mine = _flat(stage_settings(config, plan, {}))
    candidates = _candidates(config.data.dataset, plan.kind, tuple(_names(plan)))
    return [candidate.row.place for candidate in candidates if not _differences(mine, candidate.settings)]


def difference_from_paper(config: ConfigDict, last: Plan) -> str:
    """A sentence on how the run's `last` stage differs from the paper's nearest row; '' where it does not, or where
    no paper has such a row."""
    mine = _flat(stage_settings(config, last, {}))
    candidates = _candidates(config.data.dataset, last.kind, tuple(_names(last)))
    differences = [(_differences(mine, candidate.settings), candidate.row) for candidate in candidates]
    if not differences or not all(found for found, _ in differences):
        return ''
    found, row = min(differences, key=lambda pair: len(pair[0]))
    listed = '; '.join(f'`{name}` {mine.get(name)} (paper: {value})' for name, value in found.items())
    return f'Not the protocol of {row.table}: {listed}.'


def _names(plan: Plan) -> Iterator[str]:
    return (task.name for task in plan.method.tasks)


@cache
def _candidates(dataset: str, kind: str, tasks: tuple[str, ...]) -> Sequence[Candidate]:
    """The rows of the papers on this data set, for a method and tasks."""
    return [c for c in _rows(dataset) if (c.settings['method'], c.settings['tasks']) == (kind, list(tasks))]


@cache
def _rows(dataset: str) -> Sequence[Candidate]:
    if dataset not in configs.NAMES:
        return ()
    module = configs.module(dataset)
    found = []
    rows: Sequence[PaperRow] = getattr(module, 'PAPERS', ())
    for row, recipe in ((each, recipe) for each in rows for recipe in each.recipes):
        config = module.get_config(recipe)
        for plan in plans(config):
            # A recipe's last stage is what the row is about; single-task stages are the rows of `method=stl`.
            if isinstance(plan, Plan) and (plan.kind == config.method):
                settings = _flat(stage_settings(config, plan, {}))
                found += [
                    Candidate(row, settings | {'selection': rule}) for rule in (config.selection, *row.selections)
                ]
    return found


def _differences(mine: Mapping[str, Any], paper: Mapping[str, Any]) -> dict[str, Any]:
    """Field → the paper's value, where the two differ."""
    every = sorted({*mine, *paper})
    return {name: paper.get(name) for name in every if mine.get(name) != paper.get(name)}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    # As JSON, so that tuples and lists are alike.
    found = flatten_dict(json.loads(json.dumps(settings)), sep='.')
    return {name: value for name, value in found.items() if not name.startswith(NOT_COMPARED)}
