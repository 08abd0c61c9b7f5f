"""Networks. Each returns `Outputs`: predictions by branch and task, features by distillation point.

The backbones, by the names that configs use: `BACKBONES`.
"""

from typing import Any

from mtkd_jax import names
from mtkd_jax.models import backbone
from mtkd_jax.models.apply import predict, train_outputs
from mtkd_jax.models.backbone import Backbone
from mtkd_jax.models.cross_stitch import CrossStitch
from mtkd_jax.models.dense import Dense
from mtkd_jax.models.lenet import LeNetMTL
from mtkd_jax.models.mtan import MTAN
from mtkd_jax.models.segnet import SegNet, SplitDeep, SplitStandard, SplitWide
from mtkd_jax.models.self_distilled import SegNetSD, SelfDistilled, UNetSD

__all__ = [
    'MTAN',
    'Backbone',
    'CrossStitch',
    'Dense',
    'LeNetMTL',
    'SegNet',
    'SegNetSD',
    'SelfDistilled',
    'SplitDeep',
    'SplitStandard',
    'SplitWide',
    'UNetSD',
    'named',
    'predict',
    'train_outputs',
]

_CLASSES: tuple[Any, ...] = (
    SegNet, SegNetSD, UNetSD, MTAN, CrossStitch, Dense, SplitStandard, SplitWide, SplitDeep, LeNetMTL
)  # fmt: skip
BACKBONES: dict[str, Any] = {found.NAME: found for found in _CLASSES}
"""Every backbone by the name that configs use (`NAME` of its class)."""


def named(name: str) -> Any:
    """The class of a backbone: one of `BACKBONES`, or `Backbone` of the user's module `name`.

    Raises:
        UserError: there is none, or the class lacks something.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    module = names.module('backbone', name, ('Backbone',), tuple(BACKBONES))
    what = f'`Backbone` of {module.__file__}'
    backbone.check_fields(module.Backbone, what)
    return names.having(module.Backbone, what, backbone.NEEDED)
