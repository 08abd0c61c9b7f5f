"""How long the stages of a study take: by steps that are timed here, or by the operations of a step."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mtkd_jax import datasets
from mtkd_jax.data.augment import augmentation
from mtkd_jax.data.examples import first_examples
from mtkd_jax.datasets import Prepared, Progress
from mtkd_jax.datasets.blank import blank
from mtkd_jax.datasets.flags import SOURCE
from mtkd_jax.experiment.stages import Experiment, Opened
from mtkd_jax.experiment.study import Job
from mtkd_jax.methods import Method
from mtkd_jax.records import MODEL, stage_folder
from mtkd_jax.reporting.progress import duration
from mtkd_jax.reporting.tables import markdown
from mtkd_jax.training import device, sharding
from mtkd_jax.training.caching import kept
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.state import state_maker
from mtkd_jax.training.step import compile_step, train_step
from mtkd_jax.types import UserError

STEPS = 5  # of which the median counts
TERA = 1e12

Estimate = Callable[[Job], tuple[str, float]]
"""Of a job: what its step costs, in words, and the seconds that the step takes."""


class Unopened(Opened):
    """Blank data of the size that the papers train on, in place of files that may not be at hand.

    Data that are rendered are, and those of one's own are opened.

    Args:
        images: of the training set, where the data set's papers do not fix it; 0: not known.
    """

    def __init__(self, images: int) -> None:
        super().__init__()
        self._images = images

    def prepared(self, config: ConfigDict, progress: Progress) -> Prepared:
        """See `Opened.prepared`.

        Raises:
            UserError: nobody says how many images there are, or somebody does, although it is known.
        """
        found, data = datasets.named(config.data.dataset), config.data.to_dict()
        own = SOURCE not in found.flags
        if self._images and (own or found.training):
            raise UserError(f'`images` is {self._images}, but how many {found.name} has is known; leave it out.')
        if own:
            return super().prepared(config, progress)
        counts = found.training or self._images
        if not counts:
            raise UserError(f'How many training images {found.name} has is not fixed; give it with --images=N.')
        return blank(data, list(found.tasks(data).values()), counts)


def plan(jobs: Sequence[Job], estimate: Estimate, where: str) -> str:
    """A table of what is to be trained: stages of one kind together, with the seconds of a step and the time left.

    Kinds differ in more than their seed. Teachers' answers are asked for in every step here, so a run that keeps them
    takes less. Evaluations and compilation are not in it.

    Args:
        jobs: the stages.
        estimate: `measured` or `counted`.
        where: on which device, in words.
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
        cost, each = estimate(same[0]) if open_ else ('–', 0.0)
        seconds = each * steps * len(open_)
        left += seconds
        body.append(
            [
                stage.name,
                str(stage.settings['backbone']),
                str(len(same)),
                str(len(open_)),
                f'{steps:,}',
                cost,
                duration(seconds),
            ]
        )
    heads = ['stage', 'backbone', 'runs', 'to train', 'steps of each', 'step', 'time left']
    return f'{markdown(heads, body)}\n\n{len(jobs)} stages; {duration(left)} of training steps left on {where}.'


def _kind(stage: Stage) -> str:
    settings = {name: value for name, value in stage.settings.items() if name != 'seed'}
    return json.dumps([stage.name, settings, len(stage.data.train.source)], sort_keys=True)


def counted(tera: float) -> Estimate:
    """By arithmetic: the operations of a step, as XLA counts them, on a device that sustains `tera` · 10¹² a second."""

    def estimate(job: Job) -> tuple[str, float]:
        found = operations(job)
        if found is None:
            raise UserError('XLA does not count operations on this backend; leave --tflops out.')
        return f'{found / TERA:.3g}·10¹² operations', found / (tera * TERA)

    return estimate


def operations(job: Job, keeps: bool = False) -> float | None:
    """Operations of a step (see `device.operations`); None where the backend does not count.

    `keeps`: where a run keeps what its teachers say, they are not asked. Otherwise they are, in every step.
    """
    stage = job.stage
    assert isinstance(stage, Stage)
    given = jax.eval_shape(lambda: teachers(job.experiment, stage))
    said = kept(stage, given, job.experiment.mesh) if keeps else None
    program, maker, batch = _program(job, teach=said is None)
    state = jax.eval_shape(maker, jax.random.key(0))
    return device.operations(program.trace(state, given if said is None else said, batch))


def measured(job: Job) -> tuple[str, float]:
    """The median of some steps here; teachers that are not trained yet are zeros of their shapes."""
    mesh = job.experiment.mesh
    program, maker, batch = _program(job)
    state, batch = sharding.replicate(maker(jax.random.key(0)), mesh), jax.device_put(batch, sharding.batched(mesh))
    assert isinstance(job.stage, Stage)
    frozen = sharding.replicate(teachers(job.experiment, job.stage), mesh)
    compiled = program.lower(state, frozen, batch).compile()
    seconds = []
    for _ in range(STEPS + 1):
        began = time.monotonic()
        state, scalars = compiled(state, frozen, batch)
        jax.block_until_ready((state, scalars))
        seconds.append(time.monotonic() - began)
    each = median(seconds[1:])
    return f'{each:.3g} s', each


def _program(job: Job, teach: bool = True) -> tuple[Any, Any, Any]:
    """(step, jitted; key → its first state; a batch of the host); `teach`: that of `train_step`."""
    stage, mesh = job.stage, job.experiment.mesh
    assert isinstance(stage, Stage)
    train = stage.data.train
    total = stage.cadence.epochs * train.steps_per_epoch
    weighting, optimizer = stage.weighting(train.steps_per_epoch), stage.optimizer(train.steps_per_epoch, total)
    maker = state_maker(stage.method, weighting, optimizer, train.image_shape, bool(stage.ema_decay))
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
        teach=teach,
    )
    few = first_examples(train.source, stage.method.tasks, train.train_batch_size)
    return compile_step(step, mesh, teach), maker, few


def teachers(one: Experiment, stage: Stage) -> Mapping[str, Any]:
    """Variables of a stage's teachers: those that the experiment trains are zeros of their shapes, trained or not."""
    trained = {stage_folder(one.workdir, other.name) / MODEL: other for other in one.stages if isinstance(other, Stage)}
    found = {}
    for key, place in stage.teachers.items():
        teacher = trained.get(place)
        if teacher is None:
            found[key] = load_model(place)[1]
            continue
        shapes = jax.eval_shape(lambda method=teacher.method: _variables(method, stage.data.train.image_shape))
        found[key] = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return found


def _variables(method: Method, shape: tuple[int, ...]) -> Any:
    found = method.network_variables(method.init(jax.random.key(0), jnp.zeros(shape, jnp.float32)))
    # As a model folder keeps them.
    return {collection: values for collection, values in found.items() if values}
