"""Choosing settings as the papers did: candidates are tried on a part held out of the training set, which is then given
back (papers.md A3)."""

import copy
import dataclasses
import itertools
import math
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from mtkd_jax import methods, models
from mtkd_jax.datasets import Progress
from mtkd_jax.experiment import balance
from mtkd_jax.experiment.plans import method_settings, run_of, tasks_of
from mtkd_jax.experiment.run import check_kind, check_place, train_stage
from mtkd_jax.experiment.stages import Experiment, Opened, of_seed
from mtkd_jax.experiment.study import Study
from mtkd_jax.files import write_json
from mtkd_jax.reporting.delta import delta_m
from mtkd_jax.reporting.progress import SplitProgress
from mtkd_jax.reporting.rows import Row, load_stages, rows
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.lock import locked
from mtkd_jax.training.processes import check_alone
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import UserError
from mtkd_jax.weighting import registry
from mtkd_jax.weighting.variants import PAPER

FRACTION = 0.1  # of the training set that is held out (papers.md A3)
SEED = 10_000  # of the trials, so that no seed whose results are reported chose its own settings
FOLDER, FILE = 'search', 'search.json'

Trial = dict[str, float]
"""Field of a config → value."""


def space(config: ConfigDict) -> dict[str, Sequence[float]]:
    """The main setting of a config's method, or of its weighting, by field; {}: neither has one.

    Of `uniform` that is the factor of every task.
    """
    method = {f'method_settings.{name}': v for name, v in method_settings(config).space(run_of(config)).items()}
    if method or 'weighting' not in config:
        return method
    if config.weighting == 'uniform':
        return {f'task_weights.{task}': registry.TASK_WEIGHTS for task in config.tasks}
    if balance.variant_of(config) != PAPER:
        # Which has decided it.
        return {}
    return {f'weighting_settings.{name}': v for name, v in registry.SPACES.get(config.weighting, {}).items()}


def trials(config: ConfigDict, count: int) -> list[Trial]:
    """`count` different trials: the config's own values, then random ones of its space; all there are, where fewer.

    Raises:
        UserError: there is nothing to search, or `count` is below 2.
    """
    if count < 2:
        raise UserError(f'`search` is {count}; give at least 2 trials, of which the first is the config as it is.')
    found = space(config)
    if not found:
        name = balance.name_of(config)
        raise UserError(f'`search` is given, but {config.method} with {name} has no main setting; leave it out.')
    settings = {'weighting_settings': balance.settings(config)} if 'weighting' in config else {}
    flat = flatten_dict({**config.to_dict(), **settings}, sep='.')
    own = {name: float(flat[name]) for name in found}
    every = [dict(zip(found, values, strict=True)) for values in itertools.product(*found.values())]
    same = config.optimizer in ('adam', 'adamw') and not config.clip_norm
    _, *others = _different([own, *every], same)
    return [own, *random.Random(SEED).sample(others, min(count - 1, len(others)))]


def _different(every: Sequence[Trial], same: bool) -> list[Trial]:
    """Each once; where task weights that differ by a common factor are the `same`, as to Adam, of these the first."""
    first: dict[tuple[float, ...], Trial] = {}
    for trial in every:
        scale = fmean(trial.values()) if same and all(name.startswith('task_weights.') for name in trial) else 1.0
        first.setdefault(tuple(round(value / scale, 6) for value in trial.values()), trial)
    return list(first.values())


class Search:
    """Searches the main settings of several configs, in one study: equal single-task networks are trained once.

    All trials, and the single-task networks that they are compared with, train on what is not held out, with the
    config's budget and seed `SEED`. What is finished in `folder` is not trained again.

    Args:
        folder: keeps everything.
        configs: name → a config whose method or weighting has a main setting.
        count: trials of each.
        progress: is told of examples that are rendered first.
        opened: has the data.

    Raises:
        UserError: see `trials`; or a config has teachers that were trained before.
    """

    def __init__(
        self,
        folder: Path,
        configs: Mapping[str, ConfigDict],
        count: int,
        progress: Progress,
        opened: Opened | None = None,
    ) -> None:
        self._folder = folder
        self._trials = {name: trials(config, count) for name, config in configs.items()}
        every: dict[str, ConfigDict] = {}
        for name, config in configs.items():
            if any(config.method_settings.get('teachers', {}).values()):
                raise UserError(
                    '`search` is given with teachers that were trained before, perhaps on what the search holds out; '
                    'leave `method_settings.teachers` empty.'
                )
            every[f'{name}/single_task'] = held_out(single_task(config))
            every |= {f'{name}/trial{i}': held_out(config, trial) for i, trial in enumerate(self._trials[name])}
        self.study = Study(folder, every, progress, opened)

    def __call__(self, stop: StopRequest, programs: Programs) -> dict[str, Trial]:
        """Of every config the trial with the highest Δm on the held-out part; `search.json` lists trials and choices.

        Raises:
            UserError: no trial of a config came to its end.
            StoppedError: a stop was requested.
        """

        def train(one: Experiment, stage: Stage | GivenTeacher) -> None:
            train_stage(one, stage, stop, programs, f'search, {one.workdir.parent.name}, {one.workdir.name}, ')

        for error in self.study.train(train, stop):
            print(f'{error} This trial is passed over.', file=sys.stderr, flush=True)
        chosen, record = {}, {}
        for name, tried in self._trials.items():
            scores = self._scores(name)
            if all(score is None for score in scores):
                raise UserError(
                    f'No trial of {self._folder} ({name}) has a Δm: they, or their single-task networks, did not '
                    'come to their end; lower `learning_rate`.'
                )
            best = max(range(len(tried)), key=lambda i: -math.inf if scores[i] is None else scores[i])
            chosen[name] = tried[best]
            table = [{'fields': trial, 'delta_m': score} for trial, score in zip(tried, scores, strict=True)]
            record[name] = {'chosen': best, 'trials': table}
        with locked(self._folder, stop):
            write_json(self._folder / FILE, {'rule': rule(), 'searches': record})
        return chosen

    @property
    def counts(self) -> dict[str, int]:
        """Trials of every config."""
        return {name: len(tried) for name, tried in self._trials.items()}

    def _scores(self, name: str) -> list[Any]:
        """Δm of every trial's last stage; None of one that has not come to its end."""
        reference = rows(load_stages(self.study.runs[f'{name}/single_task'][0].workdir, ()))
        made = [self.study.runs[f'{name}/trial{i}'][0] for i in range(len(self._trials[name]))]
        return [_score(one, reference) for one in made]


def found(config: ConfigDict, workdir: Path, count: int, stop: StopRequest) -> Trial:
    """What a search of one config in `workdir/search` chooses; says so.

    Raises:
        UserError, StoppedError: see `Search`.
    """
    check_alone('a search')
    check_place(workdir)
    check_kind(workdir, bool(config.seeds))
    with SplitProgress() as rendering:
        search = Search(workdir / FOLDER, {config.method: config}, count, rendering)
    chosen = search(stop, Programs())[config.method]
    print(f'Chosen: {in_words(chosen)}.', flush=True)
    return chosen


def in_words(trial: Trial) -> str:
    """A trial's fields and values."""
    return ', '.join(f'`{field}` {value:g}' for field, value in trial.items()) or 'the config as it is'


def rule() -> str:
    """How a trial is chosen, in words."""
    return (
        f'Highest Δm (per task, mean over branches) on {FRACTION:.0%} of the training set, held out, after the last '
        f'epoch; seed {SEED}; of equal trials the first.'
    )


def with_fields(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """A copy with these fields set."""
    own = copy.deepcopy(config)
    own.update_from_flattened_dict(dict(fields))
    return own


def alone(config: ConfigDict) -> Trial:
    """Fields with which a method trains no network to compare itself with: a study has rows for these."""
    return {'method_settings.baseline': False} if 'baseline' in config.method_settings else {}


def single_task(config: ConfigDict) -> ConfigDict:
    """The same config for `method=stl`."""
    own = copy.deepcopy(config).unlock()
    for name in ('weighting', 'weighting_settings', 'task_weights'):
        if name in own:
            del own[name]
    own.method = 'stl'
    defaults = methods.named('stl').Settings.defaults(tasks_of(config), models.named(config.backbone))
    own.method_settings = ConfigDict(dataclasses.asdict(defaults))
    return own.lock()


def held_out(config: ConfigDict, trial: Mapping[str, float] | None = None) -> ConfigDict:
    """The config of a trial."""
    own = of_seed(with_fields(config, {**alone(config), **(trial or {})}), SEED)
    own.selection = 'held_out'
    own.evaluate_every_epochs = own.epochs
    own.stages_at_once = 1  # as in any study
    own.data.validation_fraction = FRACTION
    return own


def _score(one: Experiment, reference: Sequence[Row]) -> float | None:
    """Δm of the experiment's last stage; None where something has not come to its end, or is undefined."""
    name, known = one.stages[-1].name, {task.name: task for task in one.tasks}
    found = [row for row in rows(load_stages(one.workdir, known)) if row.name == name]
    single = {row.branch: row for row in reference if row.method == 'stl'}
    bases = [single.get('') or single.get(row.branch) for row in found]
    try:
        changes = [
            delta_m(row.results, base.results if base else {}, [known[task] for task in row.tasks])
            for row, base in zip(found, bases, strict=True)
        ]
    except UserError as error:
        print(f'{one.workdir}: no Δm, so it is not chosen. {error}', file=sys.stderr, flush=True)
        return None
    return fmean(change.mean_per_task for change in changes) if changes else None
