"""What a backbone is: the network of every method, for any number of tasks."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import flax.linen as nn

from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, UserError

COMMON = ('tasks', 'widths', 'dtype', 'remat', 'branches', 'renormalise', 'student_widths', 'parent', 'name')
"""Fields of a backbone that are not its own settings: they are set for every backbone, or by the method."""


@runtime_checkable
class Backbone(Protocol):
    """A linen module with these fields, called as `network(image [b h w 3], train=...)`; it returns `Outputs`.

    Further fields with defaults are its settings (`config.backbone_settings`). One called `remat` (bool) is needed only
    where a config sets `remat`: then the network computes its parts by way of `blocks.recomputed`.
    A class may have `DISTILLED`, those of its `POINTS` that are distilled where nothing is said; others distil all.

    Attributes:
        tasks: what to predict.
        widths: channels of its blocks; the class's own are the paper's.
        dtype: compute type; parameters and batch statistics stay float32.
        POINTS: names of the feature maps that distillation may read (`Outputs.features`).
        STRIDE: height and width of images must be multiples of it.
        SHARED_FEATURE: the last feature map that all tasks read, which is passed through `blocks.perturbable`; None
            where there is none.
    """

    tasks: Sequence[Task]
    widths: Sequence[int]
    dtype: Any
    POINTS: ClassVar[tuple[str, ...]]
    STRIDE: ClassVar[int]
    SHARED_FEATURE: ClassVar[str | None]

    def own(self, path: tuple[str, ...]) -> str | None:
        """The task that alone owns the parameter at `path`: no other loss reaches it. None: tasks share it."""
        ...


NEEDED = ('POINTS', 'STRIDE', 'SHARED_FEATURE', 'own')


def check_fields(backbone: Any, what: str) -> None:
    """Raises a UserError unless `backbone`, called `what`, is a linen module with the fields that every one has."""
    if not (isinstance(backbone, type) and issubclass(backbone, nn.Module)):
        raise UserError(f'{what} is {backbone!r}; give a class derived from flax.linen.Module.')
    fields = {field.name: field for field in dataclasses.fields(backbone)}
    lacking = [name for name in ('tasks', 'widths', 'dtype') if name not in fields]
    if lacking:
        raise UserError(f'{what} has no field {lacking[0]!r}; it needs tasks, widths and dtype.')
    without = [name for name, f in fields.items() if name not in COMMON and f.default is dataclasses.MISSING]
    if without:
        raise UserError(f'{what} has the field {without[0]!r} without a plain default; give it one.')


def by_child(path: tuple[str, ...], tasks: Iterable[Task], *children: str) -> str | None:
    """`Backbone.own` of a network whose top-level children `children`, with a task's name behind, are that task's own.

    Names are compared whole: a child that merely ends in a task's name is not taken for one.
    """
    owners = {f'{child}_{task.name}': task.name for task in tasks for child in children}
    return owners.get(path[0])


def field_names(backbone: type[nn.Module]) -> tuple[str, ...]:
    """What can be set of it."""
    return tuple(field.name for field in dataclasses.fields(backbone))


def settings(backbone: type[nn.Module]) -> dict[str, Any]:
    """The backbone's own settings with their defaults."""
    fields = [field for field in dataclasses.fields(backbone) if field.name not in COMMON]
    return {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}


def per_image(backbone: type[nn.Module]) -> bool:
    """Whether it gives one answer per image, for images of one size; others give one per pixel."""
    return getattr(backbone, 'PER_IMAGE', False)


def distilled(backbone: Any) -> tuple[str, ...]:
    """The feature maps that are distilled where nothing is said."""
    found: tuple[str, ...] = getattr(backbone, 'DISTILLED', backbone.POINTS)
    return found


def branches(backbone: type[nn.Module]) -> tuple[str, ...]:
    """The branches that it can compute: those of its class, or `main` alone."""
    return getattr(backbone, 'BRANCHES', (MAIN,))


def default_widths(backbone: type[nn.Module]) -> tuple[int, ...]:
    """The paper's widths of it; () where it has none."""
    found: Mapping[str, Any] = {f.name: f.default for f in dataclasses.fields(backbone)}
    return tuple(found.get('widths', ()))
