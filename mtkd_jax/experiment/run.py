"""A whole run: every stage that is not finished, evaluated, drawn and reported."""

import os
from pathlib import Path

from ml_collections import ConfigDict

from mtkd_jax import configs
from mtkd_jax.experiment.stages import experiment
from mtkd_jax.files import CLOSED, FULL, write_json
from mtkd_jax.reporting.progress import Progress, SplitProgress
from mtkd_jax.reporting.report import write_report
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.training.given import GivenTeacher, evaluate_given
from mtkd_jax.training.lock import locked
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.run import finished_results, run_stage
from mtkd_jax.training.sharding import check_one_process
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import UserError


def run(config: ConfigDict | str | Path, workdir: str | Path, stop: StopRequest | None = None) -> Path:
    """Runs every stage that is not finished yet and writes the report, whose path is returned.

    Args:
        config: a config, or a name and recipe as `--config` takes them: `'rooms:method=mgda'`.
        workdir: keeps everything; the same call continues what was stopped.
        stop: asks to stop; without one, SIGTERM does.

    Raises:
        UserError: a field does not fit, data are not prepared, `workdir` cannot be made, or it holds stages with other
            settings.
        StoppedError: SIGTERM asked to stop; the state is saved.
        NonFiniteLossError: a loss or gradient is infinite or NaN.
    """
    config, workdir = config if isinstance(config, ConfigDict) else configs.load(config), Path(workdir)
    check_one_process()
    _check_place(workdir)
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
    with SplitProgress() as rendering:
        made = experiment(config, workdir, rendering)
    _make(workdir)
    with locked(workdir, stop):
        for stage in made.stages:
            # Raises before anything is trained, when the workdir holds a stage of that name with other settings.
            finished_results(workdir, stage.name, stage.settings)
        write_json(workdir / 'config.json', config.to_dict())
    programs = Programs()
    for stage in made.stages:
        if isinstance(stage, GivenTeacher):
            evaluate_given(stage, made.mesh, workdir, stop, programs)
        else:
            run_stage(stage, made.mesh, workdir, MetricWriter, Progress, stop, programs)
    with locked(workdir, stop):
        # After all training, which a picture that cannot be drawn must not keep from its end. Imported here, because
        # matplotlib is not needed before.
        from mtkd_jax.experiment.drawing import draw

        draw(workdir, made, config)
        return write_report(workdir, {task.name: task for task in made.tasks}, note=made.paper_note)


def _check_place(workdir: Path) -> None:
    """Says now, and not after hours of rendering, that nothing can be written there."""
    there = next(place for place in (workdir, *workdir.absolute().parents) if os.path.exists(place))
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = 'cannot be written to' if there.is_dir() else 'is no folder'
        raise UserError(f'`workdir` is {workdir}, but {there} {what}; give another.')


def _make(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'`workdir` {workdir} cannot be made ({error.strerror}); give another.') from error
