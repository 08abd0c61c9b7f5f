"""`stl`: single-task learning, one network per task (Li & Bilen 2020, eq. 1). The row that Δm is relative to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtkd_jax import places
from mtkd_jax.methods import plan
from mtkd_jax.methods.plan import GivenPlan, Plan, Run, Stages
from mtkd_jax.methods.supervised import Supervised
from mtkd_jax.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Settings(plan.Settings):
    """`teachers`: by task, the model folder of a network that is evaluated instead of trained; '' = it is trained."""

    teachers: Mapping[str, str]

    @classmethod
    def defaults(cls, tasks: Sequence[Task], backbone: Any) -> 'Settings':
        """See `plan.Settings.defaults`."""
        return cls(teachers={task.name: '' for task in tasks})

    def check(self, run: Run) -> None:
        """See `plan.Settings.check`."""
        plan.check_per_task('teachers', self.teachers, run)


def stages(settings: Settings, run: Run) -> Stages:
    """A stage per task."""
    return single_task(settings.teachers, run)


def stage_of(task: str) -> str:
    """The single-task stage of a task."""
    return f'stl_{task}'


def single_task(teachers: Mapping[str, str], run: Run) -> Stages:
    """A stage for every task: its network is trained, or evaluated where `teachers` gives a model folder.

    Every method with single-task teachers begins with these.
    """

    def stage(task: Task) -> Plan | GivenPlan:
        name, folder = stage_of(task.name), teachers[task.name]
        if folder:
            return GivenPlan(name, task, run.given(task, places.place(folder)))
        return Plan(name=name, kind='stl', method=Supervised(run.network([task]), (task,)), balance='none')

    return [stage(task) for task in run.tasks]


@dataclass(frozen=True)
class Teachers:
    """The single-task teachers of a method: their networks, where their variables are, what records say of them."""

    networks: Mapping[str, Any]
    places: Mapping[str, str | Path]
    record: Mapping[str, str]

    @classmethod
    def of(cls, stages: Stages) -> 'Teachers':
        """The teachers that `single_task` gives."""
        networks: dict[str, Any] = {}
        places: dict[str, str | Path] = {}
        record: dict[str, str] = {}
        for stage in stages:
            if isinstance(stage, GivenPlan):
                name, given = stage.task.name, stage.given
                networks[name], places[name], record[name] = given.network, given.folder, given.digest
            else:
                (task,) = stage.method.tasks
                method: Any = stage.method
                networks[task.name], places[task.name], record[task.name] = method.network, stage.name, 'trained here'
        return cls(networks, places, record)
