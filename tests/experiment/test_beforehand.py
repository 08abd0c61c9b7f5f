"""What threads do that have nothing to train: they compile what their pupil then takes, and draw what is trained."""

import dataclasses
import threading

import jax
import numpy as np
import pytest

from mtkd_jax import records
from mtkd_jax.experiment import drawing, estimates
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


def check_taken(one, expected):
    """The last stage takes the programs that were compiled before its teachers were trained."""
    *teachers, pupil = one.stages
    programs = Noted()
    running._prepare(one, pupil, StopRequest(), {one.mesh: programs})
    assert programs.names == expected
    for stage in teachers:
        trained(one, stage, Programs())
    trained(one, pupil, programs)
    others = programs.names[len(expected) :]
    assert others
    assert not {'create', 'ask', 'step'} & set(others)


@pytest.mark.parametrize('row', WITH)
def test_the_stage_takes_it(rooms, tmp_path, row):
    fields = features.fields(row, data__data_dir=rooms)
    one = experiment(load('rooms', features.recipe(row), **fields), tmp_path, lambda *_: None)
    check_taken(one, ['create', *['ask'] * ('cache' in row), 'step'])


def test_a_teacher_without_batch_statistics_has_none(tmp_path):
    """As its model folder: an empty collection would be another program."""
    fields = {'data__data_dir': str(tmp_path / 'data'), 'cache_teachers': 'off'}
    config = test_classifiers.load('glyphs', 'method=kd_mtl', **fields)
    one = experiment(config, tmp_path / 'run', lambda *_: None)
    check_taken(one, ['create', 'step'])


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


@pytest.mark.parametrize('made', [['create'], ['create', 'ask']])
def test_a_stop_is_looked_at_before_each_program(rooms, tmp_path, made):
    fields = {'data__data_dir': rooms, 'cache_teachers': 'memory'}
    one = experiment(load('rooms', features.recipe(()), **fields), tmp_path, lambda *_: None)
    stop = StopRequest()

    class Stopping(Noted):
        def _compile(self, *others):
            super()._compile(*others)
            stop.requested = self.names == made

    programs = Stopping()
    running._prepare(one, one.stages[-1], stop, {one.mesh: programs})
    assert programs.names == made


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


class Waiting:
    """A stage's progress that waits after the first steps until the event is set."""

    def __init__(self, shown, event):
        self.shown, self.event = shown, event

    def __enter__(self):
        self.shown.__enter__()
        return self

    def __exit__(self, *raised):
        self.shown.__exit__(*raised)

    def message(self, text):
        self.shown.message(text)

    def update(self, *said):
        self.shown.update(*said)
        assert self.event.wait(60)


def pupil_waits(event):
    """As `run_stage`; KD-MTL takes its first steps, and the others when the event is set."""
    begin = running.run_stage

    def begins(stage, mesh, workdir, writer, progress, *others):
        if stage.name != 'kd_mtl':
            return begin(stage, mesh, workdir, writer, progress, *others)
        return begin(stage, mesh, workdir, writer, lambda *said: Waiting(progress(*said), event), *others)

    return begins


def test_a_run_draws_what_is_trained_once_others_take_steps(rooms, tmp_path, monkeypatch):
    """Once; the report draws the last one."""
    drawn, drawing_ = [], drawing.draw_panel
    both = threading.Event()

    def draws(stage, *others):
        drawing_(stage, *others)
        drawn.append(((tmp_path / 'stages/kd_mtl/results.json').exists(), stage))
        if len(drawn) == 2:
            both.set()

    monkeypatch.setattr(drawing, 'draw_panel', draws)
    monkeypatch.setattr(running, 'run_stage', pupil_waits(both))
    fields = {'data__data_dir': rooms, 'stages_at_once': 2, 'panel_images': 1}
    run(load('rooms', features.RECIPE.format('depth+normals'), **fields), tmp_path)
    assert sorted(drawn[:2]) == [(False, 'stl_depth'), (False, 'stl_normals')]
    assert drawn[2:] == [(True, name) for name in ('stl_depth', 'stl_normals', 'kd_mtl')]
    assert {f'{name}.png' for _, name in drawn} <= {file.name for file in (tmp_path / 'figures').iterdir()}


def test_what_cannot_be_drawn_beforehand_is_said_by_the_report(rooms, tmp_path, monkeypatch):
    tried = threading.Event()

    def fails(stage, *others):
        tried.set()
        raise OSError(f'{stage} has no room')

    monkeypatch.setattr(drawing, 'draw_panel', fails)
    monkeypatch.setattr(running, 'run_stage', pupil_waits(tried))
    fields = {'data__data_dir': rooms, 'stages_at_once': 2, 'panel_images': 1}
    with pytest.raises(OSError, match='stl_depth has no room'):
        run(load('rooms', features.RECIPE.format('depth+normals'), **fields), tmp_path)
    assert (tmp_path / 'stages/kd_mtl/results.json').exists()
    assert 'stl_depth has no room' in (tmp_path / 'report.md').read_text()
