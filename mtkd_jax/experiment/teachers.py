"""Frozen teachers: what they compute in, and whether what they say can be kept."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtkd_jax.experiment.models import DTYPES
from mtkd_jax.methods import Method
from mtkd_jax.methods.plan import Plan, Stages, field_name
from mtkd_jax.names import choice
from mtkd_jax.training import processes, sharding
from mtkd_jax.types import UserError

AUTO = 'auto'


def check_cache(config: ConfigDict, planned: Stages) -> None:
    """Raises a UserError where a cache is asked for, and what teachers say of an image is not always the same."""
    if config.cache_teachers in ('auto', 'off'):
        return
    off = "set `cache_teachers` to 'auto' or 'off'."
    what = f'`cache_teachers` is {config.cache_teachers!r}'
    if config.cache_teachers == 'disk' and processes.several():
        raise UserError(f"{what}, which is for one process, and these are several; set it to 'auto' or 'memory'.")
    _check_evaluation_mode(what, off, config, _taught(planned))
    if config.data.get('augment', 'none') != 'none':
        raise UserError(
            f'{what}, but `data.augment` is {config.data.augment!r}: teachers see other images in every epoch; {off}'
        )


def check_dtype(config: ConfigDict, planned: Stages) -> None:
    """Raises a UserError where teachers are to compute in another type than the network, and cannot."""
    choice('teacher_dtype', config.teacher_dtype, (AUTO, *DTYPES))
    if config.teacher_dtype in (AUTO, config.compute_dtype):
        return
    what, methods = f'`teacher_dtype` is {config.teacher_dtype!r}', _taught(planned)
    same = f"set it to 'auto' or to `compute_dtype`, {config.compute_dtype!r}."
    _check_evaluation_mode(what, same, config, methods)
    if any(method.teachers_in(DTYPES[config.teacher_dtype]) is method for method in methods):
        raise UserError(
            f'{what}, but {config.method} has no `teachers_in`, which gives teachers of another type; {same}'
        )


def dtype_of(config: ConfigDict, plan: Plan, before: Mapping[str, Any] | None, mesh: Mesh) -> str:
    """What the teachers of a stage compute in: float32 or bfloat16; without teachers, `compute_dtype`.

    `before`: the settings with which the stage was begun; None where it is not. What `auto` meant there, it means now.
    """
    own: str = config.compute_dtype
    if not plan.teachers:
        return own
    if config.teacher_dtype != AUTO:
        return config.teacher_dtype
    if before is not None:
        return before.get('teacher_dtype', own)
    able = plan.teachers and plan.method.teaches_one_by_one and plan.method.teachers_in(None) is not plan.method
    return 'bfloat16' if able and sharding.accelerated(mesh) else own


def with_dtype(config: ConfigDict, plan: Plan, dtype: str) -> Plan:
    """The same stage, its teachers computing in `dtype`."""
    if dtype == config.compute_dtype:
        return plan
    return dataclasses.replace(plan, method=plan.method.teachers_in(DTYPES[dtype]))


def _taught(planned: Stages) -> list[Method]:
    return [plan.method for plan in planned if isinstance(plan, Plan) and plan.teachers]


def _check_evaluation_mode(what: str, remedy: str, config: ConfigDict, methods: Sequence[Method]) -> None:
    """Raises a UserError unless there are teachers, which treat images one by one."""
    if not methods:
        raise UserError(f'{what}, but {config.method} has no teachers; {remedy}')
    if not all(method.teaches_one_by_one for method in methods):
        raise UserError(
            f'{what}, but teachers normalise with the statistics of the batch (`{field_name("teacher_batch_stats")}`), '
            f'so what they say of an image changes; {remedy}'
        )
