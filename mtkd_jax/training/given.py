"""Teachers that exist already.

They are not trained here, but evaluated: their metrics form the single-task row of the results.
"""

import functools
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh

from mtkd_jax import models, records
from mtkd_jax.tasks import Task
from mtkd_jax.training import machine, processes, sharding
from mtkd_jax.training.evaluate import Constants, Evaluator
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.lock import locked
from mtkd_jax.training.processes import Agreed
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.run import finished_in
from mtkd_jax.training.spent import Spent
from mtkd_jax.training.stage import StageData
from mtkd_jax.training.stop import StopRequest


@dataclass(frozen=True)
class GivenTeacher:
    """A single-task network in the model folder `folder`; `name` is the stage it stands for (`stl_<task>`)."""

    name: str
    folder: Path
    network: nn.Module
    task: Task
    data: StageData
    constants: Constants
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]


def evaluate_given(
    teacher: GivenTeacher, mesh: Mesh, workdir: Path, stop: StopRequest, programs: Programs
) -> dict[str, Any]:
    """Evaluates `teacher` on the test split once, and keeps the results as those of the stage it stands for."""
    # See `run_stage`.
    folder = records.stage_folder(workdir, teacher.name).resolve()
    with locked(folder, stop) if processes.first() else nullcontext():
        done = processes.from_first(lambda: finished_in(folder, teacher.settings))
        if done is None:
            results = _evaluate(teacher, mesh, folder, programs, stop)
            done = processes.from_first(lambda: results)
        return done


def _evaluate(teacher: GivenTeacher, mesh: Mesh, folder: Path, programs: Programs, stop: StopRequest) -> dict[str, Any]:
    spent, computed_with = Spent(), machine.describe()
    compiled = spent.during('compiling', programs.compiled)
    variables = sharding.replicate(load_model(teacher.folder)[1], mesh)
    evaluator = Evaluator(functools.partial(models.predict, teacher.network), [teacher.task], mesh, compiled)
    with spent.on('evaluating'):
        with closing(sharding.on_device(teacher.data.test.ordered(), mesh)) as batches:
            found = evaluator(variables, Agreed(mesh).unless(stop, batches))
        if not processes.first():
            return {}
        baselines = teacher.constants.of([teacher.task], compiled, stop)
    results = {
        'stage': teacher.name,
        'tasks': [teacher.task.name],
        'epochs': None,
        'steps': None,
        'selection': {'rule': 'given', 'split': 'test', 'note': f'Given teacher {teacher.folder}; not trained here.'},
        'results': found,
        'parameters': {'network': sum(x.size for x in jax.tree.leaves(variables['params']))},
        'timing': {},
        'baselines': baselines,
        **teacher.facts,
        'settings': dict(teacher.settings),
        'machine': computed_with,
        'spent': spent.seconds(),
    }
    records.write_settings(folder, teacher.settings)
    records.write_results(folder, results)
    return results
