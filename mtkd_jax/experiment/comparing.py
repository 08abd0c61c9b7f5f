"""Pictures of several networks side by side, on test images that a rule chooses: see docs/metrics.md."""

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.stats import rankdata

from mtkd_jax import datasets, models
from mtkd_jax.data.pipeline import Split
from mtkd_jax.experiment.columns import Columns, Network, Place, columns, places
from mtkd_jax.experiment.models import open_model
from mtkd_jax.inference import make_predictor
from mtkd_jax.names import choice, natural
from mtkd_jax.records import COMPARED, seed_folders
from mtkd_jax.reporting.side_by_side import Given, side_by_side
from mtkd_jax.tasks import Task
from mtkd_jax.training.evaluate import statistics
from mtkd_jax.training.programs import Compile, Program, Programs
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import MAIN, UserError

BATCH_SIZE = 8


class Choice(NamedTuple):
    """An image: what it was chosen as, and its number among those that were read."""

    label: str
    number: int


def chosen(losses: Mapping[str, np.ndarray], labelled: Mapping[str, np.ndarray]) -> dict[str, list[Choice]]:
    """By task the images to show: those whose mean rank is the lowest, the median and the highest.

    An image has a rank in every task, by its loss [n] (1 is the lowest; equal ones share a mean rank; NaN is the
    highest), and their mean over the tasks decides; of equal means the image that comes first. Only images that are
    `labelled` [n] for all tasks count. Where there are none, images are chosen for every task alone, by its loss. Of an
    even number the lower of the two in the middle is the median. {} for a task without any labelled image.
    """
    together = np.logical_and.reduce(list(labelled.values()))
    groups = [list(losses)] if together.any() else [[task] for task in losses]
    found: dict[str, list[Choice]] = {}
    for group in groups:
        numbers = np.flatnonzero(np.logical_and.reduce([labelled[task] for task in group]))
        ranks = [rankdata(np.nan_to_num(losses[task][numbers], nan=np.inf)) for task in group]
        order = numbers[np.argsort(np.mean(ranks, axis=0), kind='stable')]
        if order.size:
            found |= dict.fromkeys(group, _picked(order))
    return found


def _picked(order: np.ndarray) -> list[Choice]:
    places_of = {'best': 0, 'median': (len(order) - 1) // 2, 'worst': len(order) - 1}
    labels: dict[int, list[str]] = {}
    for label, place in places_of.items():
        labels.setdefault(int(order[place]), []).append(label)
    return [Choice(' and '.join(names), number) for number, names in labels.items()]


class Drawn(NamedTuple):
    """What is needed to draw: the test split with all tasks, who compiles, who asks to stop, and `modules` as
    `open_model` takes them.
    """

    split: Split
    tasks: Sequence[Task]
    compiled: Compile
    stop: StopRequest
    modules: bool | Collection[str]


def draw(shown: Columns, what: Drawn, folder: Path) -> list[Path]:
    """Draws `compared_TASK.png` in `folder`, of every task; returns the pictures.

    The last network decides which images are shown. A task that it does not have is shown on the same ones. There are
    no pictures where there is no network, or the last has none of the tasks.
    """
    judged = [task for task in what.tasks if shown.networks and task.name in shown.networks[-1].models]
    if not judged:
        return []
    last = shown.networks[-1]
    losses, labelled = _losses(last, judged, what)
    picked = chosen(losses, labelled)
    if not picked:
        return []
    own = len({tuple(choices) for choices in picked.values()}) > 1
    numbers = sorted({one.number for choices in picked.values() for one in choices})
    places_of = what.split.numbers().ravel()
    examples = [what.split.to_example(what.split.source[int(places_of[number])]) for number in numbers]
    predicted = _predictions(shown.networks, np.stack([example.image for example in examples]), what)
    written = []
    for task in what.tasks:
        choices = picked.get(task.name, [] if own else next(iter(picked.values())))
        at = [numbers.index(one.number) for one in choices]
        batch = [examples[i] for i in at]
        networks = [network for network in shown.networks if task.name in network.models]
        if not networks or not any(example.targets[task.name].mask.any() for example in batch):
            continue
        given = Given(
            np.stack([example.image for example in batch]),
            [f'{one.label}: test image {places_of[one.number]}' for one in choices],
            np.stack([example.targets[task.name].value for example in batch]),
            np.stack([example.targets[task.name].mask for example in batch]),
            {n.title: predicted[n.models[task.name]][n.branch or MAIN][task.name][at] for n in networks},
        )
        by = [task.name] if own else list(picked)
        note = rule(last, {name: labelled[name] for name in by}) + _absent(shown.left_out)
        written.append(side_by_side(task, given, note, folder / f'{COMPARED}_{task.name}.png'))
    return written


def rule(network: Network, labelled: Mapping[str, np.ndarray]) -> str:
    """How images were chosen, in a sentence; `labelled`: of each task that took part, which test images are [n]."""
    name = network.title.replace('\n', ' ')
    by = f'{"loss" if len(labelled) == 1 else "mean rank of the losses"} of {", ".join(labelled)}'
    together = np.logical_and.reduce(list(labelled.values()))
    count = f'{together.size}' if together.all() else f'the {together.sum()} labelled ones of {together.size}'
    return f'Images: lowest, median and highest {by} under {name}, of {count} test images, numbered from 0.'


def _absent(left_out: Mapping[str, str]) -> str:
    return f' Left out: {", ".join(f"{name} ({why})" for name, why in left_out.items())}.' if left_out else ''


def workdirs_compared(
    workdirs: Sequence[Path], names: Sequence[str], out: Path, data_dir: str | None, modules: bool
) -> list[Path]:
    """Draws the networks of workdirs side by side, as `draw`; returns the pictures.

    Args:
        workdirs: of runs of one seed, or of several, whose first is taken.
        names: stages to show, in this order (`single-task`: all single-task networks); none: all.
        out: the folder for the pictures.
        data_dir: where prepared data lie; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
        modules: see `open_model`.

    Raises:
        UserError: there is no such network, or it cannot be opened.
        DataNotPrepared: the data are not in `data_dir`.
    """
    firsts = [min(seed_folders(path), key=lambda seed: natural(seed.name), default=path) for path in workdirs]
    common = os.path.commonpath([str(path.resolve()) for path in firsts])
    runs = [os.path.relpath(str(path.resolve()), common) if len(firsts) > 1 else '' for path in firsts]
    all_places = [place for path, run in zip(firsts, runs, strict=True) for place in places(path, (), {}, run)]
    by_model: dict[Path, Place] = {}
    for place in all_places:
        # Links to one stage, as in a study, count once.
        by_model.setdefault(place.model.resolve(), place)
    found = list(by_model.values())
    for name in names:
        choice('networks', name, list(dict.fromkeys(place.name for place in found)))
    found = [place for name in names for place in found if place.name == name] if names else found
    if not found:
        raise UserError(f'{", ".join(map(str, workdirs))} has no finished stage; train first.')
    spec = open_model(found[-1].model, allow_modules=modules).spec
    data_set = datasets.named(spec['data']['dataset'])
    shown = columns(found, spec['data'], modules)
    wanted = {task for network in shown.networks for task in network.models}
    tasks = [task for name, task in data_set.tasks(spec['data']).items() if name in wanted]
    split = Split(data_set.open(spec['data'], data_dir).sources['test'], tuple(tasks), BATCH_SIZE)
    with StopRequest() as stop:
        return draw(shown, Drawn(split, tasks, Programs().compiled, stop, modules), out)


def _losses(
    network: Network, tasks: Sequence[Task], what: Drawn
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By task the loss of every test image, and which of them carry a label."""
    losses: dict[str, np.ndarray] = {}
    labelled: dict[str, np.ndarray] = {}
    for folder in dict.fromkeys(network.models.values()):
        own = [task for task in tasks if network.models[task.name] == folder]
        for name, parts in (_losses_of(folder, network.branch or MAIN, own, what) if own else {}).items():
            losses[name], labelled[name] = (np.concatenate(part) for part in zip(*parts, strict=True))
    count = len(what.split.examples)
    return {name: x[:count] for name, x in losses.items()}, {name: x[:count] for name, x in labelled.items()}


def _losses_of(
    folder: Path, branch: str, tasks: Sequence[Task], what: Drawn
) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    opened = open_model(folder, allow_modules=what.modules)

    def measure(variables: Any, batch: Any) -> dict[str, Any]:
        found = models.predict(opened.network, variables, batch.image).predictions[branch]
        return {task.name: statistics(task, found[task.name], batch.targets[task.name])['loss'] for task in tasks}

    measured, variables = Program(jax.jit(measure), what.compiled), jax.device_put(opened.variables)
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {task.name: [] for task in tasks}
    with closing(what.split.whole.ordered()) as batches:
        for batch in what.stop.unless(batches):
            found = jax.device_get(measured(variables, batch))
            for name, part in parts.items():
                part.append((found[name], np.any(batch.targets[name].mask, axis=(1, 2, 3))))
    return parts


def _predictions(
    networks: Sequence[Network], images: np.ndarray, what: Drawn
) -> dict[Path, dict[str, dict[str, np.ndarray]]]:
    """By model folder, branch and task, of these images."""
    found = {}
    for folder in dict.fromkeys(path for network in networks for path in network.models.values()):
        opened = open_model(folder, allow_modules=what.modules)
        predict = make_predictor(opened.network, opened.variables, made=lambda jitted: Program(jitted, what.compiled))
        found[folder] = predict(images)
    return found
