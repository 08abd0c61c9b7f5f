"""Learning from labels alone: single-task learning and the plain multi-task network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
from jaxtyping import Array

from mtkd_jax import models
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Batch, Losses, Outputs, Variables


@dataclass(frozen=True)
class Supervised:
    """Σ_t w_t ℓ_t (Li & Bilen 2020, eq. 1 with one task, eq. 2 with several)."""

    network: nn.Module
    tasks: Sequence[Task]

    @property
    def distillation_weights(self) -> Mapping[str, float]:
        """Nothing is distilled."""
        return {}

    def init(self, key: Array, image: Array) -> dict[str, Any]:
        """See `Method.init`."""
        variables = self.network.init(key, image, train=False)
        return {'params': {'network': variables['params']}, 'batch_stats': variables['batch_stats']}

    def losses(self, variables: Variables, frozen: Variables, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        return Losses(task_losses(self.tasks, outputs, batch), {}), batch_stats

    def predict(self, variables: Variables, image: Array) -> Outputs:
        """See `Method.predict`."""
        return models.predict(self.network, self.network_variables(variables), image)

    def network_variables(self, variables: Variables) -> dict[str, Any]:
        """See `Method.network_variables`."""
        return {'params': variables['params']['network'], 'batch_stats': variables['batch_stats']}


def task_losses(tasks: Sequence[Task], outputs: Outputs, batch: Batch) -> dict[str, Array]:
    """ℓ_t for every task, unweighted."""
    predictions = outputs.predictions[MAIN]
    return {t.name: t.loss(predictions[t.name], *batch.targets[t.name]) for t in tasks}
