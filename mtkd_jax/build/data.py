"""Prepared data, and the splits that stages read."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtkd_jax.build import custom
from mtkd_jax.build.custom import is_custom
from mtkd_jax.data import builders, pipeline
from mtkd_jax.tasks import Task
from mtkd_jax.training import selection
from mtkd_jax.training.stage import StageData
from mtkd_jax.types import UserError

# Entries of the metadata that tell data apart.
MADE = ('source', 'normals', 'resampling', 'depth', 'test_split', 'parts', 'targets', 'missing_buildings')
# What the builder of glyphs calls fields of `data`.
GLYPHS = {'train': 'digits_train', 'test': 'digits_test', 'seed': 'glyph_seed'}
# Further fields of `data` that tell prepared data apart, or say how they are read.
READ_AS = {'cityscapes': ('classes', 'depth'), 'taskonomy': ('classes',), 'svhn_omniglot': ('partial',)}
OWN_VALIDATION = ('taskonomy',)  # data sets with a validation split of their own
# Fields of `data` that do not change what is learned.
FREE = ('data_dir', 'read_threads', 'read_workers', 'depth_maximum')


def prepared(config: ConfigDict, progress: builders.Progress) -> builders.Prepared:
    """The prepared data set the config names; rooms and glyphs are rendered when they are not there yet.

    Raises:
        DataNotPrepared: the data set must be made from the user's files first; says how.
    """
    dataset = config.data.dataset
    if is_custom(dataset):
        return custom.prepared(dataset, config.data.to_dict())
    arguments = data_arguments(config.data.to_dict())
    if dataset == 'rooms':
        return builders.prepare_rooms(config.data.data_dir or None, **arguments, progress=progress)
    if dataset == 'glyphs':
        return builders.prepare_glyphs(config.data.data_dir or None, **arguments, progress=progress)
    return builders.prepared(dataset, config.data.data_dir or None, **arguments)


def opened(data: Mapping[str, Any], data_dir: str | None) -> builders.Prepared:
    """The prepared data that a model folder's `data` names.

    Raises:
        DataNotPrepared: it is not in `data_dir`.
    """
    if is_custom(data['dataset']):
        return custom.prepared(data['dataset'], {**data, 'data_dir': data_dir or ''})
    return builders.prepared(data['dataset'], data_dir, **data_arguments(data))


def data_arguments(data: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a prepared data set among those of its name, from a config's or a model folder's `data`."""
    arguments = {'height': data['height'], 'width': data['width']}
    if data['dataset'] == 'rooms':
        arguments |= {'train': data['train_images'], 'test': data['test_images'], 'seed': data['scene_seed']}
    elif data['dataset'] == 'glyphs':
        arguments |= {name: data[field] for name, field in GLYPHS.items()}
        arguments['characters'] = data['classes']['characters']
    elif data['dataset'] in READ_AS:
        arguments |= {field: data[field] for field in READ_AS[data['dataset']]}
    return arguments


def data_settings(config: ConfigDict) -> dict[str, Any]:
    """What identifies the data a stage learns from, as JSON."""
    settings = {k: v for k, v in config.data.to_dict().items() if k not in FREE}
    # Left out where it does nothing, as in data sets that have no such field.
    if settings.get('augment') == 'none':
        del settings['augment']
    return settings


def stage_data(config: ConfigDict, all_tasks: Sequence[Task], data: builders.Prepared) -> StageData:
    """The splits every stage reads; a validation split is held out of the training set where the config says so."""
    train, held_out = data.sources['train'], None
    lacking = [task.name for task in all_tasks if task.name not in data.metadata.get('targets', [task.name])]
    if lacking:
        raise UserError(
            f'`tasks` has {lacking[0]!r}, but {data.path} was prepared without it: its targets are '
            f'{", ".join(data.metadata["targets"])}. Leave it out, or prepare again with the folder of {lacking[0]}.'
        )
    if config.data.validation_fraction:
        train, held_out = pipeline.hold_out(train, config.data.validation_fraction, seed=0)
    elif config.data.dataset in OWN_VALIDATION or is_custom(config.data.dataset):
        held_out = data.sources.get('validation')
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
    if 'classes' in data.metadata and data.class_count != wanted:
        raise UserError(f'`data.classes` is {wanted}; {data.path} has {data.class_count}; set that.')
    training = split(train, config.batch_size)
    training.check_trains()
    return StageData(
        train=training,
        test=split(data.sources['test'], config.eval_batch_size),
        validation=split(_held_out(rule, held_out, data), config.eval_batch_size) if rule.needs_validation else None,
        made=_made(data),
    )


def _made(data: builders.Prepared) -> dict[str, Any]:
    """What tells prepared data of the same name apart."""
    made = {key: data.metadata[key] for key in MADE if key in data.metadata}
    excluded = data.metadata.get('excluded', {})
    if excluded:
        made['excluded'] = hashlib.sha256(json.dumps(excluded, sort_keys=True).encode()).hexdigest()[:12]
    return made | {'examples': data.counts}


def _held_out(rule: selection.Rule, source: pipeline.Source | None, data: builders.Prepared) -> pipeline.Source:
    if source is None:
        raise UserError(
            f'`selection` is {rule.name!r}, but {data.path} has no validation split; set `data.validation_fraction`, '
            'for example to 0.1.'
        )
    return source


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
