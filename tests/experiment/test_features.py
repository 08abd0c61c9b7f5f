"""Features of a run in pairs: those that should not change what is trained do not, in one process and in two."""

import pytest

from mtkd_jax.experiment.run import run
from mtkd_jax.records import read_records
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError
from tests import features
from tests.recipes import load
from tests.several import ended, start

ROWS = features.rows()


@pytest.fixture(scope='module')
def together(rooms, tmp_path_factory):
    folder = tmp_path_factory.mktemp('together')
    jobs = {}
    for i, row in enumerate(ROWS):
        recipe, fields = features.recipe(row), features.fields(row, data__data_dir=rooms)
        if 'continued' in row:
            jobs[f'{i}_short'] = recipe, fields | features.SHORT
            fields['continue_from'] = str(folder / f'{i}_short')
        jobs[str(i)] = recipe, fields
    started = start(folder, jobs)
    yield started, folder
    for process in started:
        process.kill()
        process.wait()


def loaded(rooms, tmp_path, row, **others):
    """The config of a run with the features of `row`; the one that it continues, if any, is trained now."""
    recipe, fields = features.recipe(row), features.fields(row, data__data_dir=rooms, **others)
    if 'continued' in row:
        run(load('rooms', recipe, **fields | features.SHORT), short := tmp_path / f'short_{len(row)}')
        fields['continue_from'] = str(short)
    return load('rooms', recipe, **fields)


class StopAtStep(StopRequest):
    """Is requested when it is asked for the n-th time."""

    def __init__(self, count):
        super().__init__()
        self._left = count

    @property
    def requested(self):
        self._left -= 1
        return self._left < 0

    @requested.setter
    def requested(self, value):
        pass


def numbers(folder, stage, row):
    """Of the first seed and of the network itself, by split and step."""
    place = folder / 'seed0' if 'seeds' in row else folder
    found = {}
    for record in read_records(place / 'stages' / stage):
        kept = {k: v for k, v in record.items() if k.startswith(('loss/', 'distillation/', 'depth_'))}
        found[record['split'], record['step']] = kept
    return found


@pytest.mark.parametrize('number', range(len(ROWS)))
def test_what_should_change_nothing_changes_nothing(rooms, tmp_path, together, number):
    """Stopped in the middle and continued, on two devices; and in two processes, on four."""
    row = ROWS[number]
    plain = [feature for feature in row if feature in features.OUTCOME]
    assert plain != row, 'every row has a feature that should change nothing'
    run(loaded(rooms, tmp_path, plain), tmp_path / 'plain')
    config = loaded(rooms, tmp_path, row, devices=2)
    with pytest.raises(StoppedError):
        run(config, tmp_path / 'all', StopAtStep(9))
    run(config, tmp_path / 'all')
    status, said = ended(*together)
    assert status == [0, 0], said
    near = 0.05 if 'bfloat16' in row else 1e-4
    stages = sorted(place.name for place in (tmp_path / 'plain' / 'stages').iterdir())
    assert len(stages) == len(features.tasks(row)) + 1
    for stage in stages:
        expected = numbers(tmp_path / 'plain', stage, ())
        for folder in (tmp_path / 'all', together[1] / str(number)):
            found = numbers(folder, stage, row)
            assert list(found) == list(expected)
            for place, values in expected.items():
                assert found[place] == pytest.approx(values, rel=near, abs=near), (folder, stage, place)


@pytest.mark.parametrize('pair', features.REFUSED)
def test_what_does_not_go_together_is_refused(rooms, tmp_path, pair):
    with pytest.raises(UserError, match='`cache_teachers` is'):
        run(load('rooms', features.recipe(pair), **features.fields(pair, data__data_dir=rooms)), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_every_pair_is_in_a_row():
    names = set(features.FEATURES)
    for one in names:
        for other in names - {one}:
            assert {one, other} in features.REFUSED or any({one, other} <= set(row) for row in ROWS)
