"""Several seeds of one run: each is what it would be alone, and one report ends them."""

import json

import numpy as np
import pytest

from mtkd_jax.experiment import drawing
from mtkd_jax.experiment import run as running
from mtkd_jax.experiment.run import run
from mtkd_jax.experiment.stages import experiments
from mtkd_jax.training import resident, taught
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.stop import NonFiniteLossError
from mtkd_jax.types import UserError
from tests.recipes import load, model

RECIPE = 'tasks=depth,backbone=tests.shallow'


def weights(workdir, stage='kd_mtl'):
    return load_model(workdir / 'stages' / stage / 'model')[1]


def same(one, other):
    flat = [np.concatenate([np.ravel(x) for x in _leaves(tree)]) for tree in (one, other)]
    return np.array_equal(*flat)


def _leaves(tree):
    return [x for key in sorted(tree) for x in _leaves(tree[key])] if isinstance(tree, dict) else [np.asarray(tree)]


ELSEWHERE = {'data__placement': 'host', 'compute_dtype': 'bfloat16', 'ema_decay': 0.5, 'checkpoint_every_steps': 1}


@pytest.mark.parametrize(('devices', 'others'), [(1, {}), (2, {}), (2, ELSEWHERE)])
def test_each_seed_is_what_it_is_alone(rooms, tmp_path, monkeypatch, devices, others):
    """On two devices each of two seeds has one. Data are read once, and each seed is continued as a run of its own."""
    read = []
    placed = resident._placed
    monkeypatch.setattr(resident, '_placed', lambda *given: (read.append(given[0]), placed(*given))[1])
    config = load('rooms', RECIPE, data__data_dir=rooms, devices=devices, seeds=(1, 2), **others)
    report = run(config, tmp_path / 'several').read_text()
    assert len(read) == len({id(split.source) for split in read}) == (0 if others else 2)
    alone = load('rooms', RECIPE, data__data_dir=rooms, seed=2, **others)
    run(alone, tmp_path / 'alone')
    ours = tmp_path / 'several' / 'seed2'
    for stage in ('stl_depth', 'kd_mtl'):
        assert same(weights(ours, stage), weights(tmp_path / 'alone', stage))
    assert not same(weights(ours), weights(tmp_path / 'several' / 'seed1'))
    settings = [json.loads((place / 'stages/kd_mtl/settings.json').read_text()) for place in (ours, tmp_path / 'alone')]
    assert settings[0] == settings[1]
    assert '2 runs that differ in their seed only' in report
    assert '[seed1](seed1/report.md), [seed2](seed2/report.md)' in report
    assert ' ± ' in report
    assert '![curves](figures/curves.png)' in report
    assert (tmp_path / 'several' / 'figures' / 'curves.png').is_file()
    assert 'One seed (2) was run' in (ours / 'report.md').read_text()
    before = (ours / 'stages/kd_mtl/results.json').stat().st_mtime_ns
    run(alone, ours)
    run(config, tmp_path / 'several')
    assert (ours / 'stages/kd_mtl/results.json').stat().st_mtime_ns == before


def test_given_teachers_are_asked_once(rooms, tmp_path, monkeypatch):
    """All seeds have the same ones; those that are trained here are each seed's own."""
    asked = []
    fill = taught.fill
    monkeypatch.setattr(taught, 'fill', lambda *given, **named: (asked.append(given[0]), fill(*given, **named))[1])
    fields = {'data__data_dir': rooms, 'epochs': 2, 'seeds': (0, 1)}
    teacher = model(tmp_path / 'given', ['depth'], backbone='tests.shallow')
    run(load('rooms', RECIPE, **fields, method_settings__teachers__depth=teacher), tmp_path / 'given_run')
    assert len(asked) == 1
    run(load('rooms', RECIPE, **fields), tmp_path / 'trained_run')
    assert len(asked) == 3


def test_one_report_in_a_workdir(rooms, tmp_path):
    one, several = (load('rooms', RECIPE, data__data_dir=rooms, **fields) for fields in ({}, {'seeds': (0, 1)}))
    (tmp_path / 'several' / 'seed0' / 'stages').mkdir(parents=True)
    with pytest.raises(UserError, match=r'holds a run of several seeds; give --config\.seeds'):
        run(one, tmp_path / 'several')
    stage = tmp_path / 'one' / 'stages' / 'kd_mtl'
    stage.mkdir(parents=True)
    (stage / 'settings.json').write_text('{}')
    with pytest.raises(UserError, match='holds a run of one seed; give `seeds` another'):
        run(several, tmp_path / 'one')


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'seeds': (0, 1, 0)}, 'give each seed once'),
        ({'seeds': (0, -1)}, 'give each seed once, 0 or more'),
        ({'seeds': (1,), 'seed': 3}, '`seed` is 3, but `seeds` is'),
        ({'seeds': ('a',)}, '`seeds` is .*whole number'),
        ({'seeds': (0.5,)}, '`seeds` is .*whole number'),
    ],
)
def test_seeds_that_do_not_fit_are_refused(rooms, tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        run(load('rooms', RECIPE, data__data_dir=rooms, **fields), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_seeds_divide_the_devices(rooms, tmp_path):
    """Into as many equal shares as there can be; the batch must divide over a share."""
    for devices, count, sizes in [(4, 2, [2, 2]), (4, 3, [2, 2, 2]), (2, 3, [1, 1, 1]), (1, 2, [1, 1])]:
        config = load('rooms', RECIPE, data__data_dir=rooms, devices=devices, seeds=tuple(range(count)))
        made = experiments(config, tmp_path, lambda *what: None)
        assert [one.mesh.size for one in made] == sizes
        assert len({one.mesh for one in made}) == min(devices // sizes[0], count)
        assert [one.config.seed for one in made] == [one.data.train.seed for one in made] == list(range(count))
        assert made[0].data.train.source is made[1].data.train.source
    with pytest.raises(UserError, match='`batch_size` is 4, which does not divide over 8 devices'):
        experiments(load('rooms', RECIPE, data__data_dir=rooms, devices=8), tmp_path, lambda *what: None)


@pytest.mark.parametrize('devices', [1, 2])
def test_a_seed_that_diverges_keeps_no_other_from_its_end(rooms, tmp_path, monkeypatch, devices):
    """The report of the others is written, and says which seed is not in it."""
    begin = running.run_stage

    def diverges(stage, mesh, workdir, *others):
        if workdir.name == 'seed0':
            raise NonFiniteLossError(f'loss = nan in {workdir}')
        return begin(stage, mesh, workdir, *others)

    monkeypatch.setattr(running, 'run_stage', diverges)
    config = load('rooms', f'method=uniform,{RECIPE}', data__data_dir=rooms, devices=devices, seeds=(0, 1))
    with pytest.raises(NonFiniteLossError, match='seed0'):
        run(config, tmp_path)
    report = (tmp_path / 'report.md').read_text()
    assert 'One run, with a report each: [seed1]' in report
    assert 'Not finished, and not counted here: seed0.' in report


def test_a_picture_that_cannot_be_drawn_keeps_no_other_seed_from_training(rooms, tmp_path, monkeypatch, capsys):
    """The error is raised when all have ended, and all reports are written."""

    def fails(made, *others):
        if made.config.seed == 0:
            raise RuntimeError('no font')

    monkeypatch.setattr(drawing, 'draw', fails)
    config = load('rooms', f'method=uniform,{RECIPE}', data__data_dir=rooms, seeds=(0, 1))
    with pytest.raises(RuntimeError, match='no font'):
        run(config, tmp_path)
    said = capsys.readouterr()
    assert 'seed0: RuntimeError: no font. The other seeds go on.' in said.err
    assert '[seed0](seed0/report.md), [seed1](seed1/report.md)' in (tmp_path / 'report.md').read_text()
    reports = [(tmp_path / f'seed{seed}' / 'report.md').read_text() for seed in (0, 1)]
    assert ['(RuntimeError: no font)' in report for report in reports] == [True, False]
