"""Stages: a method with its network, optimiser, data and schedule."""

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from mtkd_jax import distill, methods
from mtkd_jax.build.data import data_settings, only
from mtkd_jax.build.networks import (
    BACKBONES,
    DTYPES,
    build_network,
    build_task,
    choice,
    is_self_distilled,
    predicts_images,
)
from mtkd_jax.build.paper import paper_row
from mtkd_jax.build.weightings import make_weighting, weighting_name, weighting_settings
from mtkd_jax.tasks import Task
from mtkd_jax.training import selection
from mtkd_jax.training.folder import load_model, weights_digest
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.optimizer import make_optimizer
from mtkd_jax.training.stage import Schedule, Stage, StageData
from mtkd_jax.types import ENSEMBLE, MAIN, STUDENT, TEACHER, UserError

WITH_SINGLE_TASK_TEACHERS = ('kd_mtl', 'bam')
SELF_DISTILLED = ('sd_mtcnn', 'no_distillation')
OBJECTIVES = {'eq5': (TEACHER, STUDENT), 'eq6': (ENSEMBLE,)}  # the branches that learn from labels (spec B4)
DISTANCE_FIELDS = ('weight', 'distances', 'kl_direction', 'squared')
OBJECTIVE_FIELDS = ('objective', 'renormalise_normals', 'student_widths')
READ_BY = {
    'sd_mtcnn': (*OBJECTIVE_FIELDS, *DISTANCE_FIELDS, 'stop_teacher_gradient'),
    'no_distillation': OBJECTIVE_FIELDS,
    'traditional_kd': ('student_widths', *DISTANCE_FIELDS),
}
"""Fields of `self_distillation` that decide what a method learns; `attention` decides the network of every method."""

DIRECTIONS = {'student_teacher': 'kl', 'teacher_student': 'reverse_kl'}


@dataclass(frozen=True)
class Plan:
    """What a stage is called and what it needs: `teachers` are model folders that a method reads as `frozen`."""

    name: str
    method: str
    tasks: Sequence[Task]
    teachers: Mapping[str, Path]
    given: Mapping[str, Path]


def stage_name(config: ConfigDict) -> str:
    """The folder of the config's method: `kd_mtl`, `kd_mtl_dwa`, `mgda`, `sd_mtcnn_eq5_no_attention`, ..."""
    name, balance = config.method, weighting_name(config, config.method)
    if config.method in SELF_DISTILLED:
        sd = config.self_distillation
        name += f'_{sd.objective}' + ('' if sd.attention else '_no_attention')
    if balance not in ('uniform', config.method):
        name += f'_{balance}'
    return name + ('_features' if config.weighting.gramian_of == 'features' else '')


def trained_stage(config: ConfigDict, plan: Plan, data: StageData) -> Stage:
    """A stage that trains."""
    names = [task.name for task in plan.tasks]
    spec = model_spec(config, names, plan.method)
    network, _ = build_network(spec)
    return Stage(
        name=plan.name,
        method=METHODS.get(plan.method, _supervised)(config, network, plan),
        weighting=make_weighting(config, plan.method, names),
        optimizer=functools.partial(
            _optimizer,
            config.learning_rate,
            tuple(config.halve_at_epochs),
            config.adaptor_learning_rate,
            config.adaptor_l2,
            (config.decay_every_epochs, config.decay_factor),
        ),
        networks={name: build_network(spec, branches=branches)[0] for name, branches in _deployments(spec).items()},
        data=only(data, plan.tasks),
        schedule=Schedule(
            config.epochs,
            config.evaluate_every_epochs,
            config.log_every_steps,
            config.checkpoint_every_steps,
            selection.rule_named(config.selection),
            config.diagnose_every_steps,
        ),
        seed=_seed(config.seed, plan.name if plan.method == 'stl' else 'multi_task'),
        teachers=plan.teachers,
        settings=_settings(config, plan, names, data),
        model_spec=spec,
        facts=_facts(config, plan.method),
        gramian_of=config.weighting.gramian_of,
        augment=config.data.get('augment', 'none'),
    )


def _deployments(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """What can be deployed of a network: every branch alone, and teacher and student together."""
    branches = spec.get('branches', [MAIN])
    both = {f'{TEACHER} + {STUDENT}': [TEACHER, STUDENT]} if {TEACHER, STUDENT} <= set(branches) else {}
    return {**{branch: [branch] for branch in branches if branch != ENSEMBLE}, **both}


def given_teacher(config: ConfigDict, task: Task, folder: Path, data: StageData) -> GivenTeacher:
    """The stand-in for the single-task stage of `task` when its network is given as a model folder."""
    spec = _teacher_spec(folder, task.name, model_spec(config, [], 'stl'))
    return GivenTeacher(
        name=f'stl_{task.name}',
        folder=folder,
        network=build_network(spec, [task.name])[0],
        task=task,
        data=only(data, [task]),
        settings={'method': 'stl', 'given': weights_digest(folder), 'data': _data_identity(config, data)},
        facts=_facts(config, 'stl') | {'paper': None},
    )


def _facts(config: ConfigDict, method: str) -> dict[str, Any]:
    return {
        'method': method,
        'backbone': config.backbone,
        'dataset': config.data.dataset,
        'seed': config.seed,
        'paper': paper_row(config, method),
    }


def _optimizer(
    rate: float, halve: Sequence[float], adaptor_rate: float, l2: float, decay: tuple[float, float], steps: int
) -> Any:
    return make_optimizer(rate, halve, steps, adaptor_rate, l2, *decay)


def _supervised(config: ConfigDict, network: nn.Module, plan: Plan) -> methods.Method:
    return methods.Supervised(network, tuple(plan.tasks))


def _kd_mtl(config: ConfigDict, network: nn.Module, plan: Plan) -> methods.Method:
    names = [task.name for task in plan.tasks]
    own = model_spec(config, [], 'stl')
    distillation, given = config.distillation, plan.given
    points = distillation.points
    specs = {name: _teacher_spec(given[name], name, own, points) if name in given else own for name in names}
    return methods.KDMTL(
        network=network,
        tasks=tuple(plan.tasks),
        adaptors=distill.Adaptors(tuple(names), tuple(distillation.points), DTYPES[config.compute_dtype]),
        teachers={name: build_network(spec, names=[name])[0] for name, spec in specs.items()},
        points=tuple(distillation.points),
        weights={name: distillation.weights[name] for name in names},
        teacher_batch_stats=distillation.teacher_batch_stats,
    )


def _self_distillation(config: ConfigDict, network: nn.Module, plan: Plan) -> methods.Method:
    sd = config.self_distillation
    # Without distillation nothing is compared, so nothing is computed for it either.
    distilled = plan.tasks if plan.method == 'sd_mtcnn' else []
    return methods.SelfDistillation(
        network=network,
        tasks=tuple(plan.tasks),
        supervised=OBJECTIVES[sd.objective],
        distances=_distances(config.self_distillation, distilled),
        weights={task.name: sd.weight for task in distilled},
        stop_teacher_gradient=sd.stop_teacher_gradient,
    )


def _traditional_kd(config: ConfigDict, network: nn.Module, plan: Plan) -> methods.Method:
    teacher, _ = build_network(model_spec(config, [task.name for task in plan.tasks], 'uniform'))
    return methods.TraditionalKD(
        network=network,
        tasks=tuple(plan.tasks),
        supervised=(STUDENT,),
        distances=_distances(config.self_distillation, plan.tasks),
        weights={task.name: config.self_distillation.weight for task in plan.tasks},
        teacher=teacher,
    )


def _bam(config: ConfigDict, network: nn.Module, plan: Plan) -> methods.Method:
    own = model_spec(config, [], 'stl')
    given = plan.given
    specs = {
        task.name: _teacher_spec(given[task.name], task.name, own) if task.name in given else own for task in plan.tasks
    }
    return methods.BAM(
        network=network,
        tasks=tuple(plan.tasks),
        distances=_distances(config.bam, plan.tasks),
        weights={task.name: config.bam.weight for task in plan.tasks},
        teachers={name: build_network(spec, names=[name])[0] for name, spec in specs.items()},
        annealing=config.bam.annealing,
    )


METHODS: Mapping[str, Callable[[ConfigDict, nn.Module, Plan], methods.Method]] = {
    'stl': _supervised,
    'kd_mtl': _kd_mtl,
    'bam': _bam,
    'sd_mtcnn': _self_distillation,
    'no_distillation': _self_distillation,
    'traditional_kd': _traditional_kd,
}


def _distances(section: ConfigDict, chosen: Sequence[Task]) -> dict[str, Any]:
    kinds = {'kl': DIRECTIONS[section.kl_direction], 'l2': 'squared_l2' if section.squared else 'l2'}
    return {task.name: task.distances[kinds[section.distances[task.name]]] for task in chosen}


def _teacher_spec(folder: Path, task: str, own: Mapping[str, Any], points: Sequence[str] = ()) -> dict[str, Any]:
    """The teacher in `folder`: of any backbone and widths that take the images of `own` and have features `points`."""
    spec = {**load_model(folder)[0], 'compute_dtype': own['compute_dtype']}
    if spec.get('branches', [MAIN]) != [MAIN]:
        raise UserError(
            f'`teachers.{task}` is {folder}, which has the branches {", ".join(spec["branches"])}; give a single-task '
            'network (method=stl).'
        )
    if spec['tasks'] != [task]:
        raise UserError(
            f'`teachers.{task}` is {folder}, which predicts {", ".join(spec["tasks"])}; give a network of {task} alone.'
        )
    classes, known = build_task(task, spec).channels, build_task(task, own).channels
    if classes != known:
        raise UserError(f'`teachers.{task}` is {folder}, a network for {classes} classes; the data has {known}.')
    sizes = [(s['data']['height'], s['data']['width']) for s in (spec, own)]
    teacher = BACKBONES[choice('backbone', spec['backbone'], tuple(BACKBONES))]
    if any(pixels % teacher.STRIDE for pixels in sizes[1]):
        raise UserError(
            f'`teachers.{task}` is a {spec["backbone"]}, for images in multiples of {teacher.STRIDE}; the data has '
            f'{sizes[1]}. Change `data.height` and `data.width`.'
        )
    if predicts_images(own['backbone']) and sizes[0] != sizes[1]:
        raise UserError(f'`teachers.{task}` is {folder}, a network for images of {sizes[0]}; the data has {sizes[1]}.')
    lacking = [point for point in points if point not in teacher.POINTS]
    if lacking:
        raise UserError(
            f'`teachers.{task}` is a {spec["backbone"]}, which has features at {", ".join(teacher.POINTS)} and not at '
            f'{", ".join(lacking)}; give another teacher or change `distillation.points`.'
        )
    return spec


def model_spec(config: ConfigDict, names: Sequence[str], method: str) -> dict[str, Any]:
    """What a model folder says of the network that `method` trains for the tasks `names`."""
    spec = {
        'backbone': config.backbone,
        'widths': list(config.widths),
        'tasks': list(names),
        'classes': config.data.to_dict()['classes'],
        'depth_maximum': config.data.get('depth_maximum', 10.0),
        'compute_dtype': config.compute_dtype,
        'data': data_settings(config),
    }
    if not is_self_distilled(config.backbone):
        return spec
    sd = config.self_distillation
    branches = [MAIN]
    if method in SELF_DISTILLED:
        branches = [TEACHER, STUDENT, *(b for b in OBJECTIVES[sd.objective] if b == ENSEMBLE)]
    elif method == 'traditional_kd':
        branches = [STUDENT]
    return spec | {
        'branches': branches,
        'attention': sd.attention,
        'student_widths': list(sd.student_widths),
        'renormalise_normals': sd.renormalise_normals,
    }


def _data_identity(config: ConfigDict, data: StageData) -> dict[str, Any]:
    """The data's settings, and how it was made: NYUv2 prepared from different files is different data."""
    return {**data_settings(config), 'made': dict(data.made)}


def _settings(config: ConfigDict, plan: Plan, names: Sequence[str], data: StageData) -> dict[str, Any]:
    """What decides the outcome of a stage. Where data lie, how often things are logged and on what is left out."""
    fields, method = config.to_dict(), plan.method
    made = _data_identity(config, data)
    optimisation = ('learning_rate', 'halve_at_epochs', 'epochs', 'batch_size')
    common = ('backbone', 'widths', 'compute_dtype', 'seed', 'selection', *optimisation)
    settings = {'method': method, 'tasks': list(names), 'data': made, **{k: fields[k] for k in common}}
    if config.decay_every_epochs:
        settings |= {k: fields[k] for k in ('decay_every_epochs', 'decay_factor')}
    if selection.rule_named(config.selection).needs_validation:
        settings['evaluate_every_epochs'] = fields['evaluate_every_epochs']
    if is_self_distilled(config.backbone):
        settings['attention'] = fields['self_distillation']['attention']
    if method != 'stl':
        settings |= weighting_settings(config, method, names)
    if method == 'kd_mtl':
        distillation = {**fields['distillation'], 'weights': {n: config.distillation.weights[n] for n in names}}
        settings['distillation'] = distillation
        settings |= {k: fields[k] for k in ('adaptor_learning_rate', 'adaptor_l2')}
    if method == 'bam':
        settings['bam'] = {**fields['bam'], 'distances': {n: fields['bam']['distances'][n] for n in names}}
    if method in WITH_SINGLE_TASK_TEACHERS:
        given = plan.given
        settings['teachers'] = {n: weights_digest(given[n]) if n in given else 'trained here' for n in names}
    if method in (*SELF_DISTILLED, 'traditional_kd'):
        sd = fields['self_distillation']
        read = {key: sd[key] for key in READ_BY[method]}
        if 'distances' in read:
            read['distances'] = {n: sd['distances'][n] for n in names}
        settings['self_distillation'] = read
    return settings


def _seed(seed: int, purpose: str) -> int:
    """Teachers start from different points, and multi-task methods of one seed all from the same."""
    return zlib.crc32(f'{seed}/{purpose}'.encode())
