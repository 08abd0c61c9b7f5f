"""Running a stage once: a finished one is skipped, a begun one continued, one with other settings refused."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import jax
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from mtkd_jax import records
from mtkd_jax.files import write_text
from mtkd_jax.records import stage_folder
from mtkd_jax.training import continuing, device, processes, sharding
from mtkd_jax.training.evaluate import Constants
from mtkd_jax.training.folder import load_model, save_model
from mtkd_jax.training.lock import locked
from mtkd_jax.training.loop import Loop
from mtkd_jax.training.outlets import Progress, Writer
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.selection import summarise
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.state import TrainState
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import UserError

MakeWriter = Callable[[Path, int], AbstractContextManager[Writer]]
MakeProgress = Callable[[str, int, int, int], AbstractContextManager[Progress]]


def finished_results(workdir: Path, name: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The results of the stage `name` when it is finished in `workdir`, or None.

    Raises:
        UserError: the folder holds a stage of that name with other settings, of another version, or a damaged one.
    """
    return finished_in(stage_folder(workdir, name), settings)


def finished_in(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """`finished_results` of the stage in `folder`."""
    before = records.read_settings(folder)
    if before is not None:
        _check_same(folder, before, settings)
    results = records.read_results(folder)
    if results is not None:
        _check_model(folder, results)
    return results


def _check_model(folder: Path, results: Mapping[str, Any]) -> None:
    """Raises a UserError unless the model of a finished stage is there and whole; a given teacher keeps its own."""
    selection = results.get('selection')
    if isinstance(selection, Mapping) and selection.get('rule') == 'given':
        return
    try:
        load_model(folder / records.MODEL)
    except UserError as error:
        raise UserError(
            f'The stage {folder} is finished, but its model cannot be used: {error} Remove {folder / records.RESULTS} '
            'to write it again from the checkpoints, or the whole folder to train the stage again.'
        ) from error


def run_stage(
    stage: Stage,
    mesh: Mesh,
    workdir: Path,
    make_writer: MakeWriter,
    make_progress: MakeProgress,
    stop: StopRequest,
    programs: Programs,
) -> dict[str, Any]:
    """Trains and evaluates `stage`, writes `model/` and `results.json`, and returns the results.

    While another process trains it, this one waits, and takes what the other has finished.
    """
    # Where the folder is a link, it stays what it is now, whatever becomes of the link.
    folder = stage_folder(workdir, stage.name).resolve()
    stage = dataclasses.replace(stage, teachers={key: place.resolve() for key, place in stage.teachers.items()})
    with locked(folder, stop) if processes.first() else nullcontext():
        done = processes.from_first(lambda: finished_in(folder, stage.settings))
        if done is None:
            results = _run(Loop(stage, mesh, folder, stop, programs), make_writer, make_progress)
            done = processes.from_first(lambda: results)
        return done


def _run(loop: Loop, make_writer: MakeWriter, make_progress: MakeProgress) -> dict[str, Any]:
    stage, folder = loop.stage, loop.folder
    if processes.first():
        records.write_settings(folder, stage.settings)
    if stage.continues is not None:
        processes.from_first(functools.partial(continuing.begin, folder, stage.continues))
    state = loop(
        lambda start: make_writer(folder, start),
        lambda start: make_progress(stage.name, loop.total_steps, start, loop.train.steps_per_epoch),
    )
    # What the first process keeps while training, all may read.
    processes.meet()
    with loop.spent.on('saving'):
        save_model(folder / records.MODEL, stage.model_spec, _chosen_variables(stage, state, folder))
        if state.ema:
            averages = stage.method.network_variables(state.ema)
            save_model(folder / records.MODEL_EMA, stage.model_spec, averages)
    found = _tested(loop, state)
    if not processes.first():
        return {}
    results = _results(loop, state, found)
    if stage.card is not None:
        write_text(folder / records.MODEL / records.CARD, stage.card(results, False))
        if state.ema:
            write_text(folder / records.MODEL_EMA / records.CARD, stage.card(results, True))
    # Written last: a stage that has it is finished.
    records.write_results(folder, results)
    return results


def _chosen_variables(stage: Stage, state: TrainState, folder: Path) -> Mapping[str, Any]:
    if stage.cadence.selection.keeps_best:
        return load_model(folder / records.BEST)[1]
    return stage.method.network_variables(state.variables)


def _tested(loop: Loop, state: TrainState) -> dict[str, float] | None:
    """Metrics of the test split, of a network that the selection rule has kept; None where the rule reads records."""
    stage = loop.stage
    if not stage.cadence.selection.keeps_best:
        return None
    chosen = _chosen_variables(stage, state, loop.folder)
    kept = {'network': chosen['params'], 'batch_stats': chosen.get('batch_stats', {})}
    placed = sharding.put(kept, sharding.of_leaves(kept, loop.mesh, stage.fsdp))
    return loop.evaluate_test(
        {'params': {**state.params, 'network': placed['network']}, 'batch_stats': placed['batch_stats']}
    )


def _results(loop: Loop, state: TrainState, tested: dict[str, float] | None) -> dict[str, Any]:
    stage, mesh, folder = loop.stage, loop.mesh, loop.folder
    rule = stage.cadence.selection
    written = _written(folder, loop.total_steps)
    results = tested
    if results is None:
        evaluated = [record for record in written if record['split'] == rule.split]
        results = summarise(rule, [records.numbers(record) for record in evaluated])
    tasks, data = stage.method.tasks, stage.data
    with loop.spent.on('evaluating'):
        constants = stage.constants or Constants(tasks, data.train, data.test)
        # Constant predictors, too, look at the test split.
        baselines = constants.of(tasks, loop.compiled, loop.stop) if rule.split == 'test' else {}
    shape = data.test.image_shape[1:]
    return {
        'stage': stage.name,
        'tasks': [task.name for task in tasks],
        'epochs': stage.cadence.epochs,
        'steps': int(state.step),
        'selection': {'rule': rule.name, 'split': rule.split, 'note': rule.note},
        'results': results,
        'parameters': device.parameter_counts(state.params),
        'branches': {name: device.inference_cost(network, shape) for name, network in stage.networks.items()},
        'timing': _timing(written, loop, mesh),
        'baselines': baselines,
        **stage.facts,
        'settings': dict(stage.settings),
        'machine': loop.machine,
        'spent': loop.spent.seconds(),
    }


def _written(folder: Path, last: int) -> list[records.Record]:
    """What the stage recorded; of a stage that has only been evaluated here, the file of its training was lost."""
    written = list(records.read_records(folder))
    if not any(record['split'] == 'train' for record in written):
        raise UserError(
            f'{folder / records.METRICS} has no record of the training; remove {folder} to train the stage again.'
        )
    newest = max(record['step'] for record in written if record['split'] == 'train')
    if newest != last:
        raise UserError(
            f'{folder / records.METRICS} ends with step {newest}, but the training with step {last}; remove {folder} '
            'to train the stage again.'
        )
    return written


def _timing(written: list[records.Record], loop: Loop, mesh: Mesh) -> dict[str, Any]:
    windows = [record for record in written if record['split'] == 'train']
    step_seconds = median([window['seconds'] / window['steps'] for window in windows])
    seconds = sum(window['seconds'] for window in windows)
    return {
        'step_seconds': step_seconds,
        'images_per_second': loop.train.train_batch_size / step_seconds,
        'peak_memory_bytes': device.peak_memory_bytes(mesh),
        'train_seconds': seconds,
        # Records of earlier versions do not say it.
        'waiting_share': sum(window.get('waiting', 0.0) * window['seconds'] for window in windows) / max(seconds, 1e-9),
        # Of the process that finished the stage, as `machine` and `spent`.
        'at_once': loop.stage.at_once,
        'compile_seconds': loop.spent.of('compiling'),
        'device': device.describe(mesh),
        'jax': jax.__version__,
    }


def _check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    flat_before, flat_now = flatten_dict(before, sep='.'), flatten_dict(json.loads(json.dumps(now)), sep='.')
    names = sorted({*flat_before, *flat_now})
    changed = [n for n in names if flat_before.get(n) != flat_now.get(n)]
    if changed:
        listed = '; '.join(f'`{n}` was {flat_before.get(n)!r}, is {flat_now.get(n)!r}' for n in changed)
        raise UserError(
            f'{folder} belongs to a run with other settings: {listed}. Use another --workdir, or remove that folder to '
            'train the stage again.'
        )
