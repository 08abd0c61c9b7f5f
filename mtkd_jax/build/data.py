"""Prepared data, and the splits that stages read."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtkd_jax.data import builders, pipeline
from mtkd_jax.tasks import Task
from mtkd_jax.training import selection
from mtkd_jax.training.stage import StageData
from mtkd_jax.types import UserError

# Entries of the metadata that tell data apart.
MADE = ('source', 'normals', 'resampling', 'depth', 'test_split', 'parts')
# What the builder of glyphs calls fields of `data`.
GLYPHS = {'train': 'digits_train', 'test': 'digits_test', 'seed': 'glyph_seed'}
FREE = (
    'data_dir',
    'read_threads',
    'read_workers',
    'depth_maximum',
)  # fields of `data` that do not change what is learned


def prepared(config: ConfigDict, progress: builders.Progress) -> builders.Prepared:
    """The prepared data set the config names; rooms and glyphs are rendered when they are not there yet.

    Raises:
        DataNotPrepared: the data set must be made from the user's files first; says how.
    """
    dataset = config.data.dataset
    arguments = data_arguments(config.data.to_dict())
    if dataset == 'rooms':
        return builders.prepare_rooms(config.data.data_dir or None, **arguments, progress=progress)
    if dataset == 'glyphs':
        return builders.prepare_glyphs(config.data.data_dir or None, **arguments, progress=progress)
    return builders.prepared(dataset, config.data.data_dir or None, **arguments)


def data_arguments(data: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a prepared data set among those of its name, from a config's or a model folder's `data`."""
    arguments = {'height': data['height'], 'width': data['width']}
    if data['dataset'] == 'rooms':
        arguments |= {'train': data['train_images'], 'test': data['test_images'], 'seed': data['scene_seed']}
    elif data['dataset'] == 'glyphs':
        arguments |= {name: data[field] for name, field in GLYPHS.items()}
        arguments['characters'] = data['classes']['characters']
    elif data['dataset'] == 'svhn_omniglot':
        arguments['partial'] = data['partial']
    return arguments


def data_settings(config: ConfigDict) -> dict[str, Any]:
    """What identifies the data a stage learns from, as JSON."""
    return {k: v for k, v in config.data.to_dict().items() if k not in FREE}


def stage_data(config: ConfigDict, all_tasks: Sequence[Task], data: builders.Prepared) -> StageData:
    """The splits every stage reads; a validation split is held out of the training set where the config says so."""
    train, validation = data.sources['train'], None
    if config.data.validation_fraction:
        train, validation = pipeline.hold_out(train, config.data.validation_fraction, seed=0)
    count, index = jax.process_count(), jax.process_index()

    def split(source: Any, batch_size: int) -> pipeline.Split:
        return pipeline.Split(
            source,
            tuple(all_tasks),
            batch_size // count,
            config.seed,
            config.data.read_threads,
            index,
            count,
            config.data.read_workers,
        )

    rule = selection.rule_named(config.selection)
    wanted = config.data.to_dict()['classes']
    if data.class_count != wanted:
        raise UserError(f'`data.classes` is {wanted}; {data.path} has {data.class_count}; set that.')
    training = split(train, config.batch_size)
    training.check_trains()
    return StageData(
        train=training,
        test=split(data.sources['test'], config.eval_batch_size),
        validation=split(validation, config.eval_batch_size) if rule.needs_validation else None,
        made={key: data.metadata[key] for key in MADE if key in data.metadata},
    )


def check_parts(config: ConfigDict, data: StageData, mesh: Mesh) -> None:
    """Raises a `UserError` unless the share of a batch that a single-task stage reads divides over the mesh, too."""
    if isinstance(data.train.source, pipeline.Parts):
        parts = data.train.source.total
        if config.batch_size // parts % mesh.size:
            raise UserError(
                f'`batch_size` is {config.batch_size}, {parts} equal shares of which do not divide over {mesh.size} '
                f'devices; choose a multiple of {parts * mesh.size}, or use fewer devices with --config.devices=N.'
            )


def only(data: StageData, chosen: Sequence[Task]) -> StageData:
    """The same splits, reading only the targets of `chosen`."""

    def narrow(split: pipeline.Split) -> pipeline.Split:
        return dataclasses.replace(split, tasks=tuple(chosen))

    validation = narrow(data.validation) if data.validation else None
    return StageData(narrow(data.train), narrow(data.test), validation, data.made)
