"""Where the time goes: every second counts once, for what was done in it."""

import time

import pytest

from mtkd_jax import records
from mtkd_jax.data.pipeline import Split
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.training import run, spent
from mtkd_jax.training.evaluate import Evaluator
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.spent import Spent
from mtkd_jax.training.stop import StopRequest
from tests import small


def test_a_second_counts_for_the_innermost_part(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(spent.time, 'monotonic', lambda: now[0])

    def passes(seconds, result=None):
        now[0] += seconds
        return result

    counted = Spent()
    passes(1)
    with counted.on('training'):
        passes(2)
        with pytest.raises(ZeroDivisionError), counted.on('saving'):
            passes(4 / passes(4, 0))
        assert counted.during('compiling', passes)(8, 'made') == 'made'
        passes(16)
    taken = []
    for batch in counted.waiting_for(passes(32, i) for i in range(2)):
        passes(64)
        taken.append(batch)
    assert taken == [0, 1]
    assert counted.of('training', 'saving', 'none') == 22
    assert counted.seconds() == {'rest': 129, 'training': 18, 'saving': 4, 'compiling': 8, 'waiting': 64}
    assert sum(counted.seconds().values()) == now[0]


@pytest.fixture(scope='module')
def stage(tmp_path_factory):
    return small.stage(tmp_path_factory.mktemp('stage'), diagnose_every=4)


def test_a_stage_says_where_all_its_time_went(stage, tmp_path, monkeypatch):
    """What is slowed down shows in its own part and nowhere else; steps are not charged for it."""

    def slow(owner, name):
        function = getattr(owner, name)

        def slowly(*given):
            time.sleep(0.7)
            return function(*given)

        monkeypatch.setattr(owner, name, slowly)

    def late(split, *about):
        time.sleep(0.7)
        yield from epochs(split, *about)

    epochs = Split.epochs
    slow(Evaluator, '__call__')
    slow(run, 'save_model')
    monkeypatch.setattr(Split, 'epochs', late)
    silent = small.as_context(small.Silent())
    began = time.monotonic()
    found = run.run_stage(stage, small.mesh(), tmp_path, MetricWriter, lambda *_: silent, StopRequest(), Programs())
    wall, parts = time.monotonic() - began, found['spent']
    assert sum(parts.values()) == pytest.approx(wall, abs=1.0)  # a busy disk has results.json, too
    assert set(parts) == {
        'teachers', 'compiling', 'training', 'waiting', 'diagnosing', 'evaluating', 'saving', 'rest'
    }  # fmt: skip
    assert parts['compiling'] == found['timing']['compile_seconds'] > 0
    written = [r for r in records.read_records(records.stage_folder(tmp_path, 'kd_mtl')) if r['split'] == 'train']
    seconds = sum(r['seconds'] for r in written)
    assert seconds == pytest.approx(parts['training'] + parts['waiting'], rel=0.05)
    assert sum(r['seconds'] * r['waiting'] for r in written) == pytest.approx(parts['waiting'], abs=0.01)
    assert parts['evaluating'] >= 1.4
    assert parts['saving'] >= 0.7
    assert parts['waiting'] >= 0.7
    assert parts['diagnosing'] < 0.7
