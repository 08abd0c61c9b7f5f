"""Trains, evaluates and reports: `python -m mtkd_jax.main --config=configs/rooms.py --workdir=runs/rooms`."""

import sys
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from mtkd_jax import build, command
from mtkd_jax.data.pipeline import first_examples
from mtkd_jax.files import write_json
from mtkd_jax.reporting.curves import draw_workdir
from mtkd_jax.reporting.panels import prediction_panel
from mtkd_jax.reporting.progress import Progress, SplitProgress
from mtkd_jax.reporting.report import write_report
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.given import evaluate_given
from mtkd_jax.training.predict import make_predictor
from mtkd_jax.training.run import finished_results, run_stage, stage_folder
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError, StopRequest
from mtkd_jax.types import UserError

CONFIG = config_flags.DEFINE_config_file(
    'config',
    None,
    'The config, such as configs/rooms.py; a recipe may follow a colon: FILE:method=kd_mtl,tasks=depth+normals.',
)
WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Where the run keeps everything; the same command continues it.', allow_override=True
)

STOPPED = 143  # what a shell reports of a process that SIGTERM ended


def run(config: ConfigDict, workdir: Path) -> Path:
    """Runs every stage that is not finished yet and writes the report, whose path is returned."""
    with SplitProgress() as rendering:
        experiment = build.experiment(config, workdir, rendering)
    planned = [(teacher.name, teacher.settings) for teacher in experiment.given]
    planned += [(stage.name, stage.settings) for stage in experiment.stages]
    for name, settings in planned:
        # Raises before anything is written, when the workdir holds a stage of that name with other settings.
        finished_results(workdir, name, settings)
    with StopRequest() as stop:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(workdir / 'config.json', config.to_dict())
        for teacher in experiment.given:
            evaluate_given(teacher, experiment.mesh, workdir)
        for stage in experiment.stages:
            run_stage(stage, experiment.mesh, workdir, MetricWriter, Progress, stop)
            draw_panel(workdir, stage.name, experiment, config.panel_images)
    draw_workdir(workdir)
    return write_report(workdir, {task.name: task for task in experiment.tasks}, note=experiment.paper_note)


def draw_panel(workdir: Path, stage: str, experiment: build.Experiment, images: int) -> None:
    """Draws truth and predictions of a finished stage for the first test images, once."""
    file, results = workdir / 'figures' / f'{stage}.png', stage_folder(workdir, stage) / 'results.json'
    # A stage that was removed and trained again has newer results than its old picture.
    if images == 0 or (file.exists() and file.stat().st_mtime_ns >= results.stat().st_mtime_ns):
        return
    spec, variables = load_model(stage_folder(workdir, stage) / 'model')
    network, tasks = build.build_network(spec)
    source = experiment.data.test.source
    batch = first_examples(source, tasks, min(images, len(source)))
    image = np.asarray(batch.image)
    prediction_panel(
        images=image,
        truths={name: np.asarray(target.value) for name, target in batch.targets.items()},
        masks={name: np.asarray(target.mask) for name, target in batch.targets.items()},
        predictions=make_predictor(network, variables)(image),
        tasks=tasks,
        path=file,
        title=stage,
    )


def _config() -> ConfigDict:
    config = command.value(CONFIG)
    # A file that is not there becomes an object that raises as soon as it is used.
    if not isinstance(config, ConfigDict):
        file = config_flags.get_config_filename(flags.FLAGS['config'])
        raise UserError(f'--config={file}: there is no such file that has `get_config`.')
    return config


def main() -> None:
    """Runs, and prints where the report is."""
    try:
        report = run(_config(), Path(command.value(WORKDIR)))
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(STOPPED)
    print(f'Report: {report}')


if __name__ == '__main__':
    command.start(main, errors=(NonFiniteLossError,))
