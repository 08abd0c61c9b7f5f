"""`sd_mtcnn`: a student branch learns from the teacher branch while both are trained (Jha et al. 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from mtkd_jax import models
from mtkd_jax.methods import plan
from mtkd_jax.methods.plan import Plan, Run, Stages
from mtkd_jax.methods.predictions import PredictionDistillation, Reading, branch_agreement
from mtkd_jax.models.self_distilled import STUDENT_WIDTHS
from mtkd_jax.names import choice
from mtkd_jax.types import ENSEMBLE, STUDENT, TEACHER, Batch, Losses, UserError, Variables

OBJECTIVES = {'eq5': (TEACHER, STUDENT), 'eq6': (ENSEMBLE,)}  # the branches that learn from labels (papers.md B4)
BACKBONE = 'segnet_sd'  # where a recipe names none


@dataclass(frozen=True, kw_only=True)
class Branches(plan.Settings):
    """What every method that trains both branches can set.

    Attributes:
        objective: eq5: both branches learn from labels; eq6: their mean does (papers.md B4).
        renormalise_normals: whether eq. 6's mean of two normals is brought to unit length; as printed it is not.
        student_widths: channels of the student's four transposed convolutions.
    """

    objective: str = 'eq5'
    renormalise_normals: bool = False
    student_widths: Sequence[int] = STUDENT_WIDTHS

    def check(self, run: Run) -> None:
        """See `plan.Settings.check`."""
        super().check(run)
        plan.check_branches(run, 'a method that trains both')
        choice(plan.field_name('objective'), self.objective, tuple(OBJECTIVES))
        check_student_widths(self.student_widths)
        if self.renormalise_normals and self.objective != 'eq6':
            raise UserError(
                f'`{plan.field_name("renormalise_normals")}` is on, but {self.objective} has no mean; '
                "leave it off, or choose objective='eq6'."
            )

    @property
    def network(self) -> dict[str, Any]:
        """Options of the network that is trained."""
        return {
            'branches': [TEACHER, STUDENT, *(b for b in OBJECTIVES[self.objective] if b == ENSEMBLE)],
            'student_widths': list(self.student_widths),
            'renormalise': self.renormalise_normals,
        }

    def stage(self, method: str, run: Run) -> str:
        """The stage of `method`: `sd_mtcnn_eq5`, `sd_mtcnn_eq5_no_attention`, ..."""
        attention = getattr(run.network(run.tasks), 'attention', True)
        return run.named(f'{method}_{self.objective}' + ('' if attention else '_no_attention'))


@dataclass(frozen=True, kw_only=True)
class Settings(Branches, Reading):
    """SD-MTCNN's settings.

    Attributes:
        stop_teacher_gradient: whether distillation moves the student only; None: as the reading says.
    """

    stop_teacher_gradient: bool | None = None


def stages(settings: Settings, run: Run) -> Stages:
    """One network with both branches."""
    method = SelfDistillation(
        network=run.network(run.tasks, **settings.network),
        tasks=run.tasks,
        supervised=OBJECTIVES[settings.objective],
        distances=settings.functions(run.tasks),
        weights=dict.fromkeys(run.names, settings.weight),
        stop_teacher_gradient=settings.read('stop_teacher_gradient'),
    )
    name = settings.stage('sd_mtcnn', run)
    return [Plan(name=name, kind='sd_mtcnn', method=method, network=settings.network, settings=settings.record())]


def check_student_widths(widths: Sequence[int]) -> None:
    """Raises a UserError unless there are four positive numbers."""
    if len(widths) != len(STUDENT_WIDTHS) or not all(isinstance(width, int) and width >= 1 for width in widths):
        raise UserError(f'`{plan.field_name("student_widths")}` is {tuple(widths)}; give four positive whole numbers.')


@dataclass(frozen=True, kw_only=True)
class SelfDistillation(PredictionDistillation):
    """SD-MTCNN (Jha et al. 2020): the student branch learns from the teacher branch while both are trained.

    With `supervised` teacher and student, eq. 5: Σ_t ℓ_t(ŷ_T) + Σ_t ℓ_t(ŷ_S) + λ d(ŷ_S, ŷ_T); with the ensemble, eq. 6:
    Σ_t ℓ_t((ŷ_T + ŷ_S) / 2) + λ d(ŷ_S, ŷ_T).

    Attributes:
        stop_teacher_gradient: True: the distillation term moves the student only; False: both, as printed.
    """

    stop_teacher_gradient: bool = False

    def losses(self, variables: Variables, taught: Any, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        student, teacher = outputs.predictions[STUDENT], outputs.predictions[TEACHER]
        seen = jax.lax.stop_gradient(teacher) if self.stop_teacher_gradient else teacher
        logged = branch_agreement(self.tasks, student, teacher) | self.branch_losses(outputs, batch)
        return Losses(self.task_losses(outputs, batch), self.distillation(student, seen, batch), logged), batch_stats
