"""Stages: a method with its network, optimiser, data and schedule."""

import functools
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from mtkd_jax import methods, models, weighting
from mtkd_jax.build.data import data_settings, only
from mtkd_jax.build.networks import DTYPES, build_network
from mtkd_jax.build.paper import differences_from_paper
from mtkd_jax.tasks import Task
from mtkd_jax.training import selection
from mtkd_jax.training.folder import load_model, weights_digest
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.optimizer import make_optimizer
from mtkd_jax.training.stage import Schedule, Stage, StageData
from mtkd_jax.types import UserError


def trained_stage(
    config: ConfigDict,
    name: str,
    stage_tasks: Sequence[Task],
    data: StageData,
    teachers: Mapping[str, Path],
    given: Mapping[str, Path] | None = None,
) -> Stage:
    """A stage that trains: single-task where `name` is `stl_<task>`, with distillation where there are `teachers`."""
    names = [task.name for task in stage_tasks]
    single = name.startswith('stl_')
    spec = _model_spec(config, names)
    network, _ = build_network(spec)
    method: methods.Method = methods.Supervised(network, tuple(stage_tasks))
    if teachers:
        method = _kd_mtl(config, network, stage_tasks, given or {})
    weights = [1.0] if single else [config.task_weights[n] for n in names]
    method_name = 'stl' if single else name
    return Stage(
        name=name,
        method=method,
        weighting=weighting.fixed(weights),
        optimizer=functools.partial(
            _optimizer,
            config.learning_rate,
            tuple(config.halve_at_epochs),
            config.adaptor_learning_rate,
            config.adaptor_l2,
        ),
        data=only(data, stage_tasks),
        schedule=Schedule(
            config.epochs,
            config.evaluate_every_epochs,
            config.log_every_steps,
            config.checkpoint_every_steps,
            selection.rule_named(config.selection),
        ),
        seed=_seed(config.seed, name if single else 'multi_task'),
        teachers=teachers,
        settings=_settings(config, method_name, names, given or {}, data),
        model_spec=spec,
        facts=_facts(config, method_name),
    )


def given_teacher(config: ConfigDict, task: Task, folder: Path, data: StageData) -> GivenTeacher:
    """The stand-in for the single-task stage of `task` when its network is given as a model folder."""
    spec = _teacher_spec(folder, task.name, _model_spec(config, []))
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
    paper, _ = differences_from_paper(config)
    return {
        'method': method,
        'backbone': config.backbone,
        'dataset': config.data.dataset,
        'seed': config.seed,
        'paper': paper and {**paper, 'method': {'kd_mtl': 'kdmtl'}.get(method, method)},
    }


def _optimizer(rate: float, halve: Sequence[float], adaptor_rate: float, l2: float, steps: int) -> Any:
    return make_optimizer(rate, halve, steps, adaptor_rate, l2)


def _kd_mtl(
    config: ConfigDict, network: nn.Module, stage_tasks: Sequence[Task], given: Mapping[str, Path]
) -> methods.KDMTL:
    names = [task.name for task in stage_tasks]
    own = _model_spec(config, [])
    specs = {name: _teacher_spec(given[name], name, own) if name in given else own for name in names}
    distillation = config.distillation
    return methods.KDMTL(
        network=network,
        tasks=tuple(stage_tasks),
        adaptors=models.Adaptors(tuple(names), tuple(distillation.points), DTYPES[config.compute_dtype]),
        teachers={name: build_network(spec, names=[])[0] for name, spec in specs.items()},
        points=tuple(distillation.points),
        weights={name: distillation.weights[name] for name in names},
        teacher_batch_stats=distillation.teacher_batch_stats,
    )


def _teacher_spec(folder: Path, task: str, own: Mapping[str, Any]) -> dict[str, Any]:
    spec = {**load_model(folder)[0], 'compute_dtype': own['compute_dtype']}
    if spec['tasks'] != [task]:
        raise UserError(
            f'`teachers.{task}` is {folder}, which predicts {", ".join(spec["tasks"])}; give a network of {task} alone.'
        )
    if task == 'segmentation' and spec['classes'] != own['classes']:
        raise UserError(
            f'`teachers.{task}` is {folder}, a network for {spec["classes"]} classes; the data has {own["classes"]}.'
        )
    if tuple(spec['widths']) != tuple(own['widths']) or spec['backbone'] != own['backbone']:
        raise UserError(
            f'`teachers.{task}` is a {spec["backbone"]} of widths {spec["widths"]}; the adaptors need features of the '
            f"same size as the network's ({own['backbone']}, {own['widths']})."
        )
    return spec


def _model_spec(config: ConfigDict, names: Sequence[str]) -> dict[str, Any]:
    return {
        'backbone': config.backbone,
        'widths': list(config.widths),
        'tasks': list(names),
        'classes': config.data.classes,
        'depth_maximum': config.data.depth_maximum,
        'compute_dtype': config.compute_dtype,
        'data': data_settings(config),
    }


def _data_identity(config: ConfigDict, data: StageData) -> dict[str, Any]:
    """The data's settings, and how it was made: NYUv2 prepared from different files is different data."""
    return {**data_settings(config), 'made': dict(data.made)}


def _settings(
    config: ConfigDict, method: str, names: Sequence[str], given: Mapping[str, Path], data: StageData
) -> dict[str, Any]:
    """What decides the outcome of a stage. Where data lie, how often things are logged and on what is left out."""
    fields = config.to_dict()
    optimisation = ('learning_rate', 'halve_at_epochs', 'epochs', 'batch_size')
    common = ('backbone', 'widths', 'compute_dtype', 'seed', 'selection', *optimisation)
    made = _data_identity(config, data)
    settings = {'method': method, 'tasks': list(names), 'data': made, **{k: fields[k] for k in common}}
    if selection.rule_named(config.selection).needs_validation:
        settings['evaluate_every_epochs'] = fields['evaluate_every_epochs']
    if method != 'stl':
        settings['task_weights'] = {n: fields['task_weights'][n] for n in names}
    if method == 'kd_mtl':
        distillation = {**fields['distillation'], 'weights': {n: config.distillation.weights[n] for n in names}}
        settings['distillation'] = distillation
        settings |= {k: fields[k] for k in ('adaptor_learning_rate', 'adaptor_l2')}
        settings['teachers'] = {n: weights_digest(given[n]) if n in given else 'trained here' for n in names}
    return settings


def _seed(seed: int, purpose: str) -> int:
    """Teachers start from different points, and multi-task methods of one seed all from the same."""
    return zlib.crc32(f'{seed}/{purpose}'.encode())
