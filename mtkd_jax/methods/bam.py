"""`bam`: born-again multi-task networks, taught by the predictions of single-task networks (Clark et al. 2019)."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array

from mtkd_jax import models
from mtkd_jax.methods import plan, predictions, stl
from mtkd_jax.methods.method import Method, Mixture, feature_similarity
from mtkd_jax.methods.plan import Plan, Run, Stages
from mtkd_jax.methods.predictions import PredictionDistillation
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Batch, Losses, Outputs, Variables


@dataclass(frozen=True, kw_only=True)
class Settings(plan.Settings):
    """BAM's settings.

    Attributes:
        weight: λ, before annealing.
        annealing: from the teachers to the labels over the training; False: both throughout.
        distances: kl | l2 by task (papers.md A5).
        kl_direction: teacher_student: KL(teacher ‖ network), as the soft cross-entropy of Clark et al. (2019).
        squared: whether l2 is squared.
        teachers: see `stl.Settings`.
    """

    weight: float = 1.0
    annealing: bool = True
    distances: Mapping[str, str]
    kl_direction: str = 'teacher_student'
    squared: bool = True
    teachers: Mapping[str, str]

    @classmethod
    def defaults(cls, tasks: Sequence[Task], backbone: Any) -> 'Settings':
        """See `plan.Settings.defaults`."""
        return cls(distances=predictions.default_distances(tasks), teachers={task.name: '' for task in tasks})

    def check(self, run: Run) -> None:
        """See `plan.Settings.check`."""
        plan.check_factor('weight', self.weight)
        predictions.check_distances(self.distances, self.kl_direction, run)
        plan.check_per_task('teachers', self.teachers, run)

    def space(self, run: Run) -> Mapping[str, Sequence[float]]:
        """See `plan.Settings.space`: λ."""
        return {'weight': (0.1, 0.3, 1.0, 3.0, 10.0)}


def stages(settings: Settings, run: Run) -> Stages:
    """The single-task stages, then the network that they teach."""
    single = stl.single_task(settings.teachers, run)
    teachers = stl.Teachers.of(single)
    method = BAM(
        network=run.network(run.tasks),
        tasks=run.tasks,
        distances=predictions.chosen_distances(settings.distances, settings.kl_direction, settings.squared, run.tasks),
        weights=dict.fromkeys(run.names, settings.weight),
        teachers=teachers.networks,
        annealing=settings.annealing,
    )
    record = {**settings.record(), 'teachers': dict(teachers.record)}
    own = Plan(name=run.named('bam'), kind='bam', method=method, teachers=teachers.places, settings=record)
    return [*single, own]


@dataclass(frozen=True, kw_only=True)
class BAM(PredictionDistillation):
    """Born-again multi-task networks (Clark et al. 2019): Σ_t a ℓ_t(ŷ_t) + (1 - a) λ d_t(ŷ_t, ŷ_t^s), a from 0 to 1.

    ŷ_t^s is the prediction of task t's single-task teacher, whose variables come as `frozen[task]`. Clark et al. mix
    label and teacher in one target; for the cross-entropy and KL(teacher ‖ network) this is the same up to a constant,
    and the form that regression needs (Li & Bilen 2020, section 4).

    Attributes:
        teachers: the frozen single-task network of each task; in evaluation mode.
        annealing: True: a is the share of the training that is done (teacher annealing); False: ℓ_t + λ d_t throughout.
    """

    teachers: Mapping[str, nn.Module]
    annealing: bool = True

    def mixture(self, progress: Array) -> Mixture:
        """See `Method.mixture`: from the teachers to the labels."""
        if not self.annealing:
            return Mixture(1.0, self.weights)
        return Mixture(progress, {task: (1 - progress) * weight for task, weight in self.weights.items()})

    def teach(self, frozen: Variables, image: Array) -> dict[str, Array]:
        """See `Method.teach`: the prediction of each task's teacher."""
        return {t.name: self._taught(t.name, frozen, image).predictions[MAIN][t.name] for t in self.tasks}

    def teachers_in(self, dtype: Any) -> Method:
        """See `Method.teachers_in`."""
        teachers = {task: network.clone(dtype=dtype) for task, network in self.teachers.items()}
        return dataclasses.replace(self, teachers=teachers)

    def losses(self, variables: Variables, taught: Any, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        distillation = self.distillation(outputs.predictions[MAIN], taught, batch)
        return Losses(self.task_losses(outputs, batch), distillation, {}), batch_stats

    def similarity(self, variables: Variables, frozen: Variables, image: Array) -> dict[str, Array]:
        """See `Method.similarity`."""
        own = self.predict(variables, image).features
        return feature_similarity(own, {t.name: self._taught(t.name, frozen, image).features for t in self.tasks})

    def _taught(self, task: str, frozen: Variables, image: Array) -> Outputs:
        return jax.lax.stop_gradient(models.predict(self.teachers[task], frozen[task], image))
