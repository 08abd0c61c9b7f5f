"""Losses of several tasks, linearised once: the gradient of each by itself, their products and combinations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from mtkd_jax import ops
from mtkd_jax.types import UserError

Leaves = list[Any]
Shared = Callable[[tuple[str, ...]], bool] | Any
"""Which parameters all tasks share: of a parameter's path, whether; or a tree of booleans (a prefix will do)."""


class Terms(NamedTuple):
    """What a function of losses may give, instead of {task: loss}.

    Attributes:
        tasks: {task: ℓ_t}, scalars; these are balanced.
        extra: a scalar that is added as it is, such as a distillation; the weighting does not see it.
        labelled: {task: whether the batch has a label of it}, scalar booleans; None: every task has one. The loss of a
            task without a label counts as 0; it must be finite (a mean over no pixel at all is not).
        scale: factor of the balanced sum Σ w_t ℓ_t, applied after the weighting.
        aux: anything else, handed on in the report: batch statistics, numbers to log.
    """

    tasks: Mapping[str, Array]
    extra: Array | None = None
    labelled: Mapping[str, Array] | None = None
    scale: Array | float = 1.0
    aux: Any = None


class Split(NamedTuple):
    """The leaves of a tree of parameters in two: `shared` by all tasks, and the others, which are one task's `own`."""

    shared: Leaves
    own: Leaves
    structure: Any
    mask: tuple[bool, ...]

    @classmethod
    def of(cls, params: Any, shared: Shared) -> 'Split':
        """Splits `params`; `shared` None: all leaves are shared.

        Raises:
            UserError: a leaf is no parameter, no leaf is shared, or `shared` is neither a function nor such a tree.
        """
        leaves, structure = jax.tree.flatten(params)
        paths = [keys for keys, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
        _check_parameters(leaves, paths)
        if shared is None:
            mask = (True,) * len(leaves)
        elif callable(shared):
            mask = tuple(bool(shared(_names(keys))) for keys in paths)
        else:
            mask = _booleans(shared, params)
        if not any(mask):
            some = ', '.join('/'.join(_names(keys)) for keys in paths[:3])
            raise UserError(f'`shared` is true of no parameter; paths are such as {some}.')
        chosen = list(zip(leaves, mask, strict=True))
        return cls([x for x, is_shared in chosen if is_shared], [x for x, s in chosen if not s], structure, mask)

    def join(self, shared: Leaves, own: Leaves) -> Any:
        """A tree like the one that was split, of other leaves."""
        of_shared, of_own = iter(shared), iter(own)
        return jax.tree.unflatten(self.structure, [next(of_shared) if s else next(of_own) for s in self.mask])


@dataclass(frozen=True)
class Linear:
    """A function of losses at one point, and its linear part, whose outputs can be asked about one by one.

    `losses` [T], `labelled` [T], `extra`, `scale`, `aux`: see `Terms`. `push`: the linear part; `at`: where it was
    taken, (shared leaves, own leaves, shift).
    """

    losses: Float[Array, 't']
    labelled: Any
    extra: Array | None
    scale: Any
    aux: Any
    push: Callable[..., Any]
    at: tuple[Any, ...]

    @classmethod
    def of(
        cls, losses: Callable[..., Any], split: Split, tasks: tuple[str, ...], args: tuple[Any, ...], shift: Any
    ) -> 'Linear':
        """Linearises `losses` once."""

        def compute(shared: Leaves, own: Leaves, shift: Any) -> tuple[Any, Any]:
            options = {} if shift is None else {'shift': shift}
            terms = _terms(losses(split.join(shared, own), *args, **options), tasks)
            labelled = None if terms.labelled is None else [terms.labelled[name] for name in tasks]
            of_tasks = [ops.widened(jnp.asarray(terms.tasks[name])) for name in tasks]
            if labelled is not None:
                # It counts for nothing, and no gradient comes of it.
                of_tasks = [jnp.where(known, loss, 0.0) for known, loss in zip(labelled, of_tasks, strict=True)]
            return (of_tasks, terms.extra), (labelled, terms.scale, terms.aux)

        at = split.shared, split.own, shift
        (of_tasks, extra), push, (labelled, scale, aux) = jax.linearize(compute, *at, has_aux=True)
        stacked = jnp.ones(len(tasks), bool) if labelled is None else jnp.stack(labelled).astype(bool)
        return cls(jnp.stack(of_tasks), stacked, extra, scale, aux, push, at)

    def task(self, i: int) -> tuple[Any, ...]:
        """Gradient of ℓ_i alone with respect to shared leaves, own leaves and the shift."""
        return self._pull(lambda outputs: outputs[0][i], jnp.ones(()))

    def whole(self, weights: Float[Array, 't']) -> tuple[Any, ...]:
        """Gradient of scale · Σ_t w_t ℓ_t + extra."""
        seed = None if self.extra is None else jnp.ones_like(self.extra)
        return self._pull(lambda outputs: outputs, (list(self.scale * weights), seed))

    def with_extra(self, shared: Leaves, own: Leaves) -> tuple[Leaves, Leaves]:
        """scale times what stands for the gradient of Σ_t w_t ℓ_t, and the gradient of `extra`."""
        scaled_leaves = jax.tree.map(lambda x: self.scale * x, (shared, own))
        if self.extra is None:
            return scaled_leaves
        added = self._pull(lambda outputs: outputs[1], jnp.ones_like(self.extra))
        return jax.tree.map(jnp.add, scaled_leaves, added[:2])

    def _pull(self, select: Callable[[Any], Any], cotangent: Any) -> tuple[Any, ...]:
        """Runs back through nothing but what the selected outputs depend on; zeros for the others would run, too."""
        return tuple(jax.linear_transpose(lambda *tangents: select(self.push(*tangents)), *self.at)(cotangent))


def task_jacobian(
    losses: Callable[..., Any], params: Any, tasks: Sequence[str], *args: Any, shared: Shared = None
) -> tuple[Leaves, Any]:
    """(gradients of every ℓ_t with respect to the shared parameters, what `losses` gave beside).

    The gradients are a list of leaves [T ...], in the order of `tasks`.
    """
    found = Linear.of(losses, Split.of(params, shared), tuple(tasks), args, None)
    return rows(found.task(i)[0] for i in range(len(tasks))), found.aux


def rows(found: Iterable[Any]) -> Any:
    """One gradient per task, stacked along a new first axis.

    Each comes from a backward pass of its own. In one pass batched over the tasks, gradients of convolution kernels
    would be grouped convolutions, which are slow, and all tasks' intermediate values in memory at once
    (docs/performance.md).
    """
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def gramian(jacobian: Any) -> Float[Array, 't t']:
    """J Jᵀ of a tree with leaves [t ...], in float32 at least."""
    products: Any = 0.0
    for leaf in jax.tree.leaves(jacobian):
        flat = ops.widened(leaf.reshape(leaf.shape[0], -1))
        products += jnp.matmul(flat, flat.T, precision=jax.lax.Precision.HIGHEST)
    return products


def matrix(jacobian: Any) -> Float[Array, 't p']:
    """A tree with leaves [t ...] as one matrix."""
    return jax.vmap(lambda tree: ravel_pytree(tree)[0])(jacobian)


def combine(weights: Float[Array, 't'], jacobian: Any) -> Any:
    """Σ_t w_t g_t of the rows of a Jacobian."""
    return jax.tree.map(lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, axes=1), jacobian)


def total(weights: Float[Array, 't'], found: Sequence[Any]) -> Any:
    """Σ_t w_t g_t of gradients that are not stacked, because nearly all of them are zeros."""

    def add(*leaves: Array) -> Array:
        return sum((w.astype(x.dtype) * x for w, x in zip(weights, leaves, strict=True)), jnp.zeros_like(leaves[0]))

    return jax.tree.map(add, *found)


def cosines(products: Float[Array, 't t']) -> Float[Array, 't t']:
    """Cosines between gradients from their Gramian; 0 where one of them is zero."""
    norms = jnp.sqrt(jnp.diag(products))
    scale = jnp.outer(norms, norms)
    return jnp.where(scale > 0, products / jnp.where(scale > 0, scale, 1.0), 0.0)


def _check_parameters(leaves: Leaves, paths: Sequence[Any]) -> None:
    if not leaves:
        raise UserError('`params` has no leaves; give a tree of floating-point parameters.')
    for leaf, keys in zip(leaves, paths, strict=True):
        dtype = leaf.dtype if hasattr(leaf, 'dtype') else np.asarray(leaf).dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise UserError(
                f'`params` has {"/".join(_names(keys))} of type {dtype}, which has no gradient; give parameters only, '
                "such as variables['params'], or what `nnx.split(model, nnx.Param, ...)` finds."
            )


def _booleans(shared: Any, params: Any) -> tuple[bool, ...]:
    """A tree of booleans, or a prefix of one, as one boolean per leaf of `params`."""
    wanted = '`shared` is neither a function of a path nor a tree of booleans like `params` (a prefix will do)'
    for flag in jax.tree.leaves(shared):
        if not isinstance(flag, bool | np.bool_):
            raise UserError(f'{wanted}; it has {flag!r}.')
    try:
        return tuple(bool(flag) for flag in jax.tree.leaves(jax.tree.broadcast(shared, params)))
    except ValueError as error:
        raise UserError(f'{wanted}: {error}') from error


def _terms(found: Any, tasks: tuple[str, ...]) -> Terms:
    if not isinstance(found, Terms):
        pair = type(found) is tuple and len(found) == 2
        found = Terms(found[0], aux=found[1]) if pair else Terms(found)
    if not isinstance(found.tasks, Mapping):
        raise UserError(
            f'`losses` gives {type(found.tasks).__name__}; give {{task: loss}}, ({{task: loss}}, aux) or `Terms`.'
        )
    _one_each('losses', found.tasks, tasks)
    if found.labelled is not None:
        _one_each('labelled', found.labelled, tasks)
    for name, value in (('extra', found.extra), ('scale', found.scale)):
        if value is not None and jnp.shape(value):
            raise UserError(f'`{name}` is an array of shape {jnp.shape(value)}; give a scalar.')
    return found


def _one_each(what: str, given: Mapping[str, Any], tasks: tuple[str, ...]) -> None:
    if set(given) != set(tasks):
        raise UserError(f'`{what}` gives {", ".join(given)}; the tasks are {", ".join(tasks)}. Give one of each.')
    for name, value in given.items():
        if jnp.shape(value):
            raise UserError(f'`{what}` gives an array of shape {jnp.shape(value)} for {name}; give a scalar.')


def _names(keys: tuple[Any, ...]) -> tuple[str, ...]:
    """A path of JAX's keys in words."""
    return tuple(str(getattr(k, 'key', getattr(k, 'name', getattr(k, 'idx', k)))) for k in keys)
