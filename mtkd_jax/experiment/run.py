"""A whole run: of every seed every stage that is not finished, evaluated, drawn and reported."""

import contextlib
import functools
import os
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtkd_jax import configs
from mtkd_jax.experiment.estimates import teachers
from mtkd_jax.experiment.outlook import Outlook
from mtkd_jax.experiment.stages import Experiment, experiments
from mtkd_jax.experiment.together import trained
from mtkd_jax.files import CLOSED, FULL, write_json
from mtkd_jax.places import Stored, place
from mtkd_jax.records import REPORT, SETTINGS, read_settings, seed_folders, stage_folder, stage_folders, write_spent
from mtkd_jax.reporting.progress import Lines, Progress, SplitProgress
from mtkd_jax.reporting.report import write_report, write_seeds_report
from mtkd_jax.reporting.summary import summary
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.tasks import Task
from mtkd_jax.training import processes
from mtkd_jax.training.beforehand import compile_beforehand
from mtkd_jax.training.given import GivenTeacher, evaluate_given
from mtkd_jax.training.lock import locked
from mtkd_jax.training.loop import Loop
from mtkd_jax.training.processes import check_joined
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.run import finished_results, run_stage
from mtkd_jax.training.spent import REST, Spent
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError, StopRequest
from mtkd_jax.types import UserError

_DRAWING = threading.Lock()
"""Held by the thread that draws: matplotlib is not made for several. It is taken before a workdir's lock."""


def run(config: ConfigDict | str | Path, workdir: str | Path, stop: StopRequest | None = None) -> Path:
    """Runs every stage that is not finished yet and writes the report, whose path is returned.

    With several `seeds`, each is a run of its own in `workdir/seedN`, with its own report; the one returned is of all.

    Args:
        config: a config, or a name and recipe as `--config` takes them: `'rooms:method=mgda'`.
        workdir: keeps everything; the same call continues what was stopped.
        stop: asks to stop; without one, SIGTERM does.

    Raises:
        UserError: a field does not fit, data are not prepared, `workdir` cannot be made, or it holds stages with other
            settings.
        StoppedError: SIGTERM asked to stop; the state is saved.
        NonFiniteLossError: a loss or gradient is infinite or NaN.
        Exception: a picture could not be drawn; all else is done, and the report says it.
    """
    config, workdir = config if isinstance(config, ConfigDict) else configs.load(config), place(workdir)
    check_joined()
    check_place(workdir)
    try:
        if stop is not None:
            return _run(config, workdir, stop)
        with StopRequest() as own:
            return _run(config, workdir, own)
    except OSError as error:
        if error.errno not in (*FULL, *CLOSED):
            raise
        raise UserError(
            f'{error.filename or workdir} cannot be written ({error.strerror}); make room or give access, and run the '
            'same command to continue.'
        ) from error


def _run(config: ConfigDict, workdir: Path, stop: StopRequest) -> Path:
    check_kind(workdir, bool(config.seeds))
    starting = Spent()
    with SplitProgress() as rendering:
        made = experiments(config, workdir, rendering)
    processes.meet()
    begun = {one.workdir for one in made if processes.from_first(functools.partial(_begin, one, stop))}
    before = starting.of(REST)
    report = workdir / REPORT
    finished, failed, stopped = list[Path](), list[Exception](), list[StoppedError]()
    # A program is compiled for certain devices.
    programs = {one.mesh: Programs() for one in made}
    # Nobody knows how fast each of several groups of devices will be; counting places a batch, which one of several
    # processes cannot do alone.
    outlook = Outlook(made) if len(programs) == 1 and not processes.several() else None
    stepping = set[Path]()
    common = functools.partial(_train, stop=stop, programs=programs, lines=Lines(), count=len(made))
    train = functools.partial(common, outlook=outlook, stepping=stepping)
    prepare = functools.partial(_prepare, stop=stop, programs=programs)
    show = functools.partial(_show, stop=stop, programs=programs)
    for one in trained(made, train, stop, prepare, show, lambda *job: _place(*job) in stepping):
        try:
            # A command that finds all finished says nothing of the run.
            since = before if one.workdir in begun else None
            processes.from_first(functools.partial(_report, one, stop, programs[one.mesh], since))
        except StoppedError as error:
            # Perhaps because another stage has failed, which `trained` then says.
            stopped.append(error)
            continue
        except Exception as error:
            # Raised when all seeds have ended: what cannot be drawn keeps none of them from training.
            failed.append(error)
            if config.seeds and processes.first():
                print(f'{one.workdir}: {_said(error)}. The other seeds go on.', file=sys.stderr, flush=True)
        # In the order of the config, whichever ends first.
        finished = [each.workdir for each in made if each.workdir in (*finished, one.workdir)]
        if config.seeds:
            planned = [each.workdir for each in made]
            failed += processes.from_first(functools.partial(_report_seeds, report, finished, planned, one.tasks))
    if stopped:
        raise stopped[0]
    if processes.first():
        print(summary(finished, made[0].tasks), flush=True)
    if failed:
        raise failed[0]
    return report


def check_kind(workdir: Path, several: bool) -> None:
    """One report stands in a workdir: of a run of one seed, or of those in its folders `seedN`."""
    if several and stage_folders(workdir, SETTINGS):
        raise UserError(f'`workdir` is {workdir}, which holds a run of one seed; give `seeds` another.')
    if not several and seed_folders(workdir):
        raise UserError(
            f'`workdir` is {workdir}, which holds a run of several seeds; give --config.seeds, or another workdir.'
        )


def _begin(one: Experiment, stop: StopRequest) -> bool:
    """Whether a stage is left to train.

    Raises before anything is trained, when the workdir holds stages of the same names with other settings.
    """
    _make(one.workdir)
    with locked(one.workdir, stop):
        found = [finished_results(one.workdir, stage.name, stage.settings) for stage in one.stages]
        write_json(one.workdir / 'config.json', one.config.to_dict())
    return None in found


def _train(
    one: Experiment,
    stage: Stage | GivenTeacher,
    stop: StopRequest,
    programs: Mapping[Mesh, Programs],
    lines: Lines,
    count: int,
    outlook: Outlook | None,
    stepping: set[Path],
) -> None:
    """Trains a stage; its place is in `stepping` from its first steps on."""
    which = f'seed {one.config.seed}, ' if count > 1 else ''
    if len(one.stages) > 1:
        which += f'stage {[each.name for each in one.stages].index(stage.name) + 1} of {len(one.stages)}, '
    try:
        first = functools.partial(stepping.add, _place(one, stage))
        train_stage(one, stage, stop, programs[one.mesh], which, lines, outlook, first)
    except NonFiniteLossError:
        if outlook is not None:
            outlook.drop(one)
        raise


def _place(one: Experiment, stage: Stage | GivenTeacher) -> Path:
    return stage_folder(one.workdir, stage.name)


def _prepare(
    one: Experiment, stage: Stage | GivenTeacher, stop: StopRequest, programs: Mapping[Mesh, Programs]
) -> None:
    """Compiles the first programs of a stage whose teachers are still being trained; not of one that goes on."""
    folder = _place(one, stage)
    if isinstance(stage, Stage) and read_settings(folder) is None:
        shapes = jax.eval_shape(lambda: teachers(one, stage))
        compile_beforehand(Loop(stage, one.mesh, folder, stop, programs[one.mesh]), shapes)


def _show(one: Experiment, stage: Stage | GivenTeacher, stop: StopRequest, programs: Mapping[Mesh, Programs]) -> None:
    """Draws the predictions of a trained stage while others train."""
    # While stages train, nobody holds the lease of a store's workdir, which one could lose.
    if isinstance(stage, GivenTeacher) or isinstance(one.workdir, Stored):
        return
    # What cannot be drawn keeps nothing from training; the report tries again, and says it.
    with contextlib.suppress(Exception):
        # Imported here, because matplotlib is not needed before.
        from mtkd_jax.experiment.drawing import draw_panel

        with _DRAWING, locked(one.workdir, stop):
            draw_panel(stage.name, one, programs[one.mesh].compiled)


def train_stage(
    one: Experiment,
    stage: Stage | GivenTeacher,
    stop: StopRequest,
    programs: Programs,
    which: str,
    lines: Lines | None = None,
    outlook: Outlook | None = None,
    first: Callable[[], None] | None = None,
) -> None:
    """Trains, or evaluates, one stage of an experiment where that is not done; `which`: stands before its name.

    `lines`, `first`: see `Progress`.
    """

    def progress(title: str, total: int, start: int, per_epoch: int) -> Progress:
        in_all = outlook.of(stage) if outlook is not None and isinstance(stage, Stage) else None
        return Progress(which + title, total, start, per_epoch, lines=lines, in_all=in_all, first=first)

    if isinstance(stage, GivenTeacher):
        evaluate_given(stage, one.mesh, one.workdir, stop, programs)
        return
    writer = functools.partial(MetricWriter, writers=tuple(one.config.writers))
    try:
        run_stage(stage, one.mesh, one.workdir, writer, progress, stop, programs)
    finally:
        if outlook is not None:
            outlook.end(stage)


def _report(one: Experiment, stop: StopRequest, programs: Programs, before: float | None) -> None:
    """Draws and reports after all training; an error while drawing is raised when the report, which names it, is there.

    `before`: seconds until the first stage, which are kept where they are given.
    """
    drawing, undrawn = Spent(), None
    with _DRAWING, locked(one.workdir, stop):
        # Imported here, because matplotlib is not needed before.
        from mtkd_jax.experiment.drawing import draw

        try:
            draw(one, programs.compiled, stop)
        except Exception as error:
            undrawn = error
        if before is not None:
            write_spent(one.workdir, {'starting': before, 'drawing': drawing.of(REST)})
        why = _said(undrawn) if undrawn else ''
        write_report(one.workdir, {task.name: task for task in one.tasks}, note=one.paper_note, undrawn=why)
    if undrawn:
        raise undrawn


def _report_seeds(
    report: Path, finished: Sequence[Path], planned: Sequence[Path], tasks: Sequence[Task]
) -> list[Exception]:
    """Draws and reports the seeds that have come to their end; the error of what could not be drawn."""
    undrawn = []
    if len(finished) > 1:
        # Imported here, because matplotlib is not needed before.
        from mtkd_jax.reporting.curves import draw_seeds

        try:
            with _DRAWING:
                draw_seeds(report.parent, finished, tasks)
        except Exception as error:
            undrawn.append(error)
    write_seeds_report(report, finished, planned, tasks)
    return undrawn


def _said(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'.rstrip('.')


def check_place(workdir: Path) -> None:
    """Says now, and not after hours of rendering, that nothing can be written there.

    Raises:
        UserError: so it is.
    """
    if isinstance(workdir, Stored):
        # A store does not say what it allows, but by doing it.
        trial = workdir / f'trial.{secrets.token_hex(4)}'
        trial.write_bytes(b'')
        trial.unlink()
        return
    there = next(place for place in (workdir, *workdir.absolute().parents) if os.path.exists(place))
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = 'cannot be written to' if there.is_dir() else 'is no folder'
        raise UserError(f'`workdir` is {workdir}, but {there} {what}; give another.')


def _make(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'`workdir` {workdir} cannot be made ({error.strerror}); give another.') from error
