"""What is left of a run: known by stages that were timed, or counted; otherwise not said."""

import pytest

from mtkd_jax.experiment import outlook
from mtkd_jax.experiment.outlook import Outlook
from mtkd_jax.experiment.stages import experiments
from mtkd_jax.files import write_json
from tests.recipes import load

RECIPE = 'tasks=depth+normals,backbone=tests.shallow'


@pytest.fixture
def made(rooms, tmp_path):
    """Two seeds: stl_depth, stl_normals and kd_mtl of each, two steps long."""
    config = load('rooms', RECIPE, data__data_dir=rooms, seeds=(0, 1), stages_at_once=1)
    return experiments(config, tmp_path, lambda *what: None)


def test_what_is_left_is_said_once_it_is_known(made, monkeypatch):
    """By stages of the same kind, of another seed or another task alone; of another kind by the ratio of operations."""
    counted = []

    def operations(job, keeps):
        assert keeps
        counted.append(job.stage.name)
        return {'stl_depth': 1e9, 'kd_mtl': 2e9}[job.stage.name]

    monkeypatch.setattr(outlook, 'operations', operations)
    (depth, normals, distilled), (depth_1, normals_1, distilled_1) = (one.stages for one in made)
    shown = Outlook(made)
    left = shown.of(depth)
    assert left(2, None) == ''
    assert left(1, 10.0) == '', 'nothing of kd_mtl is known'
    assert counted == []
    shown.end(depth)
    left = shown.of(normals)
    assert counted == ['stl_depth', 'kd_mtl']
    assert left(2, None) == 'about 2 min left in all', 'seconds: 20 + 40, of the other seed 2 · 20 + 40'
    assert left(1, 30.0) == 'about 6 min left in all', 'seconds: 30 + 120, 2 · 60 + 120'
    shown.end(normals)
    left = shown.of(distilled)
    assert left(2, None) == 'about 6 min left in all'
    assert left(2, 15.0) == 'about 3 min left in all', 'its own steps say more than a ratio: 30, 2 · 60 + 30'
    # What is finished takes nothing.
    for stage in (depth_1, normals_1):
        folder = made[1].workdir / 'stages' / stage.name
        folder.mkdir(parents=True)
        write_json(folder / 'results.json', {})
    assert shown.of(distilled)(2, 12.0) == 'about 50 s left in all'
    shown.end(distilled)
    left = shown.of(distilled_1)
    assert left(2, None) == 'about 20 s left in all'
    assert left(1, 15.0) == '', 'what is left of the last stage is said of itself'
    assert counted == ['stl_depth', 'kd_mtl']


def test_of_short_stages_nothing_is_counted(made, monkeypatch):
    """Nor where XLA does not count is anything said."""
    monkeypatch.setattr(outlook, 'operations', lambda job, keeps: pytest.fail('counted'))
    depth, normals, _ = made[0].stages
    short = Outlook(made)
    short.of(depth)(0, 9.0)
    short.end(depth)
    assert short.of(normals)(2, None) == ''
    monkeypatch.setattr(outlook, 'operations', lambda job, keeps: None)
    uncounted = Outlook(made)
    uncounted.of(depth)(0, 11.0)
    uncounted.end(depth)
    assert uncounted.of(normals)(2, None) == ''


def test_stages_at_the_same_time_share_what_is_left(rooms, tmp_path, monkeypatch):
    """Together they take what their steps add up to, each slowed down by the other."""
    monkeypatch.setattr(outlook, 'operations', lambda job, keeps: None)
    config = load('rooms', RECIPE, data__data_dir=rooms, stages_at_once=2)
    (one,) = experiments(config, tmp_path, lambda *what: None)
    depth, normals, distilled = one.stages
    shown = Outlook([one])
    shown._seconds[outlook._kind(shown._jobs[2])] = 60.0
    of_depth = shown.of(depth)
    assert of_depth(2, None) == ''
    of_normals = shown.of(normals)
    assert of_depth(2, 30.0) == 'about 2 min left in all', 'seconds: 2 · 30, of normals 2 · 30, 2 · 60, by two'
    assert of_normals(1, 30.0) == 'about 2 min left in all', '60, 30, 120'
    shown.end(normals)
    of_distilled = shown.of(distilled)
    assert of_depth(1, 240.0) == 'about 3 min left in all', '240, 120, though `normals` began after it'
    assert of_distilled(1, 60.0) == 'about 2 min left in all', '240, 60'
    shown.end(depth)
    assert of_distilled(1, 60.0) == '', 'alone'


def test_for_a_last_stage_alone_nothing_is_counted(rooms, tmp_path, monkeypatch):
    """Counting would take until the stage itself can say it."""
    monkeypatch.setattr(outlook, 'operations', lambda job, keeps: pytest.fail('counted'))
    config = load('rooms', RECIPE, data__data_dir=rooms, stages_at_once=2)
    (one,) = experiments(config, tmp_path, lambda *what: None)
    depth, normals, distilled = one.stages
    shown = Outlook([one])
    first, second = shown.of(depth), shown.of(normals)
    for left in (first, second):
        assert left(1, 30.0) == ''
    shown.end(depth)
    shown.end(normals)
    left = shown.of(distilled)
    assert left(2, None) == ''
    assert left(1, 30.0) == ''


def test_what_a_broken_seed_leaves_is_not_counted(made):
    (depth, _, _), (depth_1, normals_1, distilled_1) = (one.stages for one in made)
    shown = Outlook(made)
    for job in shown._jobs:
        shown._seconds[outlook._kind(job)] = 60.0
    shown.of(depth)(2, 60.0)
    shown.end(depth)
    shown.drop(made[0])
    left = shown.of(depth_1)
    assert left(2, 60.0) == 'about 6 min left in all', 'three stages of two steps'
    for stage in (depth_1, normals_1):
        shown.end(stage)
    assert shown.of(distilled_1)(1, 60.0) == ''
