"""What decides the outcome of a stage, as JSON: recorded with it, compared before it is used again, and with papers."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mtkd_jax import datasets, methods, models, names
from mtkd_jax.experiment import balance, class_weights
from mtkd_jax.methods.plan import Plan
from mtkd_jax.training import selection

COMMON = ('backbone', 'widths', 'compute_dtype', 'seed', 'selection', 'epochs', 'batch_size')
OPTIMISATION = ('optimizer', 'optimizer_settings', 'learning_rate', 'schedule', 'schedule_settings')
# Recorded where they are on.
SWITCHES = ('clip_norm', 'accumulate_steps', 'ema_decay')
# Fields of `data` that do not change what is learned, besides a data set's own.
FREE = ('data_dir', 'read_threads', 'read_workers', 'placement')


def data_settings(config: ConfigDict) -> dict[str, Any]:
    """What identifies the data that a stage learns from."""
    free = (*FREE, *datasets.named(config.data.dataset).free)
    settings = {name: value for name, value in config.data.to_dict().items() if name not in free}
    # Left out where it does nothing, as in data sets that have no such field.
    if settings.get('augment') == 'none':
        del settings['augment']
    return settings


def stage_settings(
    config: ConfigDict, plan: Plan, made: Mapping[str, Any], teachers: str | None = None
) -> dict[str, Any]:
    """Everything that decides the outcome of a stage. The place of the data and the intervals of logging do not.

    `made`: how the data were prepared. NYUv2 prepared from different files is different data. `teachers`: what `auto`
    means for their type; None: the same on both sides that are compared.
    """
    fields = config.to_dict()
    settings = {
        'method': plan.kind,
        'method_settings': dict(plan.settings),
        'tasks': [task.name for task in plan.method.tasks],
        'data': {**data_settings(config), 'made': dict(made)},
        'backbone_settings': fields['backbone_settings'],
        **{name: fields[name] for name in (*COMMON, *OPTIMISATION)},
        **{name: fields[name] for name in SWITCHES if fields[name] > (name == 'accumulate_steps')},
        **balance.record(config, plan.balance),
    }
    if fields['class_weights'] != class_weights.OFF and any(task.class_weighted for task in plan.method.tasks):
        settings['class_weights'] = fields['class_weights']
    if selection.rule_named(config.selection).needs_validation:
        settings['evaluate_every_epochs'] = fields['evaluate_every_epochs']
    if plan.teachers and fields['cache_teachers'] != 'off' and fields['cache_dtype'] != 'float32':
        settings['cache_dtype'] = fields['cache_dtype']
    dtype = teachers or fields['teacher_dtype']
    if plan.teachers and dtype not in ('auto', fields['compute_dtype']):
        settings['teacher_dtype'] = dtype
    used = modules(config, plan)
    return settings | ({'modules': used} if used else {})


def modules(config: ConfigDict, plan: Plan) -> dict[str, str]:
    """The user's modules that a stage is made with, by field, each with a digest of its code."""
    found = balance.modules(config) if plan.balance == 'run' else {}
    named: list[tuple[str, str, Mapping[str, Any], tuple[str, ...]]] = [
        ('backbone', config.backbone, models.BACKBONES, ('Backbone',))
    ]
    # The method's own stages; single-task and vanilla ones are the same in every method.
    if plan.kind not in methods.NAMES:
        named.append(('method', config.method, methods.NAMES, ('Settings', 'stages')))
    for field, name, inside, needed in named:
        if name not in inside:
            found[field] = f'{name} ({names.digest(names.module(field, name, needed, tuple(inside)))})'
    return found
