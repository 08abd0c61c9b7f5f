"""How task losses are balanced: pure `(init, update)` pairs, as in optax."""

from mtkd_jax.weighting.base import Weighting
from mtkd_jax.weighting.fixed import fixed, uniform

__all__ = ['Weighting', 'fixed', 'uniform']
