"""The writer: round trips, and what is dropped when a run continues."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import wandb
from tensorboardX.proto.event_pb2 import Event
from wandb.proto import wandb_internal_pb2

from mtkd_jax.records import read_records, write_settings
from mtkd_jax.reporting import writers
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.types import UserError


def record(step, split='train', **values):
    return {'step': step, 'epoch': step / 10, 'split': split, **values}


def steps(folder):
    return [(r['step'], r['split']) for r in read_records(folder)]


def fill(folder, last=5):
    with MetricWriter(folder, 0) as writer:
        for step in range(1, last + 1):
            writer.write(record(step, **{'loss/depth': step / 4}))


def events(folder: Path) -> list[Event]:
    """All events of all TensorBoard files, in order; each is length (8 bytes), checksum (4), payload, checksum (4)."""
    found = []
    for file in sorted((folder / 'tensorboard').iterdir(), key=lambda f: int(f.suffix[1:])):
        data, i = file.read_bytes(), 0
        while i < len(data):
            length = int.from_bytes(data[i : i + 8], 'little')
            found.append(Event.FromString(data[i + 12 : i + 12 + length]))
            i += length + 16
    return found


def logged(folder: Path) -> list[dict[str, float]]:
    """What was logged to Weights & Biases offline, over all its runs' files.

    A file is blocks of 32 KiB; in them pieces of records: checksum (4 bytes), length (2), kind (1: whole, 4: last).
    """
    found = []
    for file in sorted(folder.glob('wandb/offline-run-*/run-*.wandb')):
        data, i, record = file.read_bytes(), 7, b''
        while i < len(data):
            if 32768 - i % 32768 < 7:
                i += 32768 - i % 32768
                continue
            size, kind = int.from_bytes(data[i + 4 : i + 6], 'little'), data[i + 6]
            record += data[i + 7 : i + 7 + size]
            i += 7 + size
            if kind in (1, 4):
                items = wandb_internal_pb2.Record.FromString(record).history.item
                found += [{'/'.join(x.nested_key) or x.key: json.loads(x.value_json) for x in items}] if items else []
                record = b''
    return found


def test_weights_and_biases_has_every_record_and_continues_its_run(tmp_path, monkeypatch):
    monkeypatch.setenv('WANDB_MODE', 'offline')
    folder = tmp_path / 'run' / 'stages' / 'uniform'
    write_settings(folder, {'method': 'mtl'})
    names = ('jsonl', 'wandb')
    with MetricWriter(folder, 0, names) as writer:
        writer.write(record(1, **{'loss/depth': 0.5}))
        writer.write(record(2, 'test', depth_abs=0.25))
    first = json.loads((folder / 'wandb.json').read_text())
    time.sleep(1.1)  # its folders are named by the second
    with MetricWriter(folder, 2, names) as writer:
        writer.write(record(3, **{'loss/depth': 0.125}))
    assert json.loads((folder / 'wandb.json').read_text()) == first
    assert first['project'] == 'mtkd_jax'
    end = time.monotonic() + 60
    while len(logged(folder)) < 3 and time.monotonic() < end:
        time.sleep(0.1)  # the package's own process writes its files, the last of it when the run has ended
    found = [{k: v for k, v in each.items() if not k.startswith('_')} for each in logged(folder)]
    assert found == [
        {'step': 1, 'epoch': 0.1, 'train/loss/depth': 0.5},
        {'step': 2, 'epoch': 0.2, 'test/depth_abs': 0.25},
        {'step': 3, 'epoch': 0.3, 'train/loss/depth': 0.125},
    ]
    assert not (folder / 'tensorboard').exists()
    with MetricWriter(folder, 0, names):
        assert json.loads((folder / 'wandb.json').read_text()) != first


def test_nobody_logged_in_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(wandb, 'init', lambda **_: (_ for _ in ()).throw(wandb.errors.UsageError('No API key')))
    with pytest.raises(UserError, match=r'No API key.*`wandb login`, set WANDB_MODE=offline'):
        MetricWriter(tmp_path / 'run' / 'stages' / 'uniform', 0, ('jsonl', 'wandb'))


def test_a_seed_of_several_is_named_with_its_run(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(wandb, 'init', lambda **given: (begun.append(given), mock.Mock())[1])
    for place in ('rooms/stages/kd_mtl', 'rooms/seed3/stages/kd_mtl'):
        MetricWriter(tmp_path / place, 0, ('jsonl', 'wandb')).close()
    assert [given['group'] for given in begun] == ['rooms', 'rooms']
    assert [given['name'] for given in begun] == ['rooms/kd_mtl', 'rooms/seed3/kd_mtl']


def test_a_writer_that_cannot_be_closed_hides_nothing(tmp_path, monkeypatch):
    closed = []

    class Away:
        def __init__(self, folder, resume_step):
            pass

        def close(self):
            closed.append(1)
            raise ConnectionError('board away')

    monkeypatch.setattr(writers, '_board', lambda name: Away)
    with pytest.raises(ZeroDivisionError), MetricWriter(tmp_path, 0, ('jsonl', 'a', 'b')):
        raise ZeroDivisionError
    assert len(closed) == 2
    with pytest.raises(ConnectionError), MetricWriter(tmp_path, 0, ('jsonl', 'a')):
        pass


def test_a_module_of_ones_own_gets_what_is_recorded(tmp_path, monkeypatch):
    (tmp_path / 'my_board.py').write_text(
        'seen = []\n'
        'class Writer:\n'
        '    def __init__(self, folder, resume_step):\n'
        '        seen.append((folder.name, resume_step))\n'
        '    def write(self, record):\n'
        '        seen.append(record)\n'
        '    def close(self):\n'
        '        seen.append("closed")\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    writers.check(('jsonl', 'my_board'))
    with MetricWriter(tmp_path / 'stage', 0, ('jsonl', 'my_board')) as writer:
        writer.write(record(1, loss=np.float32(0.5)))
    assert sys.modules['my_board'].seen == [('stage', 0), record(1, loss=0.5), 'closed']


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (('tensorboard',), "give each once, and 'jsonl' among them"),
        (('jsonl', 'jsonl'), 'give each once'),
        (('jsonl', 'tensorbord'), r"`writers` is 'tensorbord'.*tensorboard"),
        (('jsonl', 'json'), 'Writer'),
        (('jsonl', 'wandb'), r"'wandb', which is not installed: pip install \"mtkd_jax\[wandb\]\""),
    ],
)
def test_writers_that_do_not_fit_are_refused(names, message, monkeypatch):
    find = importlib.util.find_spec
    # A folder without code; `wandb` leaves one of its own name.
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: find('tests.golden' if name == 'wandb' else name))
    with pytest.raises(UserError, match=message):
        writers.check(names)


def test_round_trip(tmp_path):
    written = [record(1, **{'loss/depth': 0.1}), record(2, 'test', miou=1 / 3, steps=4)]
    with MetricWriter(tmp_path) as writer:
        for one in written:
            writer.write(one)
    assert list(read_records(tmp_path)) == written


def test_a_record_is_on_disk_at_once(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(record(1))
        assert steps(tmp_path) == [(1, 'train')]


def test_array_scalars_become_numbers(tmp_path):
    with MetricWriter(tmp_path) as writer:
        writer.write(record(np.int64(3), loss=np.float32(0.5)))
    assert json.loads((tmp_path / 'metrics.jsonl').read_text()) == {
        'step': 3,
        'epoch': 0.3,
        'split': 'train',
        'loss': 0.5,
    }


def test_resuming_drops_later_records(tmp_path):
    fill(tmp_path)
    with MetricWriter(tmp_path, 3) as writer:
        assert steps(tmp_path) == [(1, 'train'), (2, 'train'), (3, 'train')]
        writer.write(record(4))
    assert steps(tmp_path)[-1] == (4, 'train')


def test_starting_afresh_drops_everything(tmp_path):
    fill(tmp_path)
    MetricWriter(tmp_path, 0).close()
    assert steps(tmp_path) == []


def test_without_a_step_everything_stays(tmp_path):
    fill(tmp_path)
    MetricWriter(tmp_path).close()
    assert len(steps(tmp_path)) == 5


@pytest.mark.parametrize('resume_step', [None, 5])
def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path, resume_step):
    fill(tmp_path)
    file = tmp_path / 'metrics.jsonl'
    file.write_text(file.read_text()[:-7])
    assert len(steps(tmp_path)) == 4
    with MetricWriter(tmp_path, resume_step) as writer:
        writer.write(record(6))
    assert [step for step, _ in steps(tmp_path)] == [1, 2, 3, 4, 6]


def test_an_evaluation_done_again_replaces_the_first(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(record(10))
        writer.write(record(10, 'test', miou=1.0))
    with MetricWriter(tmp_path, 10) as writer:
        writer.write(record(10, 'test', miou=2.0))
        writer.write(record(20))
    assert steps(tmp_path) == [(10, 'train'), (10, 'test'), (20, 'train')]
    assert list(read_records(tmp_path))[1]['miou'] == 2.0


def test_tensorboard_has_the_values_and_is_purged(tmp_path):
    fill(tmp_path)
    with MetricWriter(tmp_path, 3) as writer:
        writer.write(record(4, **{'loss/depth': 9.0}))
    found = events(tmp_path)
    scalars = [(e.step, v.tag, v.simple_value) for e in found for v in e.summary.value]
    assert scalars == [(s, 'train/loss/depth', s / 4) for s in range(1, 6)] + [(4, 'train/loss/depth', 9.0)]
    assert [e.step for e in found if e.HasField('session_log')] == [1, 4]


def test_a_record_must_say_where_it_stands(tmp_path):
    with MetricWriter(tmp_path) as writer, pytest.raises(UserError, match='lacks `epoch`, `split`'):
        writer.write({'step': 1})


def test_a_damaged_line_is_named(tmp_path):
    fill(tmp_path)
    file = tmp_path / 'metrics.jsonl'
    file.write_text('oops\n' + file.read_text())
    with pytest.raises(UserError, match=r'metrics.jsonl, line 1 is not JSON'):
        MetricWriter(tmp_path, 5)
