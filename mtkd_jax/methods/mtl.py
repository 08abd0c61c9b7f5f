"""`mtl`: plain multi-task learning, Σ_t w_t ℓ_t (Li & Bilen 2020, eq. 2); w_t comes from the run's weighting."""

from mtkd_jax.methods.plan import Plan, Run, Settings, Stages
from mtkd_jax.methods.supervised import Supervised

__all__ = ['Settings', 'stages']


def stages(settings: Settings, run: Run) -> Stages:
    """One network for all tasks; its stage is called by the weighting."""
    return [Plan(name=run.weighting, kind='mtl', method=Supervised(run.network(run.tasks), run.tasks))]
