"""The loop: exact resume, stops, non-finite losses, evaluation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mtkd_jax import methods, weighting
from mtkd_jax.data.pipeline import Split
from mtkd_jax.gradients import task_gradients
from mtkd_jax.methods import Supervised
from mtkd_jax.training import checkpoint
from mtkd_jax.training.loop import Loop
from mtkd_jax.training.selection import rule_named
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import train_step
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError, StopRequest
from mtkd_jax.types import UserError
from tests import small, tiny


class StopAfter(StopRequest):
    """Is requested once it has been asked about often enough."""

    def __init__(self, questions):
        super().__init__()
        self.left = questions

    @property
    def requested(self):
        self.left -= 1
        return self.left < 0

    @requested.setter
    def requested(self, value):
        assert not value


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp('unbroken')
    records = small.Records()
    loop = Loop(small.stage(folder), small.mesh(), folder, StopRequest())
    return small.train(loop, records), records


@pytest.mark.parametrize(('questions', 'step'), [(1, 2), (3, 4), (5, 4), (7, 6)])
def test_a_stopped_run_continues_bit_identically(unbroken, tmp_path, questions, step):
    """Stops fall mid-epoch, on an epoch's last step, inside an evaluation, and in the second epoch."""
    stage = small.stage(tmp_path)
    with pytest.raises(StoppedError, match=f'stopped on request at step {step} of 8'):
        small.train(Loop(stage, small.mesh(), tmp_path, StopAfter(questions)))
    state = small.train(Loop(stage, small.mesh(), tmp_path, StopRequest()))
    assert int(state.step) == 8
    assert_identical(state, unbroken[0])


def test_short_epochs_need_not_end_with_a_checkpoint(tmp_path):
    """Every second does, the last, and those with an evaluation, which may be stopped; a stop elsewhere is saved."""
    stage = small.stage(tmp_path, epochs=6, method=Supervised(network=tiny.Network(), tasks=tiny.TASKS))
    cadence = dataclasses.replace(stage.cadence, checkpoint_every_epochs=2, evaluate_every_epochs=3)
    stage = dataclasses.replace(stage, cadence=cadence)
    assert [cadence.saves(epoch) for epoch in range(6)] == [False, True, True, True, False, True]
    kept = dataclasses.replace(cadence, selection=rule_named('lowest_training_loss'))
    assert all(kept.saves(epoch) for epoch in range(6))
    saved, records = [], small.Records()
    loop = Loop(stage, small.mesh(), tmp_path, StopRequest())
    save = checkpoint.Checkpointer.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpointer, 'save', lambda *given: [saved.append(int(given[1].step)), save(*given)])
        whole = small.train(loop, records)
    assert saved == [8, 12, 16, 24]
    assert [record['epoch'] for record in records if record['split'] == 'test'] == [3, 6]
    with pytest.raises(StoppedError, match='stopped on request at step 6 of 24'):
        small.train(Loop(stage, small.mesh(), tmp_path / 'other', StopAfter(5)))
    # And in the first evaluation.
    with pytest.raises(StoppedError, match='stopped on request at step 12 of 24'):
        small.train(Loop(stage, small.mesh(), tmp_path / 'other', StopAfter(7)))
    assert sorted(int(p.name) for p in (tmp_path / 'other' / 'checkpoints').iterdir() if p.name.isdigit())[-1] == 12
    assert_identical(small.train(Loop(stage, small.mesh(), tmp_path / 'other', StopRequest())), whole)


def test_augmentation_is_resumed_too(tmp_path):
    """Views depend on the step, so a run that is stopped after three of eight sees the same ones."""
    states = {}
    for name, augment, questions in (
        ('whole', 'scale_crop_flip', 99),
        ('cut', 'scale_crop_flip', 2),
        ('no', 'none', 99),
    ):
        method, folder = methods.Supervised(tiny.Network(), tiny.TASKS), tmp_path / name
        stage = small.stage(folder, method, augment=augment)
        if questions < 99:
            with pytest.raises(StoppedError, match='at step 3 of 8'):
                small.train(Loop(stage, small.mesh(), folder, StopAfter(questions)))
        states[name] = small.train(Loop(stage, small.mesh(), folder, StopRequest()))
    assert_identical(states['cut'], states['whole'])
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), states['whole'].params, states['no'].params)
    assert all(jax.tree.leaves(moved))


def balanced(folder, made, name=''):
    """A stage of the smallest network with a weighting."""
    stage = small.stage(folder, method=Supervised(tiny.Network(), tiny.TASKS))
    return dataclasses.replace(stage, weighting=lambda steps: made, settings={'weighting': name})


@pytest.mark.parametrize(
    'made',
    [weighting.dwa(steps_per_epoch=1), weighting.famo(), weighting.gradnorm(), weighting.db_mtl(beta_sigma=0.5)],
    ids=['dwa', 'famo', 'gradnorm', 'db_mtl'],
)
def test_a_stopped_run_continues_with_what_the_weighting_has_learned(tmp_path, made):
    stage = balanced(tmp_path, made)
    whole = small.train(Loop(stage, small.mesh(), tmp_path / 'whole', StopRequest()))
    with pytest.raises(StoppedError, match='at step 3 of 8'):
        small.train(Loop(stage, small.mesh(), tmp_path / 'parts', StopAfter(2)))
    state = small.train(Loop(stage, small.mesh(), tmp_path / 'parts', StopRequest()))
    assert_identical(state, whole)
    fresh = task_gradients(made, stage.method.shared).init(state.params, small.NAMES).weighting
    learned = zip(jax.tree.leaves(fresh), jax.tree.leaves(state.weighting_state), strict=True)
    assert all(np.any(a != b) for a, b in learned if a.ndim)


def test_records(unbroken):
    _, records = unbroken
    tests = [r for r in records if r['split'] == 'test']
    assert [(r['step'], r['epoch']) for r in tests] == [(4, 1), (8, 2)]
    assert {'miou', 'depth_abs', 'normal_median', 'loss/depth'} <= set(tests[0])
    train = [r for r in records if r['split'] == 'train']
    assert [r['step'] for r in train] == [2, 4, 6, 8]
    # Of the last step of each record: the rate before it, of eight.
    assert [r['learning_rate'] for r in train] == [1 / 8, 3 / 8, 5 / 8, 7 / 8]


def test_a_finished_loop_trains_no_further(unbroken, tmp_path):
    stage = small.stage(tmp_path)
    small.train(Loop(stage, small.mesh(), tmp_path, StopRequest()))
    again = Loop(stage, small.mesh(), tmp_path, StopRequest())
    records = small.Records()
    assert_identical(small.train(again, records), unbroken[0])
    assert not [record for record in records if record['split'] == 'train']


def test_a_stop_ends_the_last_evaluation_too(tmp_path):
    """When the checkpoints are closed already."""
    stop = StopRequest()
    loop = Loop(small.stage(tmp_path), small.mesh(), tmp_path, stop)
    state = small.train(loop)
    stop.requested = True
    with pytest.raises(StoppedError, match='what is finished is saved'):
        loop.evaluate_test(state.variables)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(unbroken, tmp_path):
    stage = small.stage(tmp_path)
    small.train(Loop(stage, small.mesh(), tmp_path, StopRequest()))
    newest = tmp_path / 'checkpoints' / '8'
    for file in [f for f in newest.rglob('*') if f.is_file() and 'state' in f.parts]:
        file.write_bytes(b'')
    # It went on from step 4; stopped again, it can save steps that the damaged checkpoint seemed to have.
    with pytest.raises(StoppedError, match='at step 6 of 8'):
        small.train(Loop(stage, small.mesh(), tmp_path, StopAfter(3)))
    records = small.Records()
    assert_identical(small.train(Loop(stage, small.mesh(), tmp_path, StopRequest()), records), unbroken[0])
    assert [r['step'] for r in records if r['split'] == 'train'] == [8]


def test_a_checkpoint_of_another_format_is_refused(tmp_path, monkeypatch):
    """Those written before formats had numbers are of the first."""
    stage = small.stage(tmp_path, method=Supervised(tiny.Network(), tiny.TASKS), epochs=1)
    monkeypatch.setattr(checkpoint, 'FORMAT', 99)
    small.train(Loop(stage, small.mesh(), tmp_path / 'later', StopRequest()))
    monkeypatch.undo()
    with pytest.raises(UserError, match=r'a later version of mtkd_jax \(format 99, this is 3\); use another --workdir'):
        small.train(Loop(stage, small.mesh(), tmp_path / 'later', StopRequest()))
    # The first format has neither number nor checksum.
    kept = ocp.args.JsonSave.__init__
    monkeypatch.setattr(ocp.args.JsonSave, '__init__', lambda self, item: kept(self, without(item)))
    small.train(Loop(stage, small.mesh(), tmp_path / 'earlier', StopRequest()))
    monkeypatch.undo()
    with pytest.raises(UserError, match=r'an earlier version of mtkd_jax \(format 1, this is 3\)'):
        small.train(Loop(stage, small.mesh(), tmp_path / 'earlier', StopRequest()))


def without(item):
    return {name: value for name, value in item.items() if name not in ('format', 'checksum')}


def test_no_readable_checkpoint_is_an_error(tmp_path):
    stage = small.stage(tmp_path, epochs=1)
    small.train(Loop(stage, small.mesh(), tmp_path, StopRequest()))
    for file in [f for f in (tmp_path / 'checkpoints').rglob('*') if f.is_file() and 'state' in f.parts]:
        file.write_bytes(b'')
    with pytest.raises(UserError, match=r'None of the checkpoints \[4\] .* can be read; remove the folder'):
        small.train(Loop(stage, small.mesh(), tmp_path, StopRequest()))


def test_a_validation_split_without_targets_is_an_error(tmp_path):
    empty = small.source(6)
    for example in empty:
        example['depth'][:] = 0
    stage = small.stage(tmp_path, selection='best_validation', validation=Split(empty, small.TASKS, 8))
    with pytest.raises(UserError, match='the loss on the validation split is nan after step 4'):
        small.train(Loop(stage, small.mesh(), tmp_path, StopRequest()))


def test_other_data_are_refused(tmp_path):
    small.train(Loop(small.stage(tmp_path, epochs=1), small.mesh(), tmp_path, StopRequest()))
    other = small.stage(tmp_path, epochs=1, train=small.split(40))
    with pytest.raises(UserError, match=r'trained on other data'):
        small.train(Loop(other, small.mesh(), tmp_path, StopRequest()))


def test_a_non_finite_loss_names_step_task_and_checkpoint(tmp_path):
    train = small.split(32)
    # One infinite depth: met in the first epoch or the second, whatever the order.
    train.source[5]['depth'][3, 3] = np.inf
    loop = Loop(small.stage(tmp_path, train=train, checkpoint_every=1), small.mesh(), tmp_path, StopRequest())
    with pytest.raises(
        NonFiniteLossError, match=r'loss/depth = inf.* at step \d \(task: depth\).*Last good checkpoint'
    ):
        small.train(loop)


@pytest.mark.parametrize(
    ('answer', 'reported', 'words'),
    [
        (jnp.nan, 0.0, r'weight/depth = nan.*\(weighting: odd\).* Choose another weighting'),
        (1.0, jnp.inf, r': weighting/residual = inf at step 1 \(weighting: odd\)'),
    ],
)
def test_a_weighting_that_is_not_finite_is_named(tmp_path, answer, reported, words):
    made = weighting.Weighting(
        lambda number: (),
        lambda state, losses, gramian, labelled: (answer * jnp.ones_like(losses), state),
        report=lambda state: {'residual': jnp.asarray(reported)},
    )
    loop = Loop(balanced(tmp_path, made, 'odd'), small.mesh(), tmp_path, StopRequest())
    with pytest.raises(NonFiniteLossError, match=words):
        small.train(loop)


def test_the_best_validation_epoch_is_kept(tmp_path):
    stage = small.stage(tmp_path, epochs=3, selection='best_validation', validation=small.split(6, seed=2))
    records = small.Records()
    small.train(Loop(stage, small.mesh(), tmp_path, StopRequest()), records)
    scores = [np.mean([v for k, v in r.items() if 'loss/' in k]) for r in records if r['split'] == 'validation']
    assert len(scores) == 3
    from mtkd_jax.training.folder import load_model

    spec, _ = load_model(tmp_path / 'best')
    assert spec['validation_loss'] == pytest.approx(min(scores))
    assert spec['step'] == 4 * (1 + int(np.argmin(scores)))
    assert not [r for r in records if r['split'] == 'test']


@pytest.mark.parametrize('stop', [99, 2])
def test_moving_averages_are_evaluated_as_a_branch_and_resumed(tmp_path, stop):
    """With a decay of 0 they are the last weights; with more they lag, the same after a stop."""
    stage = dataclasses.replace(small.stage(tmp_path, method=Supervised(tiny.Network(), tiny.TASKS)), ema_decay=0.5)
    records = small.Records()
    if stop < 99:
        with pytest.raises(StoppedError):
            small.train(Loop(stage, small.mesh(), tmp_path, StopAfter(stop)))
    state = small.train(Loop(stage, small.mesh(), tmp_path, StopRequest()), records)
    last = records[-1]
    assert {'ema/loss/depth', 'ema/miou', 'loss/depth'} <= set(last)
    assert last['ema/loss/depth'] != last['loss/depth']
    whole = small.train(Loop(stage, small.mesh(), tmp_path / 'whole', StopRequest()))
    assert_identical(state, whole)


def test_moving_averages_follow_updates():
    """By hand: a share of the old value, the rest of the new; with accumulation, once per update."""
    method, batch = Supervised(tiny.Network(), tiny.TASKS), next(small.split(8).ordered())
    optimizer = small.make_optimizer(1e-2, [], 1)
    for every, moved in ((1, [True, True]), (2, [False, True])):
        step = jax.jit(train_step(method, weighting.uniform(), optimizer, 4, ema_decay=0.75, accumulate_steps=every))
        state = initial_state(method, weighting.uniform(), optimizer, jax.random.key(0), batch.image.shape, ema=True)
        for moves in moved:
            after, _ = step(state, {}, batch)
            mean = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, state.ema['params'], after.params)
            expected = mean if moves else state.ema['params']
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.ema['params'], expected)
            state = after
