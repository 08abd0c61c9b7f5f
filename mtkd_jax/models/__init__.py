"""Networks. Each returns `Outputs`: predictions by branch and task, features by distillation point."""

from mtkd_jax.models.adaptors import Adaptors
from mtkd_jax.models.apply import predict, train_outputs
from mtkd_jax.models.lenet import LeNetMTL
from mtkd_jax.models.segnet import SegNet
from mtkd_jax.models.self_distilled import SegNetSD, SelfDistilled, UNetSD

__all__ = ['Adaptors', 'LeNetMTL', 'SegNet', 'SegNetSD', 'SelfDistilled', 'UNetSD', 'predict', 'train_outputs']
