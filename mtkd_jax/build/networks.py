"""Tasks and networks, from what a config or a model folder says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtkd_jax import models, tasks
from mtkd_jax.build.custom import is_custom, tasks_of
from mtkd_jax.data.builders import class_names
from mtkd_jax.tasks import Task
from mtkd_jax.tasks.normals import PLAIN_AXES
from mtkd_jax.types import MAIN, UserError

BACKBONES: dict[str, Any] = {
    'segnet': models.SegNet,
    'segnet_sd': models.SegNetSD,
    'unet_sd': models.UNetSD,
    'mtan': models.MTAN,
    'cross_stitch': models.CrossStitch,
    'dense': models.Dense,
    'split_standard': models.SegNet,  # the MTAN code's name for it
    'split_wide': models.SplitWide,
    'split_deep': models.SplitDeep,
    'lenet_mtl': models.LeNetMTL,
}
DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
TASKS = {
    'nyuv2': ('segmentation', 'depth', 'normals'),
    'cityscapes': ('segmentation', 'depth'),
    'taskonomy': ('segmentation', 'depth', 'normals', 'keypoints', 'edges'),
    'rooms': ('segmentation', 'depth', 'normals', 'keypoints', 'edges'),
    'svhn_omniglot': ('svhn', 'omniglot'),
    'glyphs': ('digits', 'characters'),
}
PER_IMAGE = (*TASKS['svhn_omniglot'], *TASKS['glyphs'])  # one answer for the whole image


def offered(dataset: str) -> tuple[str, ...]:
    """The tasks of a data set.

    Raises:
        UserError: it is neither one that is here nor a module (`build.custom`).
    """
    return tuple(tasks_of(dataset)) if is_custom(dataset) else TASKS[dataset]


def choice(field: str, value: str, options: Sequence[str]) -> str:
    """`value`, when it is one of `options`; otherwise a `UserError` that lists them."""
    if value not in options:
        raise UserError(f'`{field}` is {value!r}; choose one of {", ".join(options)}.')
    return value


def predicts_images(backbone: str) -> bool:
    """Whether networks of this kind give one answer per image, for images of one size; others give one per pixel."""
    return getattr(BACKBONES[backbone], 'PER_IMAGE', False)


def is_self_distilled(backbone: str) -> bool:
    """Whether networks of this kind have a teacher and a student branch."""
    return issubclass(BACKBONES[backbone], models.SelfDistilled)


def build_task(name: str, spec: Mapping[str, Any]) -> Task:
    """The task called `name`.

    Args:
        name: a task of any data set.
        spec: `classes` of segmentation (of tasks by name where there are several) and `depth_maximum` of pictures;
            where known, the data set (`data.dataset`), whether its depth is inverse (`data.depth`), and whether blended
            normals are brought to unit length (`renormalise_normals`).
    """
    dataset = spec.get('data', {}).get('dataset', '')
    if dataset and is_custom(dataset):
        return tasks_of(dataset)[choice('tasks', name, tuple(tasks_of(dataset)))]
    names = sorted({name for offered in TASKS.values() for name in offered})
    if choice('tasks', name, names) == 'segmentation' or name in PER_IMAGE:
        classes = spec['classes'][name] if isinstance(spec['classes'], Mapping) else spec['classes']
        known = class_names(spec['data']['dataset'], name, classes) if 'data' in spec else ()
        return tasks.classification(name, classes, known) if name in PER_IMAGE else tasks.segmentation(classes, known)
    if name == 'depth':
        return tasks.depth(spec['depth_maximum'], inverse=spec.get('data', {}).get('depth') == 'inverse')
    if name == 'normals':
        # Taskonomy's files do not say where their axes point.
        own = {'axes': PLAIN_AXES} if dataset == 'taskonomy' else {}
        return tasks.normals(spec.get('renormalise_normals', False), **own)
    return tasks.keypoints() if name == 'keypoints' else tasks.edges()


def build_network(
    spec: Mapping[str, Any], names: Sequence[str] | None = None, branches: Sequence[str] | None = None
) -> tuple[nn.Module, list[Task]]:
    """The network that a model folder's `spec` describes, and its tasks.

    `names`: only these tasks; `branches`: only these of a self-distilled one.

    Raises:
        UserError: the network does not have such a branch.
    """
    name = choice('backbone', spec['backbone'], tuple(BACKBONES))
    chosen = [build_task(task, spec) for task in (spec['tasks'] if names is None else names)]
    has = spec.get('branches', [MAIN])
    for branch in branches or ():
        choice('branch', branch, has)
    options: dict[str, Any] = {}
    if is_self_distilled(name):
        options = {
            'branches': tuple(branches or has),
            'attention': spec['attention'],
            'student_widths': tuple(spec['student_widths']),
        }
    dtype = DTYPES[choice('compute_dtype', spec['compute_dtype'], tuple(DTYPES))]
    return BACKBONES[name](tasks=tuple(chosen), widths=tuple(spec['widths']), dtype=dtype, **options), chosen


def check_fits(spec: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """Raises a `UserError` unless `variables` have the names and shapes of the network that `spec` describes."""
    network, _ = build_network(spec)
    image = jax.ShapeDtypeStruct((1, spec['data']['height'], spec['data']['width'], 3), jnp.float32)
    expected = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), image)
    shapes = jax.tree.map(jnp.shape, dict(expected)), jax.tree.map(jnp.shape, dict(variables))
    if shapes[0] != shapes[1]:
        raise UserError(f'The weights do not fit a {spec["backbone"]} of widths {spec["widths"]} with {spec["tasks"]}.')
