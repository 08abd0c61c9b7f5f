"""A trained network's metrics on a prepared split."""

import functools
from pathlib import Path

from mtkd_jax import datasets, models
from mtkd_jax.data.pipeline import Split
from mtkd_jax.experiment.models import open_model
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
    allow_modules: bool = False,
) -> dict[str, float]:
    """Metrics of a model folder on a split of the prepared data that it was made for, by name (docs/metrics.md).

    Args:
        model: the folder.
        split: of the data set.
        data_dir: where prepared data lie; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
        batch_size: images at a time; the results do not depend on it.
        allow_modules: see `load`.

    Raises:
        UserError: it is no model folder, `batch_size` is below 1, or there is no such split.
        DataNotPrepared: the data are not in `data_dir`.
    """
    if batch_size < 1:
        raise UserError(f'`batch_size` is {batch_size}; give at least 1.')
    opened = open_model(place(model), allow_modules=allow_modules)
    described = opened.spec['data']
    data = datasets.named(described['dataset']).open(described, data_dir)
    mesh = sharding.make_mesh(1)
    evaluator = Evaluator(functools.partial(models.predict, opened.network), opened.tasks, mesh)
    source = data.sources[choice('split', split, tuple(data.sources))]
    batches = Split(source, tuple(opened.tasks), batch_size).ordered()
    return evaluator(sharding.replicate(opened.variables, mesh), sharding.on_device(batches, mesh))
