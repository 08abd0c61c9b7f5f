"""From a config to the stages that its method plans: the tasks, the networks, the method's own settings."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtkd_jax import datasets, methods, models
from mtkd_jax.experiment import balance
from mtkd_jax.experiment.models import DTYPES, build_network, build_tasks, check_modules, make_network
from mtkd_jax.experiment.settings import data_settings
from mtkd_jax.methods.plan import Given, Plan, Run, Settings, Stages
from mtkd_jax.models.backbone import per_image
from mtkd_jax.names import choice
from mtkd_jax.tasks import Task
from mtkd_jax.training import sharding
from mtkd_jax.training.folder import load_model, weights_digest
from mtkd_jax.types import MAIN, UserError


def plans(config: ConfigDict, tasks: Sequence[Task] | None = None) -> Stages:
    """The stages of the config's method, in order. `tasks`: those of the config, whose losses may be weighted by class.

    Raises:
        UserError: a setting of the method does not fit, or a given teacher does not.
    """
    return methods.named(config.method).stages(method_settings(config), run_of(config, tasks))


def method_settings(config: ConfigDict) -> Settings:
    """The method's settings as its own class.

    Raises:
        UserError: they are those of another method.
    """
    kind = methods.named(config.method).Settings
    fields, known = config.method_settings.to_dict(), kind.__dataclass_fields__
    if set(fields) != set(known):
        raise UserError(
            f'`method` is {config.method!r}, but `method_settings` has the fields of another method '
            f'({", ".join(fields) or "none"}); choose the method in the recipe: --config=FILE:method={config.method}.'
        )
    return kind(**fields)


def tasks_of(config: ConfigDict) -> tuple[Task, ...]:
    """The tasks that the config learns, in its order."""
    offered = datasets.named(config.data.dataset).tasks(config.data.to_dict())
    return tuple(offered[choice('tasks', name, tuple(offered))] for name in config.tasks)


def run_of(config: ConfigDict, tasks: Sequence[Task] | None = None) -> Run:
    """What the config's method builds its stages from."""
    backbone, dtype = models.named(config.backbone), DTYPES[config.compute_dtype]
    # Of trained networks alone: it is no part of what a model folder says.
    remat = {'remat': True} if config.remat else {}

    def network(tasks: Sequence[Task], **options: Any) -> nn.Module:
        return make_network(backbone, tasks, config.widths, dtype, _network_options(config, options) | remat)

    def given(task: Task, folder: Path) -> Given:
        spec, _ = load_model(folder)
        check_modules(spec, folder, (config.backbone, config.data.dataset))
        _check_given(config, task, folder, spec)
        network, _ = build_network({**spec, 'compute_dtype': config.compute_dtype}, [task.name])
        return Given(folder, spec, network, weights_digest(folder))

    return Run(tuple(tasks or tasks_of(config)), backbone, dtype, balance.name_of(config), network, given)


def model_spec(config: ConfigDict, tasks: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """What a model folder says of a network of the config: `options` are those that the method adds."""
    data = config.data.to_dict()
    free = {name: data[name] for name in datasets.named(config.data.dataset).free if name in data}
    return {
        'backbone': config.backbone,
        'widths': list(config.widths),
        'network': _network_options(config, options),
        'tasks': list(tasks),
        'compute_dtype': config.compute_dtype,
        'data': {**data_settings(config), **free},
        'trained_with': {'method': config.method, 'weighting': balance.name_of(config)},
    }


def stages_at_once(config: ConfigDict, planned: Stages, meshes: Sequence[Mesh], count: int, *, study: bool) -> int:
    """How many stages are trained at the same time on each mesh; `count`: seeds, which share the meshes.

    Raises:
        UserError: `stages_at_once` is more than one, on several devices or in a study.
    """
    asked = config.stages_at_once
    most = sharding.stages_at_once(asked, meshes)
    if study and asked > 1:
        raise UserError(
            f'`stages_at_once` is {asked}, but a study trains one stage at a time; leave it out, and start the same '
            'command several times, with cores or devices for each.'
        )
    seeds = math.ceil(count / len(meshes))  # on a mesh
    alone = study or (seeds == 1 and _in_a_chain(planned))
    return 1 if alone else min(most, seeds * len(planned))


def _in_a_chain(planned: Stages) -> bool:
    """Whether every stage but the first waits for the one before, so that never two can be trained at the same time."""
    behind: dict[str | Path, int] = {}
    for plan in planned:
        teachers = plan.teachers.values() if isinstance(plan, Plan) else ()
        behind[plan.name] = 1 + max((behind.get(name, 0) for name in teachers), default=0)
    return max(behind.values()) == len(planned)


def _network_options(config: ConfigDict, options: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone's settings, and the `options` of the method; where it says nothing, the network is one branch."""
    branch = {'branches': [MAIN]} if hasattr(models.named(config.backbone), 'BRANCHES') else {}
    return {**config.backbone_settings.to_dict(), **branch, **options}


def _check_given(config: ConfigDict, task: Task, folder: Path, spec: Mapping[str, Any]) -> None:
    """Raises a UserError unless the model folder holds a single-task network of `task` for the config's images."""
    field = f'`method_settings.teachers.{task.name}` is {folder}'
    if spec['network'].get('branches', [MAIN]) != [MAIN]:
        branches = ', '.join(spec['network']['branches'])
        raise UserError(f'{field}, which has the branches {branches}; give a single-task network (method=stl).')
    if spec['tasks'] != [task.name]:
        raise UserError(f'{field}, which predicts {", ".join(spec["tasks"])}; give a network of {task.name} alone.')
    (own,) = build_tasks(spec)
    if own.channels != task.channels:
        raise UserError(f'{field}, a network for {own.channels} classes; the data has {task.channels}.')
    teacher = models.named(spec['backbone'])
    if config.data.height % teacher.STRIDE or config.data.width % teacher.STRIDE:
        raise UserError(
            f'{field}, a {spec["backbone"]}, for images in multiples of {teacher.STRIDE}; the data has '
            f'{config.data.height}×{config.data.width}. Change `data.height` and `data.width`.'
        )
    sizes = [(data['height'], data['width']) for data in (spec['data'], config.data)]
    if per_image(teacher) and sizes[0] != sizes[1]:
        raise UserError(f'{field}, a network for images of {sizes[0]}; the data has {sizes[1]}.')
