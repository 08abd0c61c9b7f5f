"""Sections of a config that are alike for all data sets: the fields of methods, with their sources."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from mtkd_jax import recipe
from mtkd_jax.weighting.registry import hyperparameters


def weighting(chosen: Mapping[str, str]) -> ConfigDict:
    """`weighting`: hyper-parameters of every weighting (docs/weightings.md), and which one balances the method."""
    c = ConfigDict(hyperparameters())
    c.name = chosen['weighting']  # of methods that are not a weighting themselves
    c.gramian_of = 'parameters'  # or features: cheaper, an approximation
    return c


def bam(distances: Mapping[str, str]) -> ConfigDict:
    """`bam`; `distances`: kl | l2 by task (spec A5)."""
    c = ConfigDict()
    c.weight = 1.0  # λ, before annealing
    c.annealing = True  # from the teachers to the labels over the training; False: both throughout
    c.distances = ConfigDict(dict(distances))
    c.kl_direction = 'teacher_student'  # KL(teacher ‖ network), as the soft cross-entropy of Clark et al. (2019)
    c.squared = True  # l2 without its root: the squared error
    return c


def self_distillation(
    chosen: Mapping[str, str], distances: Mapping[str, str], student_widths: Sequence[int]
) -> ConfigDict:
    """`self_distillation`; `distances`: kl | l2 by task (spec B3); `student_widths`: channels of the student's four
    transposed convolutions.
    """
    c = ConfigDict()
    c.objective = chosen['objective']  # eq5 | eq6 (spec B4)
    c.weight = 1.0  # λ (spec B4)
    c.distances = ConfigDict(dict(distances))
    c.kl_direction = 'student_teacher'  # KL(student ‖ teacher), or teacher_student (spec B3)
    c.squared = False  # True: l2 without its root (spec B3)
    c.stop_teacher_gradient = False  # True: distillation moves the student only (spec B3)
    c.renormalise_normals = False  # True: eq. 6's mean of two normals is brought to unit length
    c.attention = recipe.switch(chosen, 'attention')  # in the teacher's decoders (spec B1)
    c.student_widths = tuple(student_widths)
    return c
