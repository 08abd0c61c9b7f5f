"""The writer: round trips, and what is dropped when a run continues."""

import json
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from mtkd_jax.records import read_records
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
