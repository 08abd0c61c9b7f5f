"""Distillation of predictions: from a network's own teacher branch, or from a network that was trained before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from mtkd_jax import models, ops
from mtkd_jax.methods.base import Mixture, feature_similarity
from mtkd_jax.methods.supervised import Supervised
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, STUDENT, TEACHER, Batch, Losses, Outputs, Variables

Distances = Mapping[str, Callable[[Array, Array], Array]]
Predictions = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class PredictionDistillation(Supervised):
    """What self-distillation and traditional distillation share: a distance between predictions for every task.

    Attributes:
        distances: task → per-pixel distance (student, teacher), one of `Task.distances`; its mean over all pixels is
            distilled (spec B3), defined or not, of the images that carry a label of the task. Tasks that are not in it
            are not distilled.
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
            return ops.masked_mean(apart, jnp.broadcast_to(batch.targets[task].labelled, apart.shape))

        return {task: mean(task) for task in self.distances}


@dataclass(frozen=True, kw_only=True)
class SelfDistillation(PredictionDistillation):
    """SD-MTCNN (Jha et al. 2020): the student branch learns from the teacher branch while both are trained.

    With `supervised` teacher and student, eq. 5: Σ_t ℓ_t(ŷ_T) + Σ_t ℓ_t(ŷ_S) + λ d(ŷ_S, ŷ_T); with the ensemble, eq. 6:
    Σ_t ℓ_t((ŷ_T + ŷ_S) / 2) + λ d(ŷ_S, ŷ_T).

    Attributes:
        stop_teacher_gradient: True: the distillation term moves the student only; False: both, as printed.
    """

    stop_teacher_gradient: bool = False

    def losses(self, variables: Variables, frozen: Variables, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        student, teacher = outputs.predictions[STUDENT], outputs.predictions[TEACHER]
        seen = jax.lax.stop_gradient(teacher) if self.stop_teacher_gradient else teacher
        logged = branch_agreement(self.tasks, student, teacher) | self.branch_losses(outputs, batch)
        return Losses(self.task_losses(outputs, batch), self.distillation(student, seen, batch), logged), batch_stats


@dataclass(frozen=True, kw_only=True)
class TraditionalKD(PredictionDistillation):
    """Jha et al. (2020), baseline 3: Σ_t ℓ_t(ŷ_S) + λ d(ŷ_S, ŷ_T) with a teacher network that was trained before.

    The teacher predicts every task; its variables come as `frozen['teacher']` and it runs in evaluation mode.
    """

    teacher: nn.Module

    def losses(self, variables: Variables, frozen: Variables, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        teacher = jax.lax.stop_gradient(models.predict(self.teacher, frozen[TEACHER], batch.image)).predictions[MAIN]
        student = outputs.predictions[STUDENT]
        agreement = branch_agreement(self.tasks, student, teacher)
        return Losses(
            self.task_losses(outputs, batch), self.distillation(student, teacher, batch), agreement
        ), batch_stats


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

    def losses(self, variables: Variables, frozen: Variables, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        taught = {t.name: self._taught(t.name, frozen, batch.image).predictions[MAIN][t.name] for t in self.tasks}
        distillation = self.distillation(outputs.predictions[MAIN], taught, batch)
        return Losses(self.task_losses(outputs, batch), distillation, {}), batch_stats

    def similarity(self, variables: Variables, frozen: Variables, image: Array) -> dict[str, Array]:
        """See `Method.similarity`."""
        own = self.predict(variables, image).features
        return feature_similarity(own, {t.name: self._taught(t.name, frozen, image).features for t in self.tasks})

    def _taught(self, task: str, frozen: Variables, image: Array) -> Outputs:
        return jax.lax.stop_gradient(models.predict(self.teachers[task], frozen[task], image))


def branch_agreement(tasks: Sequence[Task], student: Predictions, teacher: Predictions) -> dict[str, Array]:
    """`agreement/<task>`, the mean over all pixels of how far student and teacher agree (see `Task.agreement`)."""
    pairs = jax.lax.stop_gradient((student, teacher))
    return {f'agreement/{t.name}': jnp.mean(t.agreement(pairs[0][t.name], pairs[1][t.name])) for t in tasks}
