"""The splits that stages read."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtkd_jax import datasets
from mtkd_jax.data import pipeline
from mtkd_jax.datasets import Prepared, Progress
from mtkd_jax.tasks import Task
from mtkd_jax.training import processes, selection
from mtkd_jax.training.stage import StageData
from mtkd_jax.types import UserError


def prepared(config: ConfigDict, progress: Progress) -> Prepared:
    """The prepared data set that the config names; it is rendered first where it can be.

    Raises:
        DataNotPrepared: the data set must be made from the user's files; says how.
    """
    dataset = datasets.named(config.data.dataset)
    # What the first process renders, the others find.
    return processes.after_first(lambda: dataset.ready(config.data.to_dict(), config.data.data_dir or None, progress))


def stage_data(config: ConfigDict, tasks: Sequence[Task], data: Prepared) -> StageData:
    """The splits every stage reads; a validation split is held out of the training set where the config says so."""
    train, held_out = data.sources['train'], None
    lacking = [task.name for task in tasks if task.name not in data.metadata.get('targets', [task.name])]
    if lacking:
        raise UserError(
            f'`tasks` has {lacking[0]!r}, but {data.path} was prepared without it: its targets are '
            f'{", ".join(data.metadata["targets"])}. Leave it out, or prepare again with the folder of {lacking[0]}.'
        )
    if config.data.validation_fraction:
        train, held_out = pipeline.hold_out(train, config.data.validation_fraction, seed=0)
    elif datasets.named(config.data.dataset).own_validation:
        held_out = data.sources.get('validation')
    count, index = jax.process_count(), jax.process_index()

    def split(source: Any, batch_size: int) -> pipeline.Split:
        return pipeline.Split(
            source,
            tuple(tasks),
            batch_size,
            config.seed,
            config.data.read_threads,
            index,
            count,
            config.data.read_workers,
        )

    rule = selection.rule_named(config.selection)
    wanted = config.data.to_dict().get('classes')
    if 'classes' in data.metadata and data.class_count != wanted:
        raise UserError(f'`data.classes` is {wanted}; {data.path} has {data.class_count}; set that.')
    training = split(train, config.batch_size)
    training.check_trains()
    return StageData(
        train=training,
        test=split(data.sources['test'], config.eval_batch_size),
        validation=split(_held_out(rule, held_out, data), config.eval_batch_size) if rule.needs_validation else None,
        made=data.made,
    )


def check_pools(config: ConfigDict, data: StageData, mesh: Mesh) -> None:
    """Raises a UserError unless the mesh also divides the share of a batch that a single-task stage reads."""
    if isinstance(data.train.source, pipeline.Pools):
        pools = data.train.source.total
        if config.batch_size // pools % mesh.size:
            raise UserError(
                f'`batch_size` is {config.batch_size}, {pools} equal shares of which do not divide over {mesh.size} '
                f'devices; choose a multiple of {pools * mesh.size}, or use fewer devices with --config.devices=N.'
            )


def only(data: StageData, chosen: Sequence[Task]) -> StageData:
    """The same splits, reading only the targets of tasks with the names of `chosen`."""
    own = {task.name: task for task in data.train.tasks}
    return _with(data, tasks=tuple(own[task.name] for task in chosen))


def seeded(data: StageData, seed: int) -> StageData:
    """The same splits of the same sources, in the order of another seed."""
    return _with(data, seed=seed)


def _with(data: StageData, **changes: Any) -> StageData:
    train, test = (dataclasses.replace(split, **changes) for split in (data.train, data.test))
    validation = dataclasses.replace(data.validation, **changes) if data.validation else None
    return StageData(train, test, validation, data.made)


def _held_out(rule: selection.Rule, source: pipeline.Source | None, data: Prepared) -> pipeline.Source:
    if source is None:
        raise UserError(
            f'`selection` is {rule.name!r}, but {data.path} has no validation split; set `data.validation_fraction`, '
            'for example to 0.1.'
        )
    return source
