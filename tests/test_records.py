"""A stage's files: what is written comes back, what is damaged or of another version is named."""

from pathlib import Path

import pytest

from mtkd_jax import records
from mtkd_jax.reporting.report import write_report
from mtkd_jax.training.run import finished_results
from mtkd_jax.types import UserError
from tests.reporting import fake

FORMAT_1 = Path(__file__).parent / 'fixtures' / 'format_1'
DAMAGED = {'half': b'{"epochs": 2, "meth', 'empty': b'', 'not UTF-8': b'{"a": "\xff"}', 'a list': b'[1]'}
RECORD = b'{"step": 1, "epoch": 1, "split": "train"}\n'


@pytest.fixture(params=DAMAGED.values(), ids=list(DAMAGED))
def damage(request):
    return request.param


def test_settings_and_results_come_back_without_their_format(tmp_path):
    folder = records.stage_folder(tmp_path, 'stl_depth')
    assert records.read_settings(folder) is None
    assert records.read_results(folder) is None
    records.write_settings(folder, {'epochs': 2})
    records.write_results(folder, {'steps': 8})
    assert '"format": 2' in (folder / 'settings.json').read_text()
    assert '"format": 2' in (folder / 'results.json').read_text()
    assert records.read_settings(folder) == {'epochs': 2}
    assert records.read_results(folder) == {'steps': 8}
    assert records.stage_folders(tmp_path, records.RESULTS) == [folder]
    assert records.stage_folders(tmp_path, records.METRICS) == []


def test_a_stage_of_an_earlier_version_is_not_continued():
    message = (
        r'stl_depth/settings.json was written by an earlier version of mtkd_jax \(format 1, this is 2\); use another'
    )
    with pytest.raises(UserError, match=message):
        finished_results(FORMAT_1, 'stl_depth', {})


def test_results_of_an_earlier_version_are_reported(tmp_path):
    folder = records.stage_folder(tmp_path, 'stl_depth')
    folder.mkdir(parents=True)
    results = (FORMAT_1 / 'stages/stl_depth/results.json').read_bytes()
    (folder / 'results.json').write_bytes(results)
    text = write_report(tmp_path, fake.TASKS).read_text()
    assert '- **stl_depth**: segnet, depth; data `rooms`, seed 0; 1 epochs, 2 steps in 0.2 s on cpu ×1.' in text
    assert '| single-task |            4.0457 |                 0.9856 |' in text


def test_results_may_say_the_type_of_the_arithmetic_among_times(tmp_path):
    """As the first ones did."""
    stages = fake.stages()
    stages[0]['timing']['compute_dtype'] = 'bfloat16'
    assert 'bfloat16' in write_report(fake.write(tmp_path, stages), fake.TASKS).read_text()


def test_files_of_a_later_version_are_refused(tmp_path):
    folder = tmp_path / 'stages' / 'x'
    folder.mkdir(parents=True)
    (folder / 'settings.json').write_text('{"format": 3}')
    (folder / 'results.json').write_text('{"format": 3}')
    with pytest.raises(
        UserError, match=r'by a later version of mtkd_jax \(format 3, this is 2\); use another --workdir'
    ):
        records.read_settings(folder)
    with pytest.raises(UserError, match=r'results.json was written by a later version .* update mtkd_jax'):
        records.read_results(folder)
    (folder / 'settings.json').write_text('{"format": "new"}')
    with pytest.raises(UserError, match="has format 'new', which is no number; use another --workdir, or remove"):
        records.read_settings(folder)


def test_damaged_settings_are_named(tmp_path, damage):
    (tmp_path / 'settings.json').write_bytes(damage)
    with pytest.raises(
        UserError, match=r'settings.json is not valid JSON .*; use another --workdir, or remove .* again'
    ):
        records.read_settings(tmp_path)


def test_damaged_results_are_named(tmp_path, damage):
    (tmp_path / 'results.json').write_bytes(damage)
    with pytest.raises(UserError, match=r'results.json is not valid JSON .*; remove .*results.json and run the stage'):
        records.read_results(tmp_path)


@pytest.mark.parametrize('line', [b'{"step": 2, "ep', b'', b'"\xff"', b'[1]', b'{"step": 2}'])
def test_a_damaged_line_is_named_unless_it_is_the_unfinished_last(tmp_path, line):
    file = tmp_path / 'metrics.jsonl'
    file.write_bytes(RECORD + line)
    assert len(list(records.read_records(tmp_path))) == 1
    file.write_bytes(RECORD + line + b'\n' + RECORD)
    with pytest.raises(UserError, match=r'metrics.jsonl, line 2 is no.*; remove that line.'):
        list(records.read_records(tmp_path))


def test_no_records_are_no_records(tmp_path):
    assert list(records.read_records(tmp_path)) == []
    (tmp_path / 'metrics.jsonl').write_bytes(b'')
    assert list(records.read_records(tmp_path)) == []


def test_numbers_of_a_record():
    assert records.numbers({'step': 1, 'epoch': 1, 'split': 'test', 'miou': 2.0}) == {'miou': 2.0}
