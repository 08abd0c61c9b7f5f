"""A trained network's metrics on a prepared split."""

import functools
from pathlib import Path

from mtkd_jax import datasets, models, records
from mtkd_jax.data.pipeline import Split
from mtkd_jax.experiment.models import branches_of, open_model
from mtkd_jax.names import choice
from mtkd_jax.places import place
from mtkd_jax.training import sharding
from mtkd_jax.training.evaluate import Evaluator
from mtkd_jax.types import UserError


def evaluate(
    model: str | Path,
    split: str = 'test',
    data_dir: str | None = None,
    batch_size: int = 8,
    *,
    branch: str | None = None,
    allow_modules: bool = False,
) -> dict[str, float]:
    """Metrics of a model folder on a split of the prepared data that it was made for, by name (docs/metrics.md).

    Args:
        model: the folder.
        split: of the data set.
        data_dir: where prepared data lie; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
        batch_size: images at a time; the results do not depend on it.
        branch: only this branch of a network that has several; the others are not computed.
        allow_modules: see `load`.

    Raises:
        UserError: it is no model folder, `batch_size` is below 1, or there is no such branch or split.
        DataNotPrepared: the data are not in `data_dir`.
    """
    if batch_size < 1:
        raise UserError(f'`batch_size` is {batch_size}; give at least 1.')
    opened = open_model(place(model), allow_modules=allow_modules, branch=branch)
    described = opened.spec['data']
    data = datasets.named(described['dataset']).open(described, data_dir)
    mesh = sharding.make_mesh(1)
    evaluator = Evaluator(functools.partial(models.predict, opened.network), opened.tasks, mesh)
    source = data.sources[choice('split', split, tuple(data.sources))]
    batches = Split(source, tuple(opened.tasks), batch_size).ordered()
    return evaluator(sharding.replicate(opened.variables, mesh), sharding.on_device(batches, mesh))


def evaluate_all(
    workdir: Path,
    split: str,
    data_dir: str | None,
    batch_size: int,
    *,
    branch: str | None,
    allow_modules: bool,
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """See `evaluate`: metrics of every model in a workdir by stage, and the stages left out: they lack the `branch`.

    Raises:
        UserError: there is no model, or none of them has the branch; and see `evaluate`.
    """
    folders = records.stage_folders(workdir, f'{records.MODEL}/model.json')
    if not folders:
        raise UserError(f'{workdir} has no finished stage; train first, or give --model=DIR.')
    branches = {folder: branches_of(folder / records.MODEL) for folder in folders}
    if branch is not None:
        choice('branch', branch, sorted({name for found in branches.values() for name in found}))
    having = [folder for folder, found in branches.items() if branch is None or branch in found]
    found = {
        folder.name: evaluate(
            folder / records.MODEL, split, data_dir, batch_size, branch=branch, allow_modules=allow_modules
        )
        for folder in having
    }
    return found, [folder.name for folder in folders if folder not in having]
