"""Learning from labels alone: single-task learning and the plain multi-task network."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from mtkd_jax import models
from mtkd_jax.methods.method import Method, Mixture
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Batch, Losses, Outputs, Variables


@dataclass(frozen=True)
class Supervised:
    """Σ_t w_t ℓ_t (Li & Bilen 2020, eq. 1 with one task, eq. 2 with several).

    Attributes:
        network: the network.
        tasks: what it predicts.
        supervised: the branches that learn from labels; ℓ_t is the sum of their losses. Both branches of a
            self-distilled network, or their ensemble, without any distillation: Jha et al. (2020), eq. 5 or eq. 6 with
            λ = 0.
    """

    network: nn.Module
    tasks: Sequence[Task]
    supervised: Sequence[str] = (MAIN,)

    def mixture(self, progress: Array) -> Mixture:
        """See `Method.mixture`: labels alone."""
        return Mixture(1.0, {})

    def init(self, key: Array, image: Array) -> dict[str, Any]:
        """See `Method.init`."""
        variables = self.network.init(key, image, train=False)
        return {'params': {'network': variables['params']}, 'batch_stats': variables.get('batch_stats', {})}

    @property
    def teaches_one_by_one(self) -> bool:
        """See `Method.teaches_one_by_one`."""
        return True

    def teach(self, frozen: Variables, image: Array) -> Any:
        """See `Method.teach`: there is no teacher."""
        return {}

    def teachers_in(self, dtype: Any) -> Method:
        """See `Method.teachers_in`: there is none."""
        return self

    def losses(self, variables: Variables, taught: Any, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        return Losses(self.task_losses(outputs, batch), {}, {}), batch_stats

    def predict(self, variables: Variables, image: Array) -> Outputs:
        """See `Method.predict`."""
        return models.predict(self.network, self.network_variables(variables), image)

    def shared_shift(self, image: Array) -> Any:
        """See `Method.shared_shift`."""

        def created() -> Any:
            variables = self.network.init(jax.random.key(0), image, train=False)
            return self.network.apply(variables, image, train=False, mutable=['perturbations'])[1]

        made = jax.eval_shape(created).get('perturbations', {})
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), made)

    def similarity(self, variables: Variables, frozen: Variables, image: Array) -> dict[str, Array]:
        """See `Method.similarity`: no teacher."""
        return {}

    def shared(self, path: tuple[str, ...]) -> bool:
        """See `Method.shared`: what the network says is no task's own."""
        network: Any = self.network
        return path[0] == 'network' and network.own(path[1:]) is None

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """See `Method.optimizers`: there is only the network."""
        return {}

    def network_variables(self, variables: Variables) -> dict[str, Any]:
        """See `Method.network_variables`."""
        network = {'params': variables['params']['network'], 'batch_stats': variables['batch_stats']}
        shift = variables.get('perturbations')
        return network | {'perturbations': shift} if shift else network

    def task_losses(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """ℓ_t for every task, summed over the supervised branches, unweighted."""

        losses = [self._losses(outputs, batch, branch) for branch in self.supervised]
        return {t.name: functools.reduce(jnp.add, [by_task[t.name] for by_task in losses]) for t in self.tasks}

    def branch_losses(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """`<branch>/loss/<task>`, the terms of that sum, to be logged; empty where it has only one."""
        if len(self.supervised) == 1:
            return {}
        by_branch = {branch: self._losses(outputs, batch, branch) for branch in self.supervised}
        return {f'{branch}/loss/{task}': loss for branch, found in by_branch.items() for task, loss in found.items()}

    def _losses(self, outputs: Outputs, batch: Batch, branch: str) -> dict[str, Array]:
        return {t.name: t.loss(outputs.predictions[branch][t.name], *batch.targets[t.name]) for t in self.tasks}
