"""What kind of value every field of a config must have: a word, a whole number, a finite number, several of them."""

import math
from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from mtkd_jax import datasets, methods, models
from mtkd_jax.types import UserError
from mtkd_jax.weighting import registry

LEAST = {
    **dict.fromkeys(('epochs', 'evaluate_every_epochs', 'checkpoint_every_epochs', 'log_every_steps'), 1),
    **dict.fromkeys(('accumulate_steps', 'batch_size', 'eval_batch_size'), 1),
    **dict.fromkeys(('seed', 'devices', 'panel_images', 'checkpoint_every_steps', 'diagnose_every_steps'), 0),
    'stages_at_once': 0,
}

KINDS: Mapping[str, Any] = {
    **dict.fromkeys(LEAST, 0),
    **dict.fromkeys(('data.height', 'data.width', 'data.read_threads', 'data.read_workers', 'data.classes'), 0),
    **dict.fromkeys(('learning_rate', 'clip_norm', 'ema_decay'), 0.0),
    **dict.fromkeys(('data.validation_fraction', 'data.depth_maximum'), 0.0),
    **dict.fromkeys(('method', 'weighting', 'backbone', 'optimizer', 'schedule', 'compute_dtype', 'selection'), ''),
    **dict.fromkeys(('data.dataset', 'data.data_dir', 'data.augment', 'data.placement'), ''),
    **dict.fromkeys(('cache_teachers', 'cache_dtype', 'teacher_dtype', 'class_weights', 'continue_from'), ''),
    **dict.fromkeys(('remat', 'fsdp'), False),
    'tasks': ('',),
    'seeds': (0,),
    'writers': ('',),
    'widths': (),
}
"""Fields → a value of the kind that they must have."""

OWN = ('data.classes', 'data.depth_maximum')
"""Fields among these that a data set of one's own may define as it likes."""


def check_given(config: ConfigDict) -> None:
    """Fields that are None though their type is not, or that a data set of one's own has not given."""
    for field in ('height', 'width'):
        if field not in config.data:
            raise UserError(f'`data.{field}` is missing; give it in `DATA` of {config.data.dataset}, or in the config.')
    sections = [name for name in config if name.endswith('_settings')]
    for name, value in config.items():
        if value is None and name not in sections:
            raise UserError(f'`{name}` is None; give it a value, or leave the default.')


def check_values(config: ConfigDict) -> None:
    """Every value of a field that is not a user's own: words, finite numbers, a flat tuple of them; of its kind."""
    own = _own_sections(config)
    for field, value in flatten_dict(config.to_dict(), sep='.').items():
        if field.startswith(own) and (field not in KINDS or field in OWN):
            continue
        if value is None and _kind_of(config, field) is type(None):
            raise UserError(f'`{field}` is None; give it a value, or leave the default.')
        for part in value if isinstance(value, tuple | list) else (value,):
            if part is not None and not isinstance(part, str | int | float):
                raise UserError(f'`{field}` is {value!r}; give words or numbers, or a flat tuple of them.')
            if isinstance(part, float) and not math.isfinite(part):
                raise UserError(f'`{field}` is {value}; give a finite number.')
        if field in KINDS:
            check_kind(field, value, KINDS[field])


def _own_sections(config: ConfigDict) -> tuple[str, ...]:
    """How fields begin that a user's own module declares, which alone knows what they may hold."""
    known = {'method': methods.NAMES, 'weighting': registry.CONSTRUCTORS, 'backbone': models.BACKBONES}
    own = [f'{name}_settings.' for name, inside in known.items() if config.get(name) not in inside]
    return (*own, 'data.') if config.data.get('dataset') not in datasets.NAMES else tuple(own)


def _kind_of(config: ConfigDict, field: str) -> type:
    """The type that a field has; one that may be None has its other type."""
    section, _, name = field.rpartition('.')
    for part in filter(None, section.split('.')):
        config = config[part]
    return config.get_type(name)


def check_kind(field: str, value: Any, like: Any) -> None:
    """Raises a UserError unless `value` is of the kind of `like`: a bool is no number, a whole number is a float."""
    if isinstance(like, tuple | list):
        if not isinstance(value, tuple | list):
            raise UserError(f'`{field}` is {value!r}; give several values, such as (1,).')
        for part in value if like else ():
            check_kind(field, part, like[0])
        return
    kinds: Mapping[type, tuple[Any, str]] = {
        bool: (bool, 'True or False'),
        int: (int, 'a whole number'),
        float: (int | float, 'a number'),
        str: (str, 'a word'),
    }
    if type(like) not in kinds:
        return
    expected, words = kinds[type(like)]
    if not isinstance(value, expected) or isinstance(value, bool) != isinstance(like, bool):
        raise UserError(f'`{field}` is {value!r}; give {words}.')
    if isinstance(value, int) and abs(value) >= 2**31:
        raise UserError(f'`{field}` is {value}; give a number below 2**31.')
