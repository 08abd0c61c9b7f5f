"""How task losses or gradients are balanced: pure `(init, update)` pairs, as in optax."""

from mtkd_jax.weighting.aligned_mtl import aligned_mtl
from mtkd_jax.weighting.base import Weighting
from mtkd_jax.weighting.cagrad import cagrad
from mtkd_jax.weighting.db_mtl import db_mtl
from mtkd_jax.weighting.dualproj import dualproj
from mtkd_jax.weighting.dwa import dwa
from mtkd_jax.weighting.excess_mtl import excess_mtl
from mtkd_jax.weighting.fairgrad import fairgrad
from mtkd_jax.weighting.famo import famo
from mtkd_jax.weighting.fixed import fixed
from mtkd_jax.weighting.gls import gls
from mtkd_jax.weighting.graddrop import graddrop
from mtkd_jax.weighting.gradnorm import gradnorm
from mtkd_jax.weighting.gradvac import gradvac
from mtkd_jax.weighting.imtl import imtl
from mtkd_jax.weighting.mgda import mgda
from mtkd_jax.weighting.moco import moco
from mtkd_jax.weighting.modo import modo
from mtkd_jax.weighting.nash_mtl import nash_mtl
from mtkd_jax.weighting.pcgrad import pcgrad
from mtkd_jax.weighting.rlw import rlw
from mtkd_jax.weighting.sdmgrad import sdmgrad
from mtkd_jax.weighting.stch import stch
from mtkd_jax.weighting.uncertainty import uncertainty
from mtkd_jax.weighting.uniform import uniform
from mtkd_jax.weighting.upgrad import upgrad

__all__ = [
    'Weighting',
    'aligned_mtl',
    'cagrad',
    'db_mtl',
    'dualproj',
    'dwa',
    'excess_mtl',
    'fairgrad',
    'famo',
    'fixed',
    'gls',
    'graddrop',
    'gradnorm',
    'gradvac',
    'imtl',
    'mgda',
    'moco',
    'modo',
    'nash_mtl',
    'pcgrad',
    'rlw',
    'sdmgrad',
    'stch',
    'uncertainty',
    'uniform',
    'upgrad',
]
