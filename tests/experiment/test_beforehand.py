"""What is compiled while teachers are trained is what their pupil then takes."""

import dataclasses
import threading

import jax
import numpy as np
import pytest

from mtkd_jax import records
from mtkd_jax.experiment import estimates
from mtkd_jax.experiment import run as running
from mtkd_jax.experiment.run import run
from mtkd_jax.experiment.stages import experiment
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.run import run_stage
from mtkd_jax.training.stop import StopRequest
from tests import features, small, test_classifiers
from tests.recipes import load


class Noted(Programs):
    """Keeps the names of what it has compiled."""

    def __init__(self):
        super().__init__()
        self.names = []

    def _compile(self, lowered, *others):
        self.names.append(lowered.as_text().split('module @jit_')[1].split(' ')[0])
        super()._compile(lowered, *others)


def trained(one, stage, programs):
    silent = small.as_context(small.Silent())
    run_stage(stage, one.mesh, one.workdir, MetricWriter, lambda *_: silent, StopRequest(), programs)


WITH = (
    (),
    ('cache', 'device', 'averages'),
    ('bfloat16', 'accumulation', 'cache'),
    ('augmentation', 'averages', 'class_weights'),
    ('batch_statistics', 'device'),
)


def check_taken(one):
    """The last stage takes both programs that were compiled before its teachers were trained."""
    *teachers, pupil = one.stages
    programs = Noted()
    running._prepare(one, pupil, StopRequest(), {one.mesh: programs})
    assert programs.names == ['create', 'step']
    for stage in teachers:
        trained(one, stage, Programs())
    trained(one, pupil, programs)
    assert len(programs.names) > 2
    assert not {'create', 'step'} & set(programs.names[2:])


@pytest.mark.parametrize('row', WITH)
def test_the_stage_takes_it(rooms, tmp_path, row):
    fields = features.fields(row, data__data_dir=rooms)
    one = experiment(load('rooms', features.recipe(row), **fields), tmp_path, lambda *_: None)
    check_taken(one)


def test_a_teacher_without_batch_statistics_has_none(tmp_path):
    """As its model folder: an empty collection would be another program."""
    fields = {'data__data_dir': str(tmp_path / 'data'), 'cache_teachers': 'off'}
    config = test_classifiers.load('glyphs', 'method=kd_mtl', **fields)
    one = experiment(config, tmp_path / 'run', lambda *_: None)
    check_taken(one)


def test_a_given_teacher_is_read_though_another_has_its_name(rooms, tmp_path):
    one = experiment(load('rooms', features.recipe(()), data__data_dir=rooms), tmp_path, lambda *_: None)
    teacher, pupil = one.stages
    trained(one, teacher, Programs())
    other = tmp_path / 'given' / teacher.name
    other.parent.mkdir()
    (tmp_path / 'stages' / teacher.name).rename(other)
    (key,) = pupil.teachers
    given = dataclasses.replace(pupil, teachers={key: other / 'model'})
    leaves = jax.tree.leaves(estimates.teachers(one, given))
    assert any(np.any(x != 0) for x in leaves)
    assert not any(np.any(x != 0) for x in jax.tree.leaves(estimates.teachers(one, pupil)))


def test_a_stop_is_looked_at_between_programs(rooms, tmp_path):
    one = experiment(load('rooms', features.recipe(()), data__data_dir=rooms), tmp_path, lambda *_: None)
    programs, stop = Noted(), StopRequest()
    stop.requested = True
    running._prepare(one, one.stages[-1], stop, {one.mesh: programs})
    assert programs.names == ['create']


def test_of_a_stage_that_has_begun_nothing_is_compiled(rooms, tmp_path):
    """It may go on with other choices than a new one would make."""
    one = experiment(load('rooms', features.recipe(()), data__data_dir=rooms), tmp_path, lambda *_: None)
    pupil, programs = one.stages[-1], Noted()
    records.write_settings(records.stage_folder(one.workdir, pupil.name), pupil.settings)
    running._prepare(one, pupil, StopRequest(), {one.mesh: programs})
    assert programs.names == []


def test_many_steps_in_one_call_are_compiled_with_their_data(rooms, tmp_path):
    one = experiment(load('rooms', features.recipe(()), data__data_dir=rooms), tmp_path, lambda *_: None)
    pupil = dataclasses.replace(one.stages[-1], steps_in_one_call=True)
    programs = Noted()
    running._prepare(one, pupil, StopRequest(), {one.mesh: programs})
    assert programs.names == ['create']


def test_a_run_compiles_beforehand_in_a_thread_that_waits(rooms, tmp_path, monkeypatch):
    """Where two teachers train, and one ends before the other."""
    compiled, ended = threading.Event(), []
    prepare, begin = running._prepare, running.run_stage

    def prepares(one, stage, **others):
        prepare(one, stage, **others)
        ended.append(stage.name)
        compiled.set()

    def begins(stage, *others):
        if stage.name == 'stl_normals':
            assert compiled.wait(60)
        return begin(stage, *others)

    monkeypatch.setattr(running, '_prepare', prepares)
    monkeypatch.setattr(running, 'run_stage', begins)
    config = load('rooms', features.RECIPE.format('depth+normals'), data__data_dir=rooms, stages_at_once=2)
    run(config, tmp_path)
    assert ended == ['kd_mtl']
