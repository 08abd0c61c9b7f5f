"""The train step: losses → weighting → gradient → optimiser, jitted once with explicit shardings."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from mtkd_jax.methods import Method
from mtkd_jax.training import sharding
from mtkd_jax.training.state import TrainState
from mtkd_jax.types import Batch, Variables
from mtkd_jax.weighting import Weighting

Scalars = dict[str, Array]
TrainStep = Callable[[TrainState, Variables, Batch], tuple[TrainState, Scalars]]


def train_step(method: Method, weighting: Weighting, optimizer: optax.GradientTransformation) -> TrainStep:
    """(state, frozen variables, batch) → (state, scalars); a pure function.

    Minimises Σ_t w_t ℓ_t + Σ_t λ_t d_t with w from the weighting and λ from the method. Scalars: `loss/total`,
    `loss/<task>` and `distillation/<task>` (unweighted), `weight/<task>`, `gradient_norm` (over all parameters), and
    the method's diagnostics.
    """
    names = [task.name for task in method.tasks]

    def objective(params: Any, state: TrainState, frozen: Variables, batch: Batch) -> tuple[Array, Any]:
        losses, batch_stats = method.losses(state._replace(params=params).variables, frozen, batch)
        task = jnp.stack([losses.task[name] for name in names])
        weights, weighting_state = weighting.update(state.weighting_state, jax.lax.stop_gradient(task), None)
        total = jnp.sum(weights * task)
        for name, distance in losses.distillation.items():
            total += method.distillation_weights[name] * distance
        scalars = {
            'loss/total': total,
            **{f'loss/{name}': losses.task[name] for name in names},
            **{f'distillation/{name}': value for name, value in losses.distillation.items()},
            **{f'weight/{name}': weights[i] for i, name in enumerate(names)},
            **losses.diagnostics,
        }
        return total, (scalars, batch_stats, weighting_state)

    def step(state: TrainState, frozen: Variables, batch: Batch) -> tuple[TrainState, Scalars]:
        gradient, (scalars, batch_stats, weighting_state) = jax.grad(objective, has_aux=True)(
            state.params, state, frozen, batch
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        scalars['gradient_norm'] = optax.tree.norm(gradient)
        return TrainState(state.step + 1, params, batch_stats, opt_state, weighting_state), scalars

    return step


def compile_step(step: TrainStep, mesh: Mesh) -> Any:
    """`step` jitted for the mesh: state and frozen variables replicated, batch split; the state's memory is reused."""
    everywhere, split = sharding.replicated(mesh), sharding.batched(mesh)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(everywhere, everywhere, split),
        out_shardings=(everywhere, everywhere),
    )
