"""`traditional_kd`: the student learns from a teacher that was trained before (Jha et al. 2020, baseline 3)."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array

from mtkd_jax import models
from mtkd_jax.methods import plan
from mtkd_jax.methods.method import Method
from mtkd_jax.methods.plan import Plan, Run, Stages
from mtkd_jax.methods.predictions import PredictionDistillation, Reading, branch_agreement
from mtkd_jax.methods.sd_mtcnn import check_student_widths
from mtkd_jax.methods.supervised import Supervised
from mtkd_jax.models.self_distilled import STUDENT_WIDTHS
from mtkd_jax.types import MAIN, STUDENT, TEACHER, Batch, Losses, Variables

VANILLA = 'uniform'  # the teacher's stage, which `method=mtl` has, too
BACKBONE = 'segnet_sd'  # where a recipe names none


@dataclass(frozen=True, kw_only=True)
class Settings(Reading):
    """The student's widths, and the distillation term. There is no gradient to stop: the teacher is not trained."""

    student_widths: Sequence[int] = STUDENT_WIDTHS

    def check(self, run: Run) -> None:
        """See `plan.Settings.check`."""
        super().check(run)
        plan.check_branches(run, 'traditional_kd')
        check_student_widths(self.student_widths)


def stages(settings: Settings, run: Run) -> Stages:
    """The vanilla network, which is the teacher; then the student."""
    teacher = run.network(run.tasks)
    vanilla = Plan(name=VANILLA, kind='mtl', method=Supervised(teacher, run.tasks), balance='uniform')
    options = {'branches': [STUDENT], 'student_widths': list(settings.student_widths)}
    method = TraditionalKD(
        network=run.network(run.tasks, **options),
        tasks=run.tasks,
        supervised=(STUDENT,),
        distances=settings.functions(run.tasks),
        weights=dict.fromkeys(run.names, settings.weight),
        teacher=teacher,
    )
    student = Plan(
        name=run.named('traditional_kd'),
        kind='traditional_kd',
        method=method,
        network=options,
        teachers={TEACHER: VANILLA},
        settings=settings.record(),
    )
    return [vanilla, student]


@dataclass(frozen=True, kw_only=True)
class TraditionalKD(PredictionDistillation):
    """Jha et al. (2020), baseline 3: Σ_t ℓ_t(ŷ_S) + λ d(ŷ_S, ŷ_T) with a teacher network that was trained before.

    The teacher predicts every task; its variables come as `frozen['teacher']` and it runs in evaluation mode.
    """

    teacher: nn.Module

    def teach(self, frozen: Variables, image: Array) -> dict[str, Array]:
        """See `Method.teach`: the teacher's predictions."""
        return jax.lax.stop_gradient(models.predict(self.teacher, frozen[TEACHER], image)).predictions[MAIN]

    def teachers_in(self, dtype: Any) -> Method:
        """See `Method.teachers_in`."""
        return dataclasses.replace(self, teacher=self.teacher.clone(dtype=dtype))

    def losses(self, variables: Variables, taught: Any, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        student = outputs.predictions[STUDENT]
        agreement = branch_agreement(self.tasks, student, taught)
        return Losses(
            self.task_losses(outputs, batch), self.distillation(student, taught, batch), agreement
        ), batch_stats
