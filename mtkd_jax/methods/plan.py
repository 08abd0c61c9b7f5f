"""From a method's settings to its stages: the parts that a method's file is made of.

A method is a module with `Settings`, a frozen dataclass whose fields are `config.method_settings`, and
`stages(settings, run)`, its stages in order. One outside the package is named by its module.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn

from mtkd_jax.methods.method import Method
from mtkd_jax.models.backbone import branches
from mtkd_jax.tasks import Task
from mtkd_jax.types import ENSEMBLE, MAIN, STUDENT, TEACHER, UserError


@dataclass(frozen=True)
class Given:
    """A trained single-task network: its folder, what that says of it, the network, and a digest of its weights."""

    folder: Path
    spec: Mapping[str, Any]
    network: nn.Module
    digest: str


@dataclass(frozen=True)
class Run:
    """What a method may build its stages from.

    Attributes:
        tasks: those that the run learns, in order.
        backbone: the class of the networks.
        dtype: what they compute in.
        weighting: how tasks are balanced, in the words of a stage's name (`uniform`, `mgda_features`).
        network: (tasks, **options) → a network of the run's backbone and widths; options are fields of the class.
        given: (task, folder) → the trained single-task network in a model folder. It raises a UserError where the
            folder holds none of that task, or one for other classes.
    """

    tasks: tuple[Task, ...]
    backbone: Any
    dtype: Any
    weighting: str
    network: Callable[..., nn.Module]
    given: Callable[[Task, Path], Given]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(task.name for task in self.tasks)

    def named(self, stage: str) -> str:
        """`stage`, and behind it how its tasks are balanced: `kd_mtl`, `kd_mtl_dwa`."""
        return stage if self.weighting == 'uniform' else f'{stage}_{self.weighting}'


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One stage that trains, as its method describes it.

    Attributes:
        name: its folder.
        kind: the method whose losses it minimises; single-task stages are `stl` wherever they stand.
        method: what is minimised.
        network: options of its network, fields of the backbone's class such as `branches`; JSON.
        teachers: key of `frozen` → the stage of this run, or the model folder, that has its variables.
        settings: the method's settings that decide its outcome, as JSON.
        balance: `run`: by the run's weighting; `uniform`; `none`: single-task, not even constant task weights.
    """

    name: str
    kind: str
    method: Method
    network: Mapping[str, Any] = field(default_factory=dict)
    teachers: Mapping[str, str | Path] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    balance: Literal['run', 'uniform', 'none'] = 'run'


@dataclass(frozen=True)
class GivenPlan:
    """A single-task stage whose network exists already: it is evaluated, not trained."""

    name: str
    task: Task
    given: Given


Stages = list[Plan | GivenPlan]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A method's own settings; a method without any uses this class."""

    @classmethod
    def defaults(cls, tasks: Sequence[Task], backbone: Any) -> 'Settings':
        """The settings for these tasks and this class of networks, before a config changes them."""
        return cls()

    def check(self, run: Run) -> None:
        """Raises a UserError that names the first field that does not fit, its value and the remedy."""

    def record(self) -> dict[str, Any]:
        """All fields, as JSON."""
        return dataclasses.asdict(self)

    def space(self, run: Run) -> Mapping[str, Sequence[float]]:
        """The main setting: the name of each of its fields, and the values that a search tries; {}: there is none."""
        return {}


def field_name(name: str) -> str:
    """What a setting is called in messages."""
    return f'method_settings.{name}'


def check_factor(name: str, value: float) -> None:
    """Raises a UserError unless `value` may stand in front of a loss: finite, not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f'`{field_name(name)}` is {value}; give a finite number, 0 or more.')


def check_per_task(name: str, values: Mapping[str, Any], run: Run) -> None:
    """Raises a UserError unless there is exactly one of `values` for every task of the run."""
    missing, unknown = set(run.names) - set(values), set(values) - set(run.names)
    if missing:
        raise UserError(f'`{field_name(name)}` has no entry for {", ".join(sorted(missing))}; give one per task.')
    if unknown:
        raise UserError(
            f'`{field_name(name)}` has {", ".join(sorted(unknown))}; the tasks are {", ".join(run.names)}. Leave out '
            'what is no task of the run.'
        )


def check_branches(run: Run, method: str) -> None:
    """Raises a UserError unless networks of the run's backbone have teacher and student branches."""
    if not {TEACHER, STUDENT} <= set(branches(run.backbone)):
        raise UserError(
            f'`backbone` is {called(run.backbone)!r}, which has no teacher and student '
            f'branches; {method} needs one that has, such as segnet_sd or unet_sd.'
        )


def called(backbone: Any) -> str:
    """What a backbone is called in messages."""
    return getattr(backbone, 'NAME', backbone.__name__)


def deployments(network: Mapping[str, Any]) -> dict[str, list[str]]:
    """What can be deployed of a network with these options: every branch alone, and teacher and student together."""
    found = list(network.get('branches', [MAIN]))
    both = {f'{TEACHER} + {STUDENT}': [TEACHER, STUDENT]} if {TEACHER, STUDENT} <= set(found) else {}
    return {**{branch: [branch] for branch in found if branch != ENSEMBLE}, **both}
