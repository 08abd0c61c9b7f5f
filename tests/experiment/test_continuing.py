"""Training longer: a run that goes on where a finished one ended is the run that was as long from the beginning."""

import json
import shutil

import jax
import numpy as np
import pytest

from mtkd_jax.experiment.run import run
from mtkd_jax.experiment.stages import experiments
from mtkd_jax.records import read_records
from mtkd_jax.training.folder import load_model, save_model, weights_digest
from mtkd_jax.types import UserError
from tests.recipes import load

RECIPE = 'method=uniform,tasks=depth,backbone=tests.shallow'
TIMES = ('seconds', 'waiting')


def config(rooms, **fields):
    return load('rooms', fields.pop('recipe', RECIPE), data__data_dir=rooms, panel_images=0, **fields)


def results(workdir):
    found = json.loads((workdir / 'stages' / 'uniform' / 'results.json').read_text())
    return {name: value for name, value in found.items() if name not in ('timing', 'spent')}


def records(workdir):
    written = read_records(workdir / 'stages' / 'uniform')
    return [{name: value for name, value in record.items() if name not in TIMES} for record in written]


@pytest.fixture(scope='module')
def short(rooms, tmp_path_factory):
    """A finished run of two epochs."""
    folder = tmp_path_factory.mktemp('short')
    run(config(rooms, epochs=2, selection='lowest_training_loss'), folder)
    return folder


def test_it_is_the_run_that_was_as_long_from_the_beginning(rooms, short, tmp_path):
    fields = {'epochs': 4, 'selection': 'lowest_training_loss'}
    run(config(rooms, **fields), tmp_path / 'straight')
    longer = config(rooms, **fields, continue_from=str(short))
    before = records(short)
    run(longer, tmp_path / 'longer')
    stages = [tmp_path / name / 'stages' / 'uniform' for name in ('straight', 'longer')]
    np.testing.assert_equal(*(load_model(stage / 'model')[1] for stage in stages))
    assert records(tmp_path / 'longer') == records(tmp_path / 'straight')
    assert records(short) == before
    straight, found = results(tmp_path / 'straight'), results(tmp_path / 'longer')
    same = {name: straight['settings'][name] for name in ('learning_rate', 'schedule', 'schedule_settings')}
    of_short = {'epochs': 2, **same, 'weights': weights_digest(short / 'stages' / 'uniform' / 'model')}
    assert found['settings'] == straight['settings'] | {'continued': of_short}
    assert found['results'] == straight['results']
    # It is finished; nothing is trained again, and a run that continues nothing is another one.
    written = (stages[1] / 'results.json').read_bytes()
    run(longer, tmp_path / 'longer')
    assert (stages[1] / 'results.json').read_bytes() == written
    with pytest.raises(UserError, match=r'other settings: `continued\.epochs` was 2, is None'):
        run(config(rooms, **fields), tmp_path / 'longer')


def test_a_best_epoch_of_the_shorter_run_stays_the_best_and_that_run_may_go(rooms, short, tmp_path):
    """Here one that no other epoch can beat."""
    shutil.copytree(short, tmp_path / 'short')
    best = tmp_path / 'short' / 'stages' / 'uniform' / 'best'
    spec, variables = load_model(best)
    save_model(best, {**spec, 'training_loss': -1.0}, jax.tree.map(lambda x: x + 1, variables))
    given = {'epochs': 3, 'selection': 'lowest_training_loss', 'continue_from': str(tmp_path / 'short')}
    longer = config(rooms, **given, learning_rate=0.002)
    run(longer, tmp_path / 'longer')
    model = tmp_path / 'longer' / 'stages' / 'uniform' / 'model'
    np.testing.assert_equal(load_model(model)[1], load_model(best)[1])
    before = json.loads((short / 'stages' / 'uniform' / 'settings.json').read_text())['learning_rate']
    assert f'The first 2 epochs: another run, learning rate {before}.' in (model / 'README.md').read_text()
    shutil.rmtree(tmp_path / 'short')
    run(longer, tmp_path / 'longer')
    assert results(tmp_path / 'longer')['settings']['continued']['learning_rate'] == before


def test_a_copy_that_was_broken_off_is_made_again(rooms, short, tmp_path):
    """The process was killed between the first file and the last."""
    longer = config(rooms, epochs=3, selection='lowest_training_loss', continue_from=str(short))
    folder = tmp_path / 'stages' / 'uniform'
    (folder / 'continued.partial' / '2').mkdir(parents=True)
    (folder / 'checkpoints').mkdir()
    run(longer, tmp_path)
    assert json.loads((folder / 'results.json').read_text())['epochs'] == 3
    assert min(record['step'] for record in records(tmp_path)) <= 2
    assert not (folder / 'continued.partial').exists()


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'epochs': 2}, r'`epochs` is 2, but .*uniform was trained for 2; give more, all in all'),
        ({'batch_size': 2}, r'trained with `batch_size` 4, now it is 2; only epochs, learning_rate, schedule'),
        ({'selection': 'last'}, "with `selection` 'lowest_training_loss', now it is 'last'"),
        ({'recipe': RECIPE.replace('uniform', 'mgda')}, r'mtl_mgda|mgda is no finished stage'),
        ({'continue_from': 's3://bucket/run'}, 'trainings go on in folders of this machine only'),
    ],
)
def test_what_cannot_be_continued_is_refused(rooms, short, tmp_path, fields, message):
    given = {'epochs': 3, 'selection': 'lowest_training_loss', 'continue_from': str(short), **fields}
    with pytest.raises(UserError, match=message):
        experiments(config(rooms, **given), tmp_path, lambda *_: None)


def test_the_run_itself_and_one_without_checkpoints_are_refused(rooms, short, tmp_path):
    longer = {'epochs': 3, 'selection': 'lowest_training_loss'}
    with pytest.raises(UserError, match='the run itself; choose another --workdir'):
        experiments(config(rooms, **longer, continue_from=str(short)), short, lambda *_: None)
    shutil.copytree(short, tmp_path / 'short')
    shutil.rmtree(tmp_path / 'short' / 'stages' / 'uniform' / 'checkpoints')
    with pytest.raises(UserError, match='has no checkpoint to continue from; train that stage again'):
        run(config(rooms, **longer, continue_from=str(tmp_path / 'short')), tmp_path / 'longer')


def test_every_seed_goes_on_from_its_own(rooms, short, tmp_path):
    for seed in (0, 1):
        shutil.copytree(short / 'stages', tmp_path / 'short' / f'seed{seed}' / 'stages')
        file = tmp_path / 'short' / f'seed{seed}' / 'stages' / 'uniform' / 'settings.json'
        file.write_text(json.dumps(json.loads(file.read_text()) | {'seed': seed}))
    given = {'epochs': 3, 'selection': 'lowest_training_loss', 'continue_from': str(tmp_path / 'short')}
    made = experiments(config(rooms, **given, seeds=(0, 1)), tmp_path / 'longer', lambda *_: None)
    for seed, one in enumerate(made):
        assert one.stages[0].continues == (tmp_path / 'short' / f'seed{seed}' / 'stages' / 'uniform').resolve()
