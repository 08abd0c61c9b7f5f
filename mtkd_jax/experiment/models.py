"""Networks and tasks from what a model folder says of them, and model folders opened whole."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from absl import logging

from mtkd_jax import datasets, models
from mtkd_jax.names import choice
from mtkd_jax.records import MODEL
from mtkd_jax.tasks import Task
from mtkd_jax.training.folder import load_model
from mtkd_jax.types import MAIN, UserError, Variables

DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


class Opened(NamedTuple):
    """A model folder: what it says of the network, the network, its tasks, its variables."""

    spec: dict[str, Any]
    network: nn.Module
    tasks: list[Task]
    variables: Variables


def open_model(folder: Path, *, allow_modules: bool | Collection[str] = False, branch: str | None = None) -> Opened:
    """Opens a model folder.

    Args:
        folder: written by training or by `convert`.
        allow_modules: whether a Python module that the folder names (a backbone or data set of somebody's own) may be
            imported, which runs its code; or the names of those that may.
        branch: the network computes this branch alone.

    Raises:
        UserError: it is no model folder, names a module that is not allowed, or has no such branch.
    """
    spec, variables = load_model(folder)
    check_modules(spec, folder, allow_modules)
    network, tasks = build_network(spec, branches=[branch] if branch else None)
    return Opened(spec, network, tasks, variables)


def branches_of(folder: Path) -> list[str]:
    """The branches of a model folder's network; no module that it names is imported.

    Raises:
        UserError: it is no model folder, or is damaged.
    """
    return _branches(load_model(folder)[0])


def _branches(spec: Mapping[str, Any]) -> list[str]:
    return list(spec['network'].get('branches', [MAIN]))


def check_modules(spec: Mapping[str, Any], folder: Path, allowed: bool | Collection[str]) -> None:
    """Raises a UserError where `spec` names a Python module that may not be imported; logs those that will be."""
    known = (
        ('backbone', spec['backbone'], models.BACKBONES),
        ('data.dataset', spec['data']['dataset'], datasets.NAMES),
    )
    for field, name, inside in known:
        if name in inside:
            continue
        if allowed is False or (allowed is not True and name not in allowed):
            raise UserError(
                f'{folder} names the Python module {name!r} (`{field}`), and to import a module runs its code. If you '
                'trust it, allow it: --allow_modules, or allow_modules=True.'
            )
        if allowed is True:
            logging.warning('Importing the Python module %r, which %s names as its `%s`.', name, folder, field)


def build_tasks(spec: Mapping[str, Any], names: Sequence[str] | None = None) -> list[Task]:
    """The tasks of a model folder's `spec`, or those called `names`, in their order."""
    offered = datasets.named(spec['data']['dataset']).tasks(spec['data'])
    wanted = spec['tasks'] if names is None else names
    return [offered[choice('tasks', name, tuple(offered))] for name in wanted]


def tasks_of_stage(folder: Path, stage: Mapping[str, Any], allow_modules: bool = False) -> list[Task]:
    """The tasks of a finished stage: from its model, or, where only its results were kept, from the settings in them.

    [] where they have none: those of a given teacher, or of the first versions.

    Args:
        folder: of the stage.
        stage: its results.
        allow_modules: see `open_model`.

    Raises:
        UserError: see `open_model`.
    """
    model, settings = folder / MODEL, stage.get('settings') or {}
    if (model / 'model.json').is_file():
        spec, _ = load_model(model)
        check_modules(spec, model, allow_modules)
        return build_tasks(spec)
    if not {'backbone', 'data'} <= settings.keys():
        return []
    check_modules(settings, folder, allow_modules)
    return build_tasks(settings, stage['tasks'])


def build_network(
    spec: Mapping[str, Any], names: Sequence[str] | None = None, branches: Sequence[str] | None = None
) -> tuple[nn.Module, list[Task]]:
    """The network that a model folder's `spec` describes, and its tasks.

    `names`: only these tasks; `branches`: only these of a network that has several.

    Raises:
        UserError: the network does not have such a branch, or the backbone no such settings.
    """
    tasks = build_tasks(spec, names)
    options = dict(spec['network'])
    for branch in branches or ():
        choice('branch', branch, _branches(spec))
    if branches and 'branches' in options:
        options['branches'] = branches
    dtype = DTYPES[choice('compute_dtype', spec['compute_dtype'], tuple(DTYPES))]
    try:
        return make_network(models.named(spec['backbone']), tasks, spec['widths'], dtype, options), tasks
    except TypeError as error:
        raise UserError(
            f'The backbone {spec["backbone"]} cannot be made with the settings {options} ({error}); train it again.'
        ) from error


def make_network(
    backbone: Any, tasks: Sequence[Task], widths: Sequence[int], dtype: Any, options: Mapping[str, Any]
) -> nn.Module:
    """A network of the class `backbone`; lists among `options` become tuples, because modules are compared by value."""
    plain = {name: tuple(value) if isinstance(value, list | tuple) else value for name, value in options.items()}
    sized = {'widths': tuple(widths)} if widths else {}
    return backbone(tasks=tuple(tasks), dtype=dtype, **sized, **plain)


def check_fits(spec: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """Raises a UserError unless `variables` have the names and shapes of the network that `spec` describes."""
    network, _ = build_network(spec)
    image = jax.ShapeDtypeStruct((1, spec['data']['height'], spec['data']['width'], 3), jnp.float32)
    expected = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), image)
    shapes = jax.tree.map(jnp.shape, dict(expected)), jax.tree.map(jnp.shape, dict(variables))
    if shapes[0] != shapes[1]:
        raise UserError(f'The weights do not fit a {spec["backbone"]} of widths {spec["widths"]} with {spec["tasks"]}.')
