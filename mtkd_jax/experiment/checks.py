"""What a config must satisfy before anything is built from it."""

import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mtkd_jax import datasets, models
from mtkd_jax.data.augment import PRESETS
from mtkd_jax.experiment import balance, class_weights
from mtkd_jax.experiment.kinds import LEAST, check_given, check_kind, check_values
from mtkd_jax.experiment.models import DTYPES
from mtkd_jax.experiment.plans import method_settings, run_of
from mtkd_jax.models import backbone as backbones
from mtkd_jax.names import choice, optional
from mtkd_jax.reporting import writers
from mtkd_jax.training import optimizer, selection, taught
from mtkd_jax.types import UserError
from mtkd_jax.weighting import registry

PLACEMENTS = ('auto', 'device', 'host')

LARGEST_BATCH = 2**31
"""Pixels of a batch: more than any device holds."""


def check(config: ConfigDict) -> None:
    """Raises a `UserError` that names the first field that does not fit, its value and the remedy."""
    check_given(config)
    check_values(config)
    _check_data(config)
    dataset = datasets.named(config.data.dataset)
    if len(set(config.tasks)) != len(config.tasks) or not config.tasks:
        raise UserError(f'`tasks` is {config.tasks}; name each task once, at least one.')
    for name in config.tasks:
        choice('tasks', name, dataset.task_names)
    dataset.check(config.data.to_dict())
    _check_sections(config)
    _check_backbone(config)
    choice('compute_dtype', config.compute_dtype, tuple(DTYPES))
    for field, smallest in LEAST.items():
        if config[field] < smallest:
            raise UserError(f'`{field}` is {config[field]}; it must be at least {smallest}.')
    _check_seeds(config)
    writers.check(config.writers)
    _check_optimisation(config)
    _check_task_weights(config)
    run = run_of(config)
    method_settings(config).check(run)
    balance.check(config, run.backbone)
    _check_selection(config, dataset.own_validation)
    _check_augment(config)
    class_weights.check(run.tasks, choice('class_weights', config.class_weights, class_weights.CHOICES))
    choice('data.placement', config.data.placement, PLACEMENTS)
    choice('cache_teachers', config.cache_teachers, taught.CHOICES)
    choice('cache_dtype', config.cache_dtype, taught.DTYPES)
    if config.cache_dtype != 'float32' and config.cache_teachers not in ('memory', 'disk'):
        raise UserError(
            f'`cache_dtype` is {config.cache_dtype!r}, which decides results, but `cache_teachers` is '
            f"{config.cache_teachers!r}; set that to 'memory' or 'disk'."
        )


def _check_data(config: ConfigDict) -> None:
    """What every data set needs of its fields, before it reads them."""
    data = config.data
    if data.dataset in datasets.NAMES:
        classes = data.get('classes', 2)
        if isinstance(classes, int) and classes < 2:
            raise UserError(f'`data.classes` is {data.classes}; give at least 2.')
        if data.get('depth_maximum', 1) <= 0:
            raise UserError(f'`data.depth_maximum` is {data.depth_maximum}; give a positive number.')
    for field in ('batch_size', 'eval_batch_size'):
        pixels = data.height * data.width * config[field]
        if pixels >= LARGEST_BATCH:
            raise UserError(
                f'`{field}` {config[field]} of {data.height} x {data.width} has {pixels} pixels; give smaller images '
                'or batches, below 2**31 pixels.'
            )
    if not 0 <= config.data.validation_fraction < 1:
        raise UserError(
            f'`data.validation_fraction` is {config.data.validation_fraction}; give a share from 0 (none) to below 1.'
        )
    for field, least in (('read_threads', 1), ('read_workers', 0)):
        if config.data[field] < least:
            raise UserError(f'`data.{field}` is {config.data[field]}; it must be at least {least}.')


def _check_sections(config: ConfigDict) -> None:
    """Sections belong to the choices of the recipe. After a change in Python, they may belong to another choice."""
    method_settings(config)
    if ('weighting' in config) != (config.method != 'stl'):
        raise UserError(
            f'`method` is {config.method!r}, but the config was made for another; choose it in the recipe: '
            f'--config=FILE:method={config.method}.'
        )
    expected = {
        'backbone': backbones.settings(models.named(config.backbone)),
        'optimizer': optimizer.settings(optimizer.OPTIMIZERS[choice('optimizer', config.optimizer, _optimizers())]),
        'schedule': optimizer.settings(optimizer.SCHEDULES[choice('schedule', config.schedule, _schedules())]),
    }
    if 'weighting' in config:
        expected['weighting'] = registry.settings(config.weighting)
    for field, settings in expected.items():
        if set(config[f'{field}_settings'].to_dict()) != set(settings):
            raise UserError(
                f'`{field}` is {config[field]!r}, but `{field}_settings` has the fields of another '
                f'({", ".join(config[f"{field}_settings"]) or "none"}); choose it in the recipe: '
                f'--config=FILE:{field}={config[field]}.'
            )
        for name, default in settings.items():
            if config[f'{field}_settings'][name] is not None:
                like = _of_optional(config, name) if field == 'weighting' and default is None else default
                check_kind(f'{field}_settings.{name}', config[f'{field}_settings'][name], like)


def _of_optional(config: ConfigDict, name: str) -> Any:
    """A value of the kind that a setting of the weighting has where it is not None."""
    kind = optional(registry.kinds(config.weighting).get(name))
    return None if kind is None else kind()


def _optimizers() -> tuple[str, ...]:
    return tuple(optimizer.OPTIMIZERS)


def _schedules() -> tuple[str, ...]:
    return tuple(optimizer.SCHEDULES)


def _check_backbone(config: ConfigDict) -> None:
    backbone, data = models.named(config.backbone), config.data
    for field in ('height', 'width'):
        if data[field] < backbone.STRIDE or data[field] % backbone.STRIDE:
            raise UserError(
                f'`data.{field}` is {data[field]}; {config.backbone} needs a multiple of {backbone.STRIDE}.'
            )
    if config.remat and 'remat' not in backbones.field_names(backbone):
        raise UserError(
            f'`remat` is True, but {config.backbone} has no field `remat`; set it to False, or give the class that '
            'field (`models.blocks.recomputed`).'
        )
    needed = len(backbones.default_widths(backbone))
    if len(config.widths) != needed or not all(isinstance(width, int) and width >= 1 for width in config.widths):
        raise UserError(f'`widths` is {config.widths}; {config.backbone} needs {needed} positive whole numbers.')
    tasks = datasets.named(data.dataset).tasks(data.to_dict())
    for name in config.tasks:
        per_image = tasks[name].words is not None
        if per_image != backbones.per_image(backbone):
            fitting = [name for name, found in models.BACKBONES.items() if backbones.per_image(found) == per_image]
            raise UserError(f'`backbone` is {config.backbone!r}; {name} needs one of {", ".join(fitting)}.')


def _check_seeds(config: ConfigDict) -> None:
    seeds = tuple(config.seeds)
    if len(set(seeds)) != len(seeds) or any(seed < 0 for seed in seeds):
        raise UserError(f'`seeds` is {seeds}; give each seed once, 0 or more.')
    if seeds and config.seed:
        raise UserError(f'`seed` is {config.seed}, but `seeds` is {seeds}; give one of them.')


def _check_optimisation(config: ConfigDict) -> None:
    if not (math.isfinite(config.learning_rate) and config.learning_rate > 0):
        raise UserError(f'`learning_rate` is {config.learning_rate}; it must be positive and finite.')
    for section in ('optimizer_settings', 'schedule_settings'):
        optimizer.check(section, config[section].to_dict())
    if not (math.isfinite(config.clip_norm) and config.clip_norm >= 0):
        raise UserError(f'`clip_norm` is {config.clip_norm}; give a finite norm, or 0 for none.')
    if not 0 <= config.ema_decay < 1:
        raise UserError(f'`ema_decay` is {config.ema_decay}; give a share from 0 (no averages) to below 1.')


def _check_task_weights(config: ConfigDict) -> None:
    if 'task_weights' not in config:
        return
    weights: Mapping[str, float] = config.task_weights.to_dict()
    if set(weights) != set(config.tasks):
        raise UserError(
            f'`task_weights` has entries for {", ".join(weights) or "no task"}; the tasks are '
            f'{", ".join(config.tasks)}. Choose tasks in the recipe: --config=FILE:tasks={"+".join(config.tasks)}.'
        )
    for task, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f'`task_weights.{task}` is {weight}; give a finite number, 0 or more.')
    if not any(weights.values()):
        raise UserError('`task_weights` are all 0, so nothing would be learned; give at least one task a weight.')


def _check_selection(config: ConfigDict, own_validation: bool) -> None:
    rule = selection.rule_named(config.selection)
    if config.epochs < rule.epochs:
        raise UserError(
            f'`selection` is {rule.name!r}, which reads {rule.epochs} epochs, but `epochs` is {config.epochs}; '
            "train longer or choose selection='last'."
        )
    if rule.needs_validation and not config.data.validation_fraction and not own_validation:
        raise UserError(
            f'`selection` is {rule.name!r}, but `data.validation_fraction` is 0; set it, for example to 0.1.'
        )
    if rule.keeps_best and config.ema_decay:
        raise UserError(
            f'`selection` is {rule.name!r}, which keeps one epoch, but moving averages (`ema_decay` '
            f"{config.ema_decay}) are kept of the last one only; choose selection='last', or ema_decay=0."
        )


def _check_augment(config: ConfigDict) -> None:
    name = choice('data.augment', config.data.get('augment', 'none'), tuple(PRESETS))
    tasks = datasets.named(config.data.dataset).tasks(config.data.to_dict())
    still = [task for task in config.tasks if tasks[task].move is None]
    if name != 'none' and still:
        raise UserError(
            f'`data.augment` is {name!r}, but a part of an image, or its mirror image, may have another answer in '
            f"{', '.join(still)}; choose 'none'."
        )
