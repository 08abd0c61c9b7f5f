"""What a run consists of: stages, and the data they share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import optax

from mtkd_jax.data.pipeline import Split
from mtkd_jax.methods import Method
from mtkd_jax.training.evaluate import Constants
from mtkd_jax.training.optimizer import Rate
from mtkd_jax.training.resident import Residence
from mtkd_jax.training.selection import Rule
from mtkd_jax.training.taught import Shared
from mtkd_jax.weighting import Weighting


@dataclass(frozen=True)
class StageData:
    """The splits of one stage.

    `validation` is there only where the selection rule needs it; `made` says how the data was prepared.
    """

    train: Split
    test: Split
    validation: Split | None = None
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cadence:
    """How long a stage trains, and how often it does what.

    `checkpoint_every_steps` 0: only where epochs end; `diagnose_every_steps` 0: never.
    """

    epochs: int
    evaluate_every_epochs: int
    log_every_steps: int
    checkpoint_every_epochs: int
    checkpoint_every_steps: int
    selection: Rule
    diagnose_every_steps: int = 0

    def until_next(self, step: int) -> int:
        """Steps after `step` until the next record, checkpoint or diagnosis."""
        often = (self.log_every_steps, self.checkpoint_every_steps, self.diagnose_every_steps)
        return min(every - step % every for every in often if every)

    def evaluates(self, epoch: int) -> bool:
        """Whether epoch `epoch` (from 0) ends with an evaluation: every n-th, and those the selection rule reads."""
        needed = epoch >= self.epochs - self.selection.epochs
        return needed or (epoch + 1) % self.evaluate_every_epochs == 0

    def saves(self, epoch: int) -> bool:
        """Whether epoch `epoch` (from 0) ends with a checkpoint: every n-th, the last, and where more follows.

        More is an evaluation, which may be stopped, and a rule that may keep the epoch as the best: what is kept must
        not be of an epoch that a run which continues has not reached.
        """
        follows = self.evaluates(epoch) or self.selection.chosen_by == 'training'
        return follows or epoch == self.epochs - 1 or (epoch + 1) % self.checkpoint_every_epochs == 0


@dataclass(frozen=True)
class Stage:
    """One network to train.

    Attributes:
        name: its folder under `stages/`.
        method: what is minimised.
        weighting: steps per epoch → how tasks are balanced; `gramian_of`, `factors`, `ema_decay`, `accumulate_steps`:
            see `train_step`.
        optimizer: (steps per epoch, steps in all) → optimiser.
        rate: (steps per epoch, steps in all) → (steps made so far → learning rate of the next), for records; None:
            they have none.
        networks: the network by branch, each computing that branch alone: what deploying it costs.
        cadence: how long, how often.
        seed: of the initialisation.
        teachers: task (or `teacher`, of all tasks) → model folder whose variables the method gets as `frozen`.
        settings: everything that decides the outcome, as JSON; a finished stage is reused only if it has the same.
        model_spec: what the model folder says of the network.
        augment: the preset of `data/augment.py` that training batches go through; evaluation is never augmented.
        facts: further entries of `results.json` (dataset, backbone, the paper's row, ...).
        residence: keeps the data on the devices; None: the host reads and sends every batch.
        steps_in_one_call: with a residence: many steps are one call.
        cache_teachers, cache_dtype: whether what teachers say of every image is computed once, where it is kept, and as
            what (`training/taught.py`).
        at_once: stages that are trained at the same time on these devices.
        sharers: groups of devices that train at the same time and share the host's memory.
        taught: where the teachers are given, not trained: keeps the cache for the other seeds of the run.
        constants: the constant predictors of all stages of the run; None: its own.
        card: (results, whether of the moving averages) → the text of README.md in the model folder; None: it has none.
        continues: the folder of a finished stage, where this one goes on (`continuing.begin`).
        fsdp: parameters, what optimisers keep of them, and teachers are split over the devices (`sharding.of_leaves`).
    """

    name: str
    method: Method
    weighting: Callable[[int], Weighting]
    optimizer: Callable[[int, int], optax.GradientTransformation]
    networks: Mapping[str, nn.Module]
    data: StageData
    cadence: Cadence
    seed: int
    teachers: Mapping[str, Path]
    settings: Mapping[str, Any]
    model_spec: Mapping[str, Any]
    facts: Mapping[str, Any]
    gramian_of: Literal['parameters', 'features'] = 'parameters'
    factors: Mapping[str, float] | None = None
    augment: str = 'none'
    ema_decay: float = 0.0
    accumulate_steps: int = 1
    residence: Residence | None = None
    steps_in_one_call: bool = False
    cache_teachers: Literal['auto', 'memory', 'disk', 'off'] = 'off'
    cache_dtype: Literal['float32', 'bfloat16'] = 'float32'
    taught: Shared | None = None
    at_once: int = 1
    sharers: int = 1
    constants: Constants | None = None
    rate: Callable[[int, int], Rate] | None = None
    card: Callable[[Mapping[str, Any], bool], str] | None = None
    fsdp: bool = False
    continues: Path | None = None
