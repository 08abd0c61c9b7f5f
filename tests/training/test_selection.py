"""The epoch of lowest training loss: which one it is, that its weights are kept and evaluated, and that a stop loses
nothing of it."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtkd_jax import methods, records
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.training.folder import load_model, save_model
from mtkd_jax.training.loop import Loop
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.run import run_stage
from mtkd_jax.training.selection import training_score
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError
from tests import small, tiny
from tests.training.test_loop import StopAfter

EPOCHS, PER_EPOCH, EVERY = 4, 4, 3


def stage(workdir):
    """Learns for two epochs, then unlearns: neither the first nor the last epoch has the lowest loss."""
    made = small.stage(workdir, methods.Supervised(tiny.Network(), tiny.TASKS), EPOCHS, 'lowest_training_loss')
    rate = optax.sgd(lambda step: jnp.where(step < 2 * PER_EPOCH, 0.1, -3.0))
    cadence = dataclasses.replace(made.cadence, log_every_steps=EVERY)
    return dataclasses.replace(
        made,
        optimizer=lambda *steps: rate,
        cadence=cadence,
        factors={'segmentation': 0.5, 'depth': 1.0, 'normals': 0.0},
    )


def run(workdir, stop=None):
    silent = small.as_context(small.Silent())
    return run_stage(
        stage(workdir), small.mesh(), workdir, MetricWriter, lambda *about: silent, stop or StopRequest(), Programs()
    )


def written(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('whole')
    return run(workdir), records.stage_folder(workdir, 'kd_mtl')


def test_the_epoch_with_the_lowest_training_loss_is_kept_and_evaluated(whole):
    results, folder = whole
    losses = np.zeros(EPOCHS)
    for record in (r for r in written(folder) if r['split'] == 'train'):
        tasks = [record[f'loss/{task.name}'] for task in tiny.TASKS]
        losses[(record['step'] - 1) // PER_EPOCH] += record['steps'] / PER_EPOCH * np.mean(tasks)
    chosen = int(np.argmin(losses))
    assert 0 < chosen < EPOCHS - 1
    spec, best = load_model(folder / 'best')
    assert spec['training_loss'] == pytest.approx(losses[chosen], rel=1e-6)
    assert spec['step'] == (chosen + 1) * PER_EPOCH
    saved = load_model(folder / 'model')[1]
    np.testing.assert_array_equal(saved['params']['trunk']['kernel'], best['params']['trunk']['kernel'])
    # The test split was evaluated at every epoch here; the result is that of the epoch that was chosen.
    tests = [records.numbers(r) for r in written(folder) if r['split'] == 'test']
    assert len(tests) == EPOCHS
    assert results['results'] == pytest.approx(tests[chosen], rel=1e-5)
    assert results['results'] != pytest.approx(tests[-1], rel=1e-5)
    assert results['selection']['rule'] == 'lowest_training_loss'
    assert 'nothing was chosen on the test split' in results['selection']['note']


def test_a_stop_within_an_epoch_loses_nothing_of_its_loss(whole, tmp_path):
    with pytest.raises(StoppedError):
        run(tmp_path, StopAfter(PER_EPOCH + 3))
    assert run(tmp_path)['results'] == pytest.approx(whole[0]['results'], rel=1e-6)
    spec, expected = (load_model(f / 'best')[0] for f in (records.stage_folder(tmp_path, 'kd_mtl'), whole[1]))
    assert spec['step'] == expected['step']
    assert spec['training_loss'] == pytest.approx(expected['training_loss'], rel=1e-6)


def test_what_an_earlier_training_kept_is_not_this_ones(whole, tmp_path):
    """Without its checkpoints a stage begins anew: a lower loss of before must not stand."""
    made = stage(tmp_path)
    spec, weights = load_model(whole[1] / 'best')
    save_model(tmp_path / 'best', {**spec, 'training_loss': -100.0}, weights)
    with MetricWriter(tmp_path, 0) as writer:
        loop = Loop(made, small.mesh(), tmp_path, StopRequest())
        loop(lambda start: small.as_context(writer), lambda start: small.as_context(small.Silent()))
    assert load_model(tmp_path / 'best')[0]['training_loss'] == pytest.approx(spec['training_loss'], rel=1e-6)


def test_steps_without_a_record_are_named(whole):
    folder = whole[1]
    with pytest.raises(UserError, match=r'has records of 4 of the steps 13 to 20, .*; remove .*kd_mtl to train'):
        training_score(folder, ('depth',), 3 * PER_EPOCH, 5 * PER_EPOCH)
