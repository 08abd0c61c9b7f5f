"""The only reader of a config: turns it into typed objects, and rejects what does not fit.

Errors name the field, its value and the remedy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtkd_jax.build.checks import check
from mtkd_jax.build.data import data_arguments, prepared, stage_data
from mtkd_jax.build.networks import build_network, build_task, check_fits
from mtkd_jax.build.paper import differences_from_paper
from mtkd_jax.build.stages import given_teacher, trained_stage
from mtkd_jax.data.builders import Progress, class_names
from mtkd_jax.tasks import Task
from mtkd_jax.training import sharding
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.run import stage_folder
from mtkd_jax.training.stage import Stage, StageData

__all__ = ['Experiment', 'build_network', 'build_task', 'check_fits', 'data_arguments', 'experiment', 'prepared']


@dataclass(frozen=True)
class Experiment:
    """A run: its stages in order, and what they share.

    `given`: teachers that exist already; they are evaluated instead of trained.
    """

    stages: Sequence[Stage]
    given: Sequence[GivenTeacher]
    tasks: Sequence[Task]
    mesh: Mesh
    data: StageData
    paper_note: str


def experiment(config: ConfigDict, workdir: Path, progress: Progress) -> Experiment:
    """Everything a run needs, checked; `progress` is told of scenes that are rendered first."""
    check(config)
    mesh = sharding.make_mesh(config.devices)
    sharding.check_batch_size('batch_size', config.batch_size, mesh)
    sharding.check_batch_size('eval_batch_size', config.eval_batch_size, mesh)
    known = class_names(config.data.dataset, config.data.classes)
    all_tasks = [build_task(name, config.data.classes, config.data.depth_maximum, known) for name in config.tasks]
    given = {task.name: Path(p) for task in all_tasks if (p := config.teachers.get(task.name, ''))}
    given = {} if config.method == 'uniform' else given
    data = stage_data(config, all_tasks, prepared(config, progress))
    stages: list[Stage] = []
    if config.method != 'uniform':
        untrained = [task for task in all_tasks if task.name not in given]
        stages += [trained_stage(config, f'stl_{task.name}', [task], data, {}) for task in untrained]
    if config.method != 'stl':
        teachers = {}
        if config.method == 'kd_mtl':
            trained = {t.name: stage_folder(workdir, f'stl_{t.name}') / 'model' for t in all_tasks}
            teachers = {**trained, **given}
        stages.append(trained_stage(config, config.method, all_tasks, data, teachers, given))
    teachers_given = [given_teacher(config, task, given[task.name], data) for task in all_tasks if task.name in given]
    return Experiment(stages, teachers_given, all_tasks, mesh, data, differences_from_paper(config)[1])
