"""The train step: batch → augmentation → losses → weighting → gradient → optimiser, jitted once for a mesh."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from mtkd_jax.data.augment import NONE, Augment
from mtkd_jax.methods import Method
from mtkd_jax.methods.base import Mixture
from mtkd_jax.training import gradients, sharding
from mtkd_jax.training.balance import Backward, balance, own_weights
from mtkd_jax.training.gradients import Linear, Parts
from mtkd_jax.training.state import TrainState
from mtkd_jax.types import Batch, Variables
from mtkd_jax.weighting import Weighting

Scalars = dict[str, Array]
TrainStep = Callable[[TrainState, Variables, Batch], tuple[TrainState, Scalars]]


class Objective(NamedTuple):
    """Before any weight: `task`, the losses ℓ_t that the weighting balances; `distillation`, d_t by task."""

    task: list[Array]
    distillation: dict[str, Array]


def objective(
    method: Method, state: TrainState, frozen: Variables, batch: Batch
) -> Callable[[Parts, Any], tuple[Objective, tuple[Scalars, Any]]]:
    """(parameters, shift of the shared features) → objective, and (scalars, batch statistics) beside it."""

    def compute(parts: Parts, shift: Any) -> tuple[Objective, tuple[Scalars, Any]]:
        variables = {**state._replace(params=gradients.join(parts)).variables, 'perturbations': shift}
        losses, batch_stats = method.losses(variables, frozen, batch)
        task = [losses.task[t.name].astype(jnp.float32) for t in method.tasks]
        scalars = {
            **{f'loss/{name}': value for name, value in losses.task.items()},
            **{f'distillation/{name}': value for name, value in losses.distillation.items()},
            **losses.diagnostics,
        }
        return Objective(task, losses.distillation), (scalars, batch_stats)

    return compute


def task_gradient(linear: Linear, i: int) -> tuple[Any, ...]:
    """Gradient of ℓ_i alone with respect to everything the objective was linearised in."""
    return linear.pull(lambda o: o.task[i], jnp.ones(()))


def backward_passes(linear: Linear, found: Objective, mixture: Mixture) -> Backward:
    """What `balance` may ask for, from the objective's linearisation."""
    taught = {name: mixture.distillation[name] * jnp.ones_like(d) for name, d in found.distillation.items()}

    def mixed(gradient: Parts) -> Parts:
        gradient = jax.tree.map(lambda x: mixture.labels * x, gradient)
        if not taught:
            return gradient
        return jax.tree.map(jnp.add, gradient, linear.pull(lambda o: o.distillation, taught)[0])

    return Backward(
        task=lambda i: task_gradient(linear, i),
        whole=lambda w: linear.pull(lambda o: o, Objective(list(mixture.labels * w), taught))[0],
        mixed=mixed,
    )


def train_step(
    method: Method,
    weighting: Weighting,
    optimizer: optax.GradientTransformation,
    total_steps: int,
    gramian_of: str = 'parameters',
    augment: Augment = NONE,
) -> TrainStep:
    """(state, frozen variables, batch) → (state, scalars); a pure function.

    Minimises a Σ_t w_t ℓ_t + Σ_t λ_t d_t with w from the weighting, the labels' share a and λ from the method. The
    weighting sees ℓ_t itself, so that it can neither undo a nor take a change of a for learning. Weightings that read
    gradients see those of ℓ_t with respect to the parameters that tasks share (`gradients.Parts`) and decide their
    direction there; a task's own parameters then get the gradient of their own a f_t ℓ_t, with no weight but the
    constant factors of the tasks, as in Sener & Koltun's (2018) algorithm. The distillation's gradient is added to both
    as it is.

    Args:
        method, weighting, optimizer: what is minimised, how it is balanced, and how parameters follow.
        total_steps: length of the training, for methods whose mixture changes.
        gramian_of: `parameters`: the Gramian of the gradients over shared parameters; `features`: over the last feature
            map that all tasks read, which costs T backward passes through the heads only. Its Gramian is an
            approximation: an upper bound of the other up to the Jacobian of the trunk (Sener & Koltun 2018).
        augment: what is done to a batch first, once: every network of the method, frozen ones too, sees the same.

    Scalars: `loss/total` (f stands for w where the weighting gives a direction), `loss/<task>` and
    `distillation/<task>` (before any weight), `weight/<task>` where the weighting has weights, `weighting/...` (its own
    report), `gradient_norm` (over all parameters), and the method's diagnostics.
    """
    names = [task.name for task in method.tasks]

    def step(state: TrainState, frozen: Variables, batch: Batch) -> tuple[TrainState, Scalars]:
        batch = augment(state.step, batch)
        mixture = method.mixture(state.step / total_steps)
        compute = objective(method, state, frozen, batch)
        # Only a Gramian of features reads the shift's gradient; elsewhere it is not computed.
        shift = method.shared_shift(batch.image) if gramian_of == 'features' else {}
        parts = gradients.split(state.params, names)
        found, linear, (scalars, batch_stats) = gradients.linearise(compute, parts, shift)
        losses = jnp.stack(found.task)
        backward = backward_passes(linear, found, mixture)
        parts_gradient, weights, weighting_state = balance(
            weighting, gramian_of, state.weighting_state, losses, parts.shared, backward
        )
        gradient = gradients.join(parts_gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        counted = own_weights(weighting, losses) if weights is None else weights
        distilled = sum(mixture.distillation[name] * d for name, d in found.distillation.items())
        scalars['loss/total'] = mixture.labels * jnp.sum(counted * losses) + distilled
        scalars['gradient_norm'] = optax.tree.norm(gradient)
        if weights is not None:
            scalars |= {f'weight/{name}': weights[i] for i, name in enumerate(names)}
        scalars |= _report(weighting, weighting_state, names)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, batch_stats, opt_state, weighting_state), scalars

    return step


def _report(weighting: Weighting, state: Any, names: Sequence[str]) -> Scalars:
    """What the weighting says of itself: scalars, or one number per task."""
    found: Scalars = {}
    for key, value in weighting.report(state).items():
        prefix = key if key == 'weight' else f'weighting/{key}'
        per_task = {f'{prefix}/{name}': value[i] for i, name in enumerate(names)} if value.ndim else {prefix: value}
        found |= per_task
    return found


def compile_step(step: TrainStep, mesh: Mesh) -> Any:
    """`step` jitted for the mesh: state and frozen variables replicated, batch split; the state's memory is reused."""
    everywhere, split = sharding.replicated(mesh), sharding.batched(mesh)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(everywhere, everywhere, split),
        out_shardings=(everywhere, everywhere),
    )
