"""What a stage begins with, compiled while its teachers are still trained."""

from typing import Any

import jax
from jax.sharding import NamedSharding

from mtkd_jax.data.examples import first_examples
from mtkd_jax.training import sharding
from mtkd_jax.training.caching import kept
from mtkd_jax.training.loop import Loop
from mtkd_jax.training.programs import once
from mtkd_jax.training.step import compile_step
from mtkd_jax.training.taught import asking


def compile_beforehand(loop: Loop, teachers: Any) -> None:
    """Compiles what makes the first state of the loop's stage, what asks its teachers, and its step.

    The loop then finds them, or waits. Where many steps are one call (`Chunked`) or parameters are split over devices,
    only the first of the three. The stage does not count this time among its own. A request to stop is looked at before
    each.

    Args:
        loop: of a stage that has not begun; its `programs` are those of the run.
        teachers: shapes of the variables of the stage's teachers.
    """
    stage, mesh, stop = loop.stage, loop.mesh, loop.stop
    key = jax.random.key(stage.seed)
    loop.compiled(loop.make_state, (key,), once(mesh))
    if stage.steps_in_one_call or stage.fsdp or stop.requested:
        return
    split = sharding.batched(mesh)
    frozen = _lying(teachers, sharding.replicated(mesh))
    batch = _lying(first_examples(loop.train.source, stage.method.tasks, loop.train.train_batch_size), split)
    said = kept(stage, teachers, mesh)
    if said is not None:
        loop.compiled(asking(stage.method, mesh, stage.cache_dtype), (frozen, batch.image))
    if stop.requested:
        return
    step = compile_step(loop.make_step(teach=said is None), mesh, said is None)
    given = frozen if said is None else _lying(said, split)
    loop.compiled(step, (jax.eval_shape(loop.make_state, key), given, batch))


def _lying(arrays: Any, where: NamedSharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), arrays)
