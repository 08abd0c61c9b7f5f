"""A stage that is trained already: what became of its records decides whether it can be finished."""

import dataclasses

import pytest

from mtkd_jax import methods, records
from mtkd_jax.data.pipeline import Split
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.training.evaluate import Constants
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.run import run_stage
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import UserError
from tests import recipes, small, tiny


def run(workdir, make_writer=MetricWriter, **changes):
    stage = dataclasses.replace(small.stage(workdir, methods.Supervised(tiny.Network(), tiny.TASKS)), **changes)
    silent = small.as_context(small.Silent())
    return run_stage(stage, small.mesh(), workdir, make_writer, lambda *about: silent, StopRequest(), Programs())


def test_constant_predictors_are_computed_once_for_all_stages(rooms, tmp_path, monkeypatch):
    config = recipes.load('rooms', 'tasks=depth+normals,backbone=tests.shallow', data__data_dir=rooms)
    stages = recipes.stages(config, tmp_path)
    assert len({id(stage.constants) for stage in stages}) == 1
    compiled = Programs().compiled
    found = [stage.constants.of(stage.method.tasks, compiled, StopRequest()) for stage in stages[:1]]
    monkeypatch.setattr(Split, 'ordered', None)
    found += [stage.constants.of(stage.method.tasks, compiled, StopRequest()) for stage in stages[1:]]
    monkeypatch.undo()
    alone = [
        Constants(s.method.tasks, s.data.train, s.data.test).of(s.method.tasks, compiled, StopRequest()) for s in stages
    ]
    assert found == alone
    assert list(found[2]) == ['depth', 'normals']


def in_memory(folder, start):
    return small.as_context(small.Records())


def test_a_trained_stage_is_finished_from_its_records(tmp_path):
    results = run(tmp_path)
    folder = records.stage_folder(tmp_path, 'kd_mtl')
    file = folder / 'metrics.jsonl'
    assert run(tmp_path) == results == records.read_results(folder)
    assert 'format' not in results

    # A last line that was half written does not lose the training.
    (folder / 'results.json').unlink()
    file.write_bytes(file.read_bytes() + b'{"step": 8, "spl')
    again = run(tmp_path, in_memory)
    assert again['results'] == results['results']

    # Without any record nothing can be said of it.
    (folder / 'results.json').unlink()
    file.write_bytes(b'')
    with pytest.raises(UserError, match=r'metrics.jsonl has no record of the training; remove .*kd_mtl to train'):
        run(tmp_path)


def test_a_stage_has_the_cards_of_its_models_before_it_is_finished(tmp_path, monkeypatch):
    given = {'ema_decay': 0.5, 'card': lambda results, averages: f'{results["steps"]} steps, averages {averages}'}
    folder = records.stage_folder(tmp_path, 'kd_mtl')
    cards = {name: folder / name / 'README.md' for name in ('model', 'model_ema')}

    def written():
        return {name: file.read_text() for name, file in cards.items()}

    def killed(*what):
        raise RuntimeError('killed')

    with monkeypatch.context() as patched:
        patched.setattr(records, 'write_results', killed)
        with pytest.raises(RuntimeError, match='killed'):
            run(tmp_path, **given)
    expected = {'model': '8 steps, averages False', 'model_ema': '8 steps, averages True'}
    assert written() == expected
    cards['model'].write_text('half')
    run(tmp_path, **given)
    assert written() == expected
    # A finished stage keeps what its user made of them.
    cards['model'].write_text('of the user')
    run(tmp_path, **given)
    assert cards['model'].read_text() == 'of the user'


def test_a_finished_stage_without_its_model_is_named(tmp_path):
    results = run(tmp_path)
    folder = records.stage_folder(tmp_path, 'kd_mtl')
    weights = folder / 'model' / 'weights.npz'
    weights.unlink()
    with pytest.raises(UserError, match=r'kd_mtl is finished, but its model cannot be used: .* Remove .*results.json'):
        run(tmp_path)
    # As the message says: the checkpoints write it again.
    (folder / 'results.json').unlink()
    assert run(tmp_path)['results'] == results['results']

    # Another run's records are no results of this training.
    (folder / 'results.json').unlink()
    file = folder / 'metrics.jsonl'
    kept = [line for line in file.read_text().splitlines(keepends=True) if '"step": 8' not in line]
    file.write_text(''.join(kept))
    with pytest.raises(UserError, match=r'metrics.jsonl ends with step \d, but the training with step 8'):
        run(tmp_path, in_memory)
