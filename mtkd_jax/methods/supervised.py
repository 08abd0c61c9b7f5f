"""Learning from labels alone: single-task learning and the plain multi-task network."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from mtkd_jax import models
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

    @property
    def distillation_weights(self) -> Mapping[str, float]:
        """Nothing is distilled."""
        return {}

    def init(self, key: Array, image: Array) -> dict[str, Any]:
        """See `Method.init`."""
        variables = self.network.init(key, image, train=False)
        return {'params': {'network': variables['params']}, 'batch_stats': variables.get('batch_stats', {})}

    def losses(self, variables: Variables, frozen: Variables, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        return Losses(self.task_losses(outputs, batch), {}, {}), batch_stats

    def predict(self, variables: Variables, image: Array) -> Outputs:
        """See `Method.predict`."""
        return models.predict(self.network, self.network_variables(variables), image)

    def network_variables(self, variables: Variables) -> dict[str, Any]:
        """See `Method.network_variables`."""
        return {'params': variables['params']['network'], 'batch_stats': variables['batch_stats']}

    def task_losses(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """ℓ_t for every task, summed over the supervised branches, unweighted."""

        def loss(task: Task, branch: str) -> Array:
            return task.loss(outputs.predictions[branch][task.name], *batch.targets[task.name])

        return {t.name: functools.reduce(jnp.add, [loss(t, b) for b in self.supervised]) for t in self.tasks}
