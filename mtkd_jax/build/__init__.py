"""The only reader of a config: turns it into typed objects, and rejects what does not fit.

Errors name the field, its value and the remedy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtkd_jax.build.checks import check
from mtkd_jax.build.data import check_parts, opened, prepared, stage_data
from mtkd_jax.build.networks import PER_IMAGE, TASKS, build_network, build_task, check_fits, predicts_images
from mtkd_jax.build.paper import differences_from_paper
from mtkd_jax.build.stages import WITH_SINGLE_TASK_TEACHERS, Plan, given_teacher, model_spec, stage_name, trained_stage
from mtkd_jax.data.builders import Progress
from mtkd_jax.tasks import Task
from mtkd_jax.training import sharding
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.run import stage_folder
from mtkd_jax.training.stage import Stage, StageData
from mtkd_jax.types import TEACHER

__all__ = [
    'PER_IMAGE',
    'TASKS',
    'Experiment',
    'build_network',
    'build_task',
    'check_fits',
    'experiment',
    'opened',
    'predicts_images',
    'prepared',
]


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
    spec = model_spec(config, config.tasks, config.method)
    all_tasks = [build_task(name, spec) for name in config.tasks]
    reads_single = config.method in ('stl', *WITH_SINGLE_TASK_TEACHERS)
    given = {t.name: Path(p) for t in all_tasks if reads_single and (p := config.teachers.get(t.name, ''))}
    data = stage_data(config, all_tasks, prepared(config, progress))
    check_parts(config, data, mesh)
    stages = [trained_stage(config, plan, data) for plan in plans(config, workdir, all_tasks, given)]
    teachers_given = [given_teacher(config, task, given[task.name], data) for task in all_tasks if task.name in given]
    return Experiment(stages, teachers_given, all_tasks, mesh, data, differences_from_paper(config))


def plans(config: ConfigDict, workdir: Path, all_tasks: Sequence[Task], given: Mapping[str, Path]) -> list[Plan]:
    """The stages of the config's method in their order; a stage may read the models of those before it."""

    def model(stage: str) -> Path:
        return stage_folder(workdir, stage) / 'model'

    single = [Plan(f'stl_{t.name}', 'stl', [t], {}, {}) for t in all_tasks if t.name not in given]
    if config.method == 'stl':
        return single
    own = Plan(stage_name(config), config.method, all_tasks, {}, given)
    if config.method in WITH_SINGLE_TASK_TEACHERS:
        teachers = {t.name: given.get(t.name, model(f'stl_{t.name}')) for t in all_tasks}
        return [*single, replace(own, teachers=teachers)]
    if config.method == 'traditional_kd':
        # Its teacher is the vanilla network, which `method=uniform` trains.
        vanilla = Plan('uniform', 'uniform', all_tasks, {}, {})
        return [vanilla, replace(own, teachers={TEACHER: model('uniform')})]
    return [own]
