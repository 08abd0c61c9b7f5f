"""Diagnostics at extra cost: how task gradients agree, and how alike network and teachers represent images."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array

from mtkd_jax import jacobian
from mtkd_jax.data.augment import NONE, Augment
from mtkd_jax.methods import Method
from mtkd_jax.models.convolution import tiles_on_cpus
from mtkd_jax.training import sharding
from mtkd_jax.training.compiled import compiler_options
from mtkd_jax.training.state import TrainState
from mtkd_jax.training.step import method_terms
from mtkd_jax.types import Batch, Variables

Diagnose = Callable[[TrainState, Variables, Batch], dict[str, Array]]


def diagnosis(method: Method, mesh: Mesh, augment: Augment = NONE) -> Diagnose:
    """A jitted function of state, frozen variables and a batch that changes nothing; it sees what the step sees.

    Gives `gradient/<task>`, the norm of ℓ_t's gradient with respect to the shared parameters, before any weight; for
    every pair `cosine/<task>/<task>`, 0 where a gradient is zero; and `cka/<task>/<point>` (see `Method.similarity`).
    """
    names, everywhere = [task.name for task in method.tasks], sharding.replicated(mesh)

    @tiles_on_cpus()
    def compute(state: TrainState, frozen: Variables, batch: Batch) -> dict[str, Array]:
        state, frozen = jax.lax.with_sharding_constraint((state, frozen), everywhere)
        batch = augment(state.step, batch)
        terms = method_terms(method, jnp.zeros(()))
        given = (state.batch_stats, method.teach(frozen, batch.image), batch)
        rows, _ = jacobian.task_jacobian(terms, state.params, names, *given, shared=method.shared)
        products = jacobian.gramian(rows)
        norms, cosines = jnp.sqrt(jnp.diag(products)), jacobian.cosines(products)
        scalars = {f'gradient/{name}': norms[i] for i, name in enumerate(names)}
        for i, first in enumerate(names):
            scalars |= {f'cosine/{first}/{names[j]}': cosines[i, j] for j in range(i + 1, len(names))}
        return scalars | method.similarity(state.variables, frozen, batch.image)

    return jax.jit(
        compute,
        in_shardings=(None, None, sharding.batched(mesh)),
        out_shardings=everywhere,
        compiler_options=compiler_options(mesh),
    )
