"""The weights of the epoch that a selection rule chooses, kept in the stage's folder `best`."""

from pathlib import Path

import numpy as np

from mtkd_jax.records import BEST
from mtkd_jax.training import processes
from mtkd_jax.training.folder import load_model, save_model
from mtkd_jax.training.selection import training_score
from mtkd_jax.training.stage import Stage
from mtkd_jax.types import UserError, Variables


def keep_lowest(stage: Stage, folder: Path, variables: Variables, epoch: int) -> None:
    """Keeps `variables` where the training loss of `epoch` is the lowest so far.

    The loss is taken from the stage's records, because a run may have been resumed within the epoch.
    """
    each = stage.data.train.steps_per_epoch
    first, end = epoch * each, (epoch + 1) * each
    tasks = [task.name for task in stage.method.tasks]
    score = processes.from_first(lambda: training_score(folder, tasks, first, end))
    keep_best(stage, folder, variables, score, end)


def keep_best(stage: Stage, folder: Path, variables: Variables, score: float, step: int) -> None:
    """Keeps `variables`, those after `step`, where `score` is lower than that of the ones that are kept.

    Raises:
        UserError: the score is not finite.
    """
    chosen_by = stage.cadence.selection.chosen_by
    if not np.isfinite(score):
        raise UserError(
            f'Stage {stage.name}: the loss on the validation split is {score} after step {step}; a '
            'task has no defined pixel in it. Set `data.validation_fraction` higher.'
        )
    place = folder / BEST

    def lowest() -> float:
        return load_model(place)[0][f'{chosen_by}_loss'] if (place / 'model.json').is_file() else np.inf

    best = processes.from_first(lowest)
    if score < best:
        spec = {**stage.model_spec, f'{chosen_by}_loss': score, 'step': step}
        save_model(place, spec, stage.method.network_variables(variables))
