"""The networks of workdirs as the columns of a picture."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtkd_jax.experiment.models import Opened, open_model
from mtkd_jax.records import MODEL
from mtkd_jax.reporting.rows import SINGLE, stages_by_folder
from mtkd_jax.types import ENSEMBLE, MAIN, STUDENT, TEACHER, UserError

# Fields of `data` in which networks on one split may differ.
OTHER = ('augment', 'validation_fraction', 'depth_maximum')
FIRST = (MAIN, TEACHER, STUDENT)  # the order of branches


class Place(NamedTuple):
    """Where a stage's network is: `run`: what its workdir is called, '' where there is one only; `elsewhere`: it was
    given, not trained in the workdir, perhaps on other data."""

    run: str
    stage: str
    method: str
    model: Path
    elsewhere: bool = False

    @property
    def name(self) -> str:
        """The stage; all single-task networks of a workdir are one."""
        return SINGLE if self.method == 'stl' else self.stage

    @property
    def title(self) -> str:
        """What its columns are called, in lines."""
        return '\n'.join(filter(None, (self.run, self.name)))


class Network(NamedTuple):
    """A column: its name, its branch, and by task the model folder that predicts it."""

    title: str
    branch: str
    models: Mapping[str, Path]


class Columns(NamedTuple):
    """What is shown, in order, and which networks are not, with the reason."""

    networks: Sequence[Network]
    left_out: Mapping[str, str]


def places(workdir: Path, tasks: Iterable[str], given: Mapping[str, Path], run: str = '') -> list[Place]:
    """The networks of all finished stages: single-task stages first, then by name.

    `given`: stage → the model folder of a teacher that was not trained here; `run`: see `Place`.
    """
    found = []
    for folder, stage in stages_by_folder(workdir, tasks).items():
        model = given.get(stage['stage'], folder / MODEL)
        found.append(Place(run, stage['stage'], stage['method'], model, stage['stage'] in given))
    return found


def columns(found: Sequence[Place], data: Mapping[str, Any], modules: bool | Collection[str]) -> Columns:
    """The networks at these places, a column for every branch that can be deployed.

    A network that cannot be opened, or was made for other data than `data` (that of a model folder), is left out.
    `modules`: see `open_model`.
    """
    single: dict[str, dict[str, Path]] = {}
    networks: list[Network] = []
    left_out: dict[str, str] = {}
    for place in found:
        opened, reason = _opened(place, data, modules)
        if opened is None:
            left_out[f'{place.run} {place.stage}'.strip()] = reason
            continue
        by_task = {task.name: place.model for task in opened.tasks}
        if place.method == 'stl':
            if place.title not in single:
                single[place.title] = {}
                networks.append(Network(place.title, '', single[place.title]))
            single[place.title] |= by_task
        else:
            networks += [Network(_title(place.title, b), b, by_task) for b in branches(opened)]
    return Columns(networks, left_out)


def _opened(place: Place, data: Mapping[str, Any], modules: bool | Collection[str]) -> tuple[Opened | None, str]:
    """The network at a place, or None and why it cannot be shown."""
    if not (place.model / 'model.json').is_file():
        return None, 'its model is not in the workdir'
    try:
        opened = open_model(place.model, allow_modules=modules)
    except UserError as error:
        return None, str(error)
    same = place.elsewhere or _same(opened.spec['data']) == _same(data)
    return (opened, '') if same else (None, 'other data')


def _same(data: Mapping[str, Any]) -> dict[str, Any]:
    # As a file has it: lists in place of tuples.
    return json.loads(json.dumps({name: value for name, value in data.items() if name not in OTHER}))


def _title(title: str, branch: str) -> str:
    return title if branch == MAIN else f'{title}\n{branch}'


def branches(opened: Opened) -> list[str]:
    """The branches of a network that can be deployed, teacher before student: not the mean of the two."""
    found = [branch for branch in getattr(opened.network, 'branches', (MAIN,)) if branch != ENSEMBLE]
    return sorted(found, key=lambda branch: FIRST.index(branch) if branch in FIRST else len(FIRST))
