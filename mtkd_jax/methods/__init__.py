"""Methods: what is minimised."""

from mtkd_jax.methods.base import Method
from mtkd_jax.methods.kd_mtl import KDMTL
from mtkd_jax.methods.predictions import BAM, SelfDistillation, TraditionalKD
from mtkd_jax.methods.supervised import Supervised

__all__ = ['BAM', 'KDMTL', 'Method', 'SelfDistillation', 'Supervised', 'TraditionalKD']
