"""How long the stages of a study take, from measured steps."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

from mtkd_jax.data.augment import augmentation
from mtkd_jax.experiment.study import Job
from mtkd_jax.methods import Method
from mtkd_jax.reporting.progress import duration
from mtkd_jax.reporting.tables import markdown
from mtkd_jax.training import sharding
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import compile_step, train_step

STEPS = 5  # of which the median counts


def plan(jobs: Sequence[Job]) -> str:
    """A table of what is to be trained: stages of one kind together, with seconds per step measured on this machine.

    Kinds differ in more than their seed. Teachers' answers are asked for in every step here, so a run that keeps them
    takes less. Evaluations and compilation are not in it.
    """
    kinds: dict[str, list[Job]] = {}
    for job in jobs:
        if not isinstance(job.stage, GivenTeacher):
            kinds.setdefault(_kind(job.stage), []).append(job)
    body, left = [], 0.0
    for same in kinds.values():
        stage, open_ = same[0].stage, [job for job in same if not job.finished]
        assert isinstance(stage, Stage)
        steps = stage.cadence.epochs * stage.data.train.steps_per_epoch
        each = step_seconds(same[0]) if open_ else None
        hours = each * steps * len(open_) if each is not None else 0.0
        left += hours
        body.append(
            [
                stage.name,
                str(stage.settings['backbone']),
                str(len(same)),
                str(len(open_)),
                f'{steps:,}',
                '–' if each is None else f'{each:.3g}',
                duration(hours),
            ]
        )
    heads = ['stage', 'backbone', 'runs', 'to train', 'steps of each', 'step (s)', 'time left']
    return f'{markdown(heads, body)}\n\n{len(jobs)} stages; {duration(left)} of training steps left on this machine.'


def _kind(stage: Stage) -> str:
    settings = {name: value for name, value in stage.settings.items() if name != 'seed'}
    return json.dumps([stage.name, settings], sort_keys=True)


def step_seconds(job: Job) -> float:
    """The median of some steps of a job's stage; teachers that are not trained yet are zeros of their shapes."""
    stage, mesh = job.stage, job.experiment.mesh
    assert isinstance(stage, Stage)
    train = stage.data.train
    total = stage.cadence.epochs * train.steps_per_epoch
    weighting, optimizer = stage.weighting(train.steps_per_epoch), stage.optimizer(train.steps_per_epoch, total)
    state = initial_state(
        stage.method, weighting, optimizer, jax.random.key(0), train.image_shape, ema=bool(stage.ema_decay)
    )
    step = train_step(
        stage.method,
        weighting,
        optimizer,
        total,
        stage.gramian_of,
        augmentation(stage.augment, stage.method.tasks, train.seed),
        factors=stage.factors,
        ema_decay=stage.ema_decay,
        accumulate_steps=stage.accumulate_steps,
    )
    state = sharding.replicate(state, mesh)
    frozen = sharding.replicate(_frozen(job), mesh)
    with closing(sharding.on_device(train.epochs(0, 1), mesh)) as batches:
        batch = next(batches)
    compiled = compile_step(step, mesh).lower(state, frozen, batch).compile()
    seconds = []
    for _ in range(STEPS + 1):
        began = time.monotonic()
        state, scalars = compiled(state, frozen, batch)
        jax.block_until_ready((state, scalars))
        seconds.append(time.monotonic() - began)
    return median(seconds[1:])


def _frozen(job: Job) -> Mapping[str, Any]:
    stage = job.stage
    assert isinstance(stage, Stage)
    by_name = {other.name: other for other in job.experiment.stages if isinstance(other, Stage)}
    found = {}
    for key, place in stage.teachers.items():
        teacher = by_name.get(place.parent.name)
        if teacher is None:
            found[key] = load_model(place)[1]
            continue
        shapes = jax.eval_shape(lambda method=teacher.method: _variables(method, stage.data.train.image_shape))
        found[key] = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return found


def _variables(method: Method, shape: tuple[int, ...]) -> Any:
    return method.network_variables(method.init(jax.random.key(0), jnp.zeros(shape, jnp.float32)))
