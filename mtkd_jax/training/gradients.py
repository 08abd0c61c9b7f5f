"""Gradients of every task by itself, over the parameters that tasks share."""

from collections.abc import Callable, Sequence
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


def rows(pull: Callable[[Array], Tree], count: int) -> Tree:
    """One gradient per output, stacked along a new first axis: a single batched backward pass."""
    return jax.vmap(pull)(jnp.eye(count))


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
    """Σ_t w_t g_t."""
    return jax.tree.map(lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, axes=1), jacobian)


def cosines(products: Float[Array, 't t']) -> Float[Array, 't t']:
    """Cosines between gradients from their Gramian; 0 where one of them is zero."""
    norms = jnp.sqrt(jnp.diag(products))
    scale = jnp.outer(norms, norms)
    return jnp.where(scale > 0, products / jnp.where(scale > 0, scale, 1.0), 0.0)
