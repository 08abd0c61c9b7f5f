"""The train step: batch → augmentation → losses → one gradient → optimiser, jitted once for a mesh."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from mtkd_jax.data.augment import NONE, Augment
from mtkd_jax.gradients import State, task_gradients
from mtkd_jax.jacobian import Terms
from mtkd_jax.methods import Method
from mtkd_jax.models.convolution import tiles_on_cpus
from mtkd_jax.training import sharding
from mtkd_jax.training.compiled import compiler_options
from mtkd_jax.training.sharding import Layout
from mtkd_jax.training.state import TrainState
from mtkd_jax.types import Batch, Variables
from mtkd_jax.weighting import Weighting

Scalars = dict[str, Array]
TrainStep = Callable[[TrainState, Variables, Batch], tuple[TrainState, Scalars]]


def method_terms(method: Method, share: Array) -> Callable[..., Terms]:
    """(parameters, batch statistics, what was taught, batch) → the method's losses after a `share` of the training.

    `aux` is (scalars to log, new batch statistics). A `shift` is added to the shared feature map.
    """

    def terms(params: Any, batch_stats: Any, taught: Any, batch: Batch, shift: Any = None) -> Terms:
        variables = {'params': params, 'batch_stats': batch_stats, 'perturbations': shift or {}}
        losses, batch_stats = method.losses(variables, taught, batch)
        mixture = method.mixture(share)
        scalars = {
            **{f'loss/{name}': value for name, value in losses.task.items()},
            **{f'distillation/{name}': value for name, value in losses.distillation.items()},
            **losses.diagnostics,
        }
        # In the order of names: the last digit of a sum depends on it.
        extra = [mixture.distillation[name] * d for name, d in sorted(losses.distillation.items())]
        return Terms(
            tasks=losses.task,
            extra=sum(extra[1:], extra[0]) if extra else None,
            labelled={task.name: jnp.any(batch.targets[task.name].mask) for task in method.tasks},
            scale=mixture.labels,
            aux=(scalars, batch_stats),
        )

    return terms


def train_step(
    method: Method,
    weighting: Weighting,
    optimizer: optax.GradientTransformation,
    total_steps: int,
    gramian_of: Literal['parameters', 'features'] = 'parameters',
    augment: Augment = NONE,
    factors: Mapping[str, float] | None = None,
    ema_decay: float = 0.0,
    accumulate_steps: int = 1,
    teach: bool = True,
    layout: Layout | None = None,
) -> TrainStep:
    """(state, frozen variables, batch) → (state, scalars); a pure function.

    To be compiled by `compile_step`, or with its options: on CPUs it may go by tiles (`models/convolution.py`).

    Minimises a Σ_t w_t ℓ_t + Σ_t λ_t d_t with w from the weighting, the labels' share a and λ from the method. The
    weighting sees ℓ_t itself. Otherwise it could cancel `a`, or mistake a change of `a` for progress. What it decides
    for which parameters: see `gradients.task_gradients`.

    Args:
        method, weighting, optimizer: what is minimised, how it is balanced, and how parameters follow.
        total_steps: length of the training, for methods whose mixture changes.
        gramian_of, factors: see `gradients.task_gradients`.
        augment: applied to a batch first, once: all networks of the method, also frozen ones, see the same images.
        ema_decay: share of the old value in the moving averages of parameters and batch statistics (0: there are none).
        accumulate_steps: steps that make one update of the optimiser; the averages move with updates.
        teach: False: what stands for frozen variables is what they say of the batch (`Method.teach`), computed before.
        layout: where parameters are split over the devices: they are gathered to compute with, and the optimiser works
            on the shares.

    Scalars: `loss/total` (f stands for w where the weighting gives a direction), `loss/<task>` and
    `distillation/<task>` (before any weight), `weight/<task>` where the weighting has weights, `weighting/...` (its own
    report), `gradient_norm` (over all parameters), and the method's diagnostics.
    """
    names = tuple(task.name for task in method.tasks)
    balance = task_gradients(weighting, method.shared, factors=factors, gramian_of=gramian_of)

    @tiles_on_cpus()
    def step(state: TrainState, frozen: Variables, batch: Batch) -> tuple[TrainState, Scalars]:
        batch = augment(state.step, batch)
        params = layout.gather(state.params) if layout else state.params
        if teach and layout:
            frozen = layout.gather(frozen)
        taught = method.teach(frozen, batch.image) if teach else frozen
        terms = method_terms(method, state.step / total_steps)
        # Only a Gramian of features reads the shift's gradient; elsewhere it is not computed.
        shift = method.shared_shift(batch.image) if gramian_of == 'features' else None
        before = State(state.weighting_state, names)
        gradient, balanced, report = balance.update(
            terms, params, before, state.batch_stats, taught, batch, shift=shift
        )
        scalars, batch_stats = report.aux
        if layout:
            gradient = layout.scatter(gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        scalars['loss/total'] = report.total
        scalars['gradient_norm'] = optax.tree.norm(gradient)
        if report.weights is not None:
            scalars |= {f'weight/{name}': weight for name, weight in report.weights.items()}
        scalars |= _solver_scalars(report.solver, names)
        ema = state.ema
        if ema_decay:
            moved = optax.incremental_update({'params': params, 'batch_stats': batch_stats}, ema, 1 - ema_decay)
            updated = (state.step + 1) % accumulate_steps == 0
            ema = jax.tree.map(lambda new, old: jnp.where(updated, new, old), moved, ema)
        return TrainState(state.step + 1, params, batch_stats, opt_state, balanced.weighting, ema), scalars

    return step


def _solver_scalars(report: Mapping[str, Array], names: Sequence[str]) -> Scalars:
    """The report of the weighting: scalars, or one number per task."""
    found: Scalars = {}
    for key, value in report.items():
        prefix = key if key == 'weight' else f'weighting/{key}'
        per_task = {f'{prefix}/{name}': value[i] for i, name in enumerate(names)} if value.ndim else {prefix: value}
        found |= per_task
    return found


def compile_step(step: TrainStep, mesh: Mesh, teach: bool = True, layout: Layout | None = None) -> Any:
    """`step` jitted for the mesh: state and frozen variables replicated, batch split; the state's memory is reused.

    `teach`, `layout`: those of `train_step`; what was taught of a batch is split as the batch is. With a layout, frozen
    variables are where they lie.
    """
    everywhere, split = sharding.replicated(mesh), sharding.batched(mesh)
    state = layout.state if layout else everywhere
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(state, split if not teach else None if layout else everywhere, split),
        out_shardings=(state, everywhere),
        compiler_options=compiler_options(mesh),
    )
