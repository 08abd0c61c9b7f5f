"""Gradients of every task by itself, over the parameters that tasks share."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

Tree = Any


class Parts(NamedTuple):
    """A parameter tree in two: `shared` by all tasks, and `own`, which one task's loss alone reaches.

    A top-level child of the network whose name ends in `_<task>` is that task's own. So are the adaptors, which no task
    loss reaches.
    """

    shared: Tree
    own: Tree


def split(params: Tree, tasks: Sequence[str]) -> Parts:
    """The two parts of `params` = {'network': ..., 'adaptors': ...}."""
    ends = tuple(f'_{task}' for task in tasks)
    network = params['network']
    shared = {name: tree for name, tree in network.items() if not name.endswith(ends)}
    own = {name: tree for name, tree in network.items() if name not in shared}
    return Parts(shared, {'network': own, **{group: tree for group, tree in params.items() if group != 'network'}})


def join(parts: Parts) -> Tree:
    """The tree that `split` took apart."""
    return {**parts.own, 'network': {**parts.shared, **parts.own['network']}}


def size(shared: Tree) -> int:
    """How many numbers tasks share."""
    return sum(x.size for x in jax.tree.leaves(shared))


class Linear(NamedTuple):
    """A function's linear part at the point `at`: as of `jax.vjp`, but outputs can be asked about one by one."""

    push: Callable[..., Any]
    at: tuple[Any, ...]

    def pull(self, select: Callable[[Any], Any], cotangent: Any) -> tuple[Any, ...]:
        """Gradients of `cotangent` · select(outputs), one for each argument.

        Runs back through nothing but what the selected outputs depend on; zeros for the others would be run back, too.
        """
        return tuple(jax.linear_transpose(lambda *tangents: select(self.push(*tangents)), *self.at)(cotangent))


def linearise(function: Callable[..., tuple[Any, Any]], *at: Any) -> tuple[Any, Linear, Any]:
    """(outputs, their linear part, what is beside them) of a function that returns outputs and something beside."""
    outputs, push, beside = jax.linearize(function, *at, has_aux=True)
    return outputs, Linear(push, at), beside


def rows(found: Iterable[Tree]) -> Tree:
    """One gradient per task, stacked along a new first axis.

    Each comes from a backward pass of its own. In one pass batched over the tasks, gradients of convolution kernels
    would be grouped convolutions, which are slow, and all tasks' intermediate values in memory at once
    (docs/performance.md).
    """
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def gramian(jacobian: Tree) -> Float[Array, 't t']:
    """J Jᵀ of a tree with leaves [t ...], in float32."""
    total: Any = 0.0
    for leaf in jax.tree.leaves(jacobian):
        flat = leaf.reshape(leaf.shape[0], -1).astype(jnp.float32)
        total += jnp.matmul(flat, flat.T, precision=jax.lax.Precision.HIGHEST)
    return total


def matrix(jacobian: Tree) -> Float[Array, 't p']:
    """A tree with leaves [t ...] as one matrix."""
    return jax.vmap(lambda tree: ravel_pytree(tree)[0])(jacobian)


def combine(weights: Float[Array, 't'], jacobian: Tree) -> Tree:
    """Σ_t w_t g_t of the rows of a Jacobian."""
    return jax.tree.map(lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, axes=1), jacobian)


def total(weights: Float[Array, 't'], found: Sequence[Tree]) -> Tree:
    """Σ_t w_t g_t of gradients that are not stacked, because nearly all of them are zeros."""

    def add(*leaves: Array) -> Array:
        return sum((w.astype(x.dtype) * x for w, x in zip(weights, leaves, strict=True)), jnp.zeros_like(leaves[0]))

    return jax.tree.map(add, *found)


def cosines(products: Float[Array, 't t']) -> Float[Array, 't t']:
    """Cosines between gradients from their Gramian; 0 where one of them is zero."""
    norms = jnp.sqrt(jnp.diag(products))
    scale = jnp.outer(norms, norms)
    return jnp.where(scale > 0, products / jnp.where(scale > 0, scale, 1.0), 0.0)
