"""`no_distillation`: SD-MTCNN's network with λ = 0 (Jha et al. 2020, baseline 2)."""

from mtkd_jax.methods.plan import Plan, Run, Stages
from mtkd_jax.methods.sd_mtcnn import OBJECTIVES, Branches, SelfDistillation

Settings = Branches
BACKBONE = 'segnet_sd'  # where a recipe names none


def stages(settings: Branches, run: Run) -> Stages:
    """One network with both branches, and no distillation term."""
    network = run.network(run.tasks, **settings.network)
    supervised = OBJECTIVES[settings.objective]
    method = SelfDistillation(network=network, tasks=run.tasks, supervised=supervised, distances={}, weights={})
    name = settings.stage('no_distillation', run)
    options = settings.network
    return [Plan(name=name, kind='no_distillation', method=method, network=options, settings=settings.record())]
