"""Tasks and networks, from what a config or a model folder says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtkd_jax import models, tasks
from mtkd_jax.data.builders import class_names
from mtkd_jax.tasks import Task
from mtkd_jax.types import UserError

BACKBONES = {'segnet': models.SegNet}
DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
TASKS = ('segmentation', 'depth', 'normals')


def choice(field: str, value: str, options: Sequence[str]) -> str:
    """`value`, when it is one of `options`; otherwise a `UserError` that lists them."""
    if value not in options:
        raise UserError(f'`{field}` is {value!r}; choose one of {", ".join(options)}.')
    return value


def build_task(name: str, classes: int, depth_maximum: float, class_names: Sequence[str] = ()) -> Task:
    """The task called `name`, for a data set with that many classes; for pictures: that depth and those class names."""
    choice('tasks', name, TASKS)
    if name == 'segmentation':
        return tasks.segmentation(classes, class_names)
    return tasks.depth(depth_maximum) if name == 'depth' else tasks.normals()


def build_network(spec: Mapping[str, Any], names: Sequence[str] | None = None) -> tuple[nn.Module, list[Task]]:
    """The network that a model folder's `spec` describes, and its tasks (or only those in `names`).

    With `names` empty the network ends at its features.
    """
    backbone = BACKBONES[choice('backbone', spec['backbone'], tuple(BACKBONES))]
    wanted = spec['tasks'] if names is None else names
    known = class_names(spec['data']['dataset'], spec['classes'])
    chosen = [build_task(name, spec['classes'], spec['depth_maximum'], known) for name in wanted]
    dtype = DTYPES[choice('compute_dtype', spec['compute_dtype'], tuple(DTYPES))]
    return backbone(tasks=tuple(chosen), widths=tuple(spec['widths']), dtype=dtype), chosen


def check_fits(spec: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """Raises a `UserError` unless `variables` have the names and shapes of the network that `spec` describes."""
    network, _ = build_network(spec)
    image = jax.ShapeDtypeStruct((1, network.STRIDE, network.STRIDE, 3), jnp.float32)
    expected = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), image)
    shapes = jax.tree.map(jnp.shape, dict(expected)), jax.tree.map(jnp.shape, dict(variables))
    if shapes[0] != shapes[1]:
        raise UserError(f'The weights do not fit a {spec["backbone"]} of widths {spec["widths"]} with {spec["tasks"]}.')
