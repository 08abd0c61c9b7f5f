"""Networks. Each returns `Outputs`: predictions by branch and task, features by distillation point."""

from mtkd_jax.models.adaptors import Adaptors
from mtkd_jax.models.apply import predict, train_outputs
from mtkd_jax.models.cross_stitch import CrossStitch
from mtkd_jax.models.dense import Dense
from mtkd_jax.models.lenet import LeNetMTL
from mtkd_jax.models.mtan import MTAN
from mtkd_jax.models.segnet import SegNet, SplitDeep, SplitWide
from mtkd_jax.models.self_distilled import SegNetSD, SelfDistilled, UNetSD

__all__ = [
    'MTAN',
    'Adaptors',
    'CrossStitch',
    'Dense',
    'LeNetMTL',
    'SegNet',
    'SegNetSD',
    'SelfDistilled',
    'SplitDeep',
    'SplitWide',
    'UNetSD',
    'predict',
    'train_outputs',
]
