"""Distillation of predictions, shared by several methods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mtkd_jax import distill
from mtkd_jax.methods import plan
from mtkd_jax.methods.method import Mixture
from mtkd_jax.methods.plan import Run
from mtkd_jax.methods.supervised import Supervised
from mtkd_jax.names import choice
from mtkd_jax.tasks import Task
from mtkd_jax.types import Batch

READINGS: dict[str, dict[str, Any]] = {
    'followed': {'kl_direction': 'teacher_student', 'squared': True, 'stop_teacher_gradient': True},
    'printed': {'kl_direction': 'student_teacher', 'squared': False, 'stop_teacher_gradient': False},
}
"""How eq. 3 and 4 of Jha et al. (2020) are read (papers.md B3): so that the student follows its teacher, as the text
says, or by the letter."""

DIRECTIONS = {'student_teacher': 'kl', 'teacher_student': 'reverse_kl'}
KINDS = ('kl', 'l2')

Distances = Mapping[str, Callable[[Array, Array], Array]]
Predictions = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class PredictionDistillation(Supervised):
    """What self-distillation and traditional distillation share: a distance between predictions for every task.

    Attributes:
        distances: task → per-pixel distance (student, teacher), one of `Task.distances`; its mean over all pixels is
            distilled (papers.md B3), defined or not, of the images that carry a label of the task. Tasks that are not
            in it are not distilled.
        weights: λ by task.
    """

    distances: Distances
    weights: Mapping[str, float]

    def mixture(self, progress: Array) -> Mixture:
        """See `Method.mixture`: constant."""
        return Mixture(1.0, self.weights)

    def distillation(self, student: Predictions, teacher: Predictions, batch: Batch) -> dict[str, Array]:
        """The mean distance of every task that has one."""

        def mean(task: str) -> Array:
            apart = self.distances[task](student[task], teacher[task])
            return distill.average(apart, batch.targets[task].labelled)

        return {task: mean(task) for task in self.distances}


def branch_agreement(tasks: Sequence[Task], student: Predictions, teacher: Predictions) -> dict[str, Array]:
    """`agreement/<task>`, the mean over all pixels of how far student and teacher agree (see `Task.agreement`)."""
    pairs = jax.lax.stop_gradient((student, teacher))
    return {f'agreement/{t.name}': jnp.mean(t.agreement(pairs[0][t.name], pairs[1][t.name])) for t in tasks}


def default_distances(tasks: Sequence[Task]) -> dict[str, str]:
    """By task: `kl` where its predictions are distributions, else `l2` (papers.md A5, B3)."""
    return {task.name: 'kl' if 'kl' in task.distances else 'l2' for task in tasks}


@dataclass(frozen=True, kw_only=True)
class Reading(plan.Settings):
    """The distillation term of Jha et al. (2020), eq. 3 and 4.

    Attributes:
        weight: λ (papers.md B4).
        distances: kl | l2 by task (papers.md B3).
        reading: followed | printed (`READINGS`); sets what is None below.
        kl_direction: student_teacher: KL(student ‖ teacher); teacher_student: KL(teacher ‖ student).
        squared: whether l2 is squared.
    """

    weight: float = 1.0
    distances: Mapping[str, str]
    reading: str = 'followed'
    kl_direction: str | None = None
    squared: bool | None = None

    def space(self, run: Run) -> Mapping[str, Sequence[float]]:
        """See `plan.Settings.space`: λ, which the paper leaves at 1 (papers.md B4)."""
        return {'weight': (0.1, 0.3, 1.0, 3.0, 10.0)}

    @classmethod
    def defaults(cls, tasks: Sequence[Task], backbone: Any) -> 'Reading':
        """See `plan.Settings.defaults`."""
        return cls(distances=default_distances(tasks))

    def check(self, run: Run) -> None:
        """See `plan.Settings.check`."""
        super().check(run)
        choice(plan.field_name('reading'), self.reading, tuple(READINGS))
        plan.check_factor('weight', self.weight)
        check_distances(self.distances, self.read('kl_direction'), run)

    def read(self, field: str) -> Any:
        """A setting, or what the reading says where it is None."""
        value = getattr(self, field)
        return READINGS[self.reading][field] if value is None else value

    def record(self) -> dict[str, Any]:
        """See `plan.Settings.record`: the effective values, however they were set."""
        found = super().record()
        return {name: self.read(name) if value is None else value for name, value in found.items() if name != 'reading'}

    def functions(self, tasks: Sequence[Task]) -> Distances:
        """The distance of every task."""
        return chosen_distances(self.distances, self.read('kl_direction'), self.read('squared'), tasks)


def check_distances(distances: Mapping[str, str], kl_direction: str, run: Run) -> None:
    """Raises a UserError unless every task has a distance that it offers."""
    plan.check_per_task('distances', distances, run)
    choice(plan.field_name('kl_direction'), kl_direction, tuple(DIRECTIONS))
    for task in run.tasks:
        offered = tuple(kind for kind in KINDS if kind in task.distances)
        choice(plan.field_name(f'distances.{task.name}'), distances[task.name], offered)


def chosen_distances(
    distances: Mapping[str, str], kl_direction: str, squared: bool, tasks: Sequence[Task]
) -> Distances:
    """The functions that settings name."""
    kinds = {'kl': DIRECTIONS[kl_direction], 'l2': 'squared_l2' if squared else 'l2'}
    return {task.name: task.distances[kinds[distances[task.name]]] for task in tasks}
