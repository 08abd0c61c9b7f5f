"""The commands of studies, called in this process: what `reproduce` plans, runs and refuses, and `main --search`."""

from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from mtkd_jax import main, reproduce
from mtkd_jax.experiment import run, search
from mtkd_jax.experiment.reproducing import Reproduction
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError
from mtkd_jax.types import UserError
from tests.recipes import TINY, load

SHALLOW = 'tasks=depth,backbone=tests.shallow'
ROWS = [f'method={name},{SHALLOW}' for name in ('stl', 'uniform')]


@pytest.fixture(autouse=True)
def parsed():
    flags.FLAGS.mark_as_parsed()
    # Benchmarks, which other tests import, have a flag of the same name and another default.
    with flagsaver.flagsaver(images=0):
        yield


@pytest.fixture
def study(rooms, tmp_path):
    """Flags of two rows on tiny rooms, which a test may change; gives the workdir."""
    fields = {**TINY, 'data.data_dir': rooms, 'data.train_images': 8, 'data.test_images': 4}
    given = [f'{name}={value}' for name, value in fields.items()]
    with flagsaver.flagsaver(row=ROWS, dataset='rooms', seeds=1, workdir=str(tmp_path / 'study'), field=given):
        yield tmp_path / 'study'


def cells(text):
    """Stage → the cells of its row of the plan."""
    found = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines() if line.startswith('|')]
    return {row[0]: row[1:] for row in found[2:]}


def test_a_dry_run_trains_nothing_and_says_what_a_run_has_left(study, capsys):
    with flagsaver.flagsaver(dry_run=True):
        reproduce.main()
    said = capsys.readouterr().out
    assert {name: row[1:4] for name, row in cells(said).items()} == {
        'stl_depth': ['1', '1', '2'],
        'uniform': ['1', '1', '2'],
    }
    assert said.splitlines()[-1].endswith('of training steps left on this machine.')
    assert not list(study.rglob('results.json'))
    reproduce.main()
    assert capsys.readouterr().out.splitlines()[-1] == f'Table: {study / "table.md"}'
    assert '| uniform' in (study / 'table.md').read_text()
    with flagsaver.flagsaver(dry_run=True):
        reproduce.main()
    assert [row[2:5] for row in cells(capsys.readouterr().out).values()] == [['0', '2', '–']] * 2
    # Data that are not opened cannot say what of it is finished.
    with (
        flagsaver.flagsaver(dry_run=True, tflops=40.0),
        pytest.raises(UserError, match=r'what is finished in .*study can'),
    ):
        reproduce.main()


def test_how_a_study_ends(study, monkeypatch, capsys):
    """With an error for a loss that was not finite, after the table; with the signal's status where it was stopped."""
    failed = [NonFiniteLossError('Stage uniform: loss = nan')]
    monkeypatch.setattr(Reproduction, 'run', lambda self, stop: (Path('there/table.md'), failed))
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.err == 'error: Stage uniform: loss = nan\n'
    assert said.out.splitlines()[-1] == 'Table: there/table.md'

    def stopped(self, stop):
        stop.status = 143
        raise StoppedError('Stopped on request.')

    monkeypatch.setattr(Reproduction, 'run', stopped)
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    assert ended.value.code == 143
    assert 'Stopped on request.' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'table': 'kdmtl/9', 'row': []}, r"`table` is 'kdmtl/9'; choose one of kdmtl/1"),
        ({'table': 'kdmtl/2'}, r'Give a table of the papers, --table=kdmtl/2, or rows'),
        ({'row': ROWS[1:]}, r'No row has single-task networks of tests.shallow'),
        ({'dataset': ''}, r'--dataset=... is missing'),
        ({'dataset': 'room'}, r"`dataset` is 'room'.* Did you mean 'rooms'"),
        ({'workdir': ''}, r'--workdir=... is missing'),
        ({'seeds': 0}, r'`seeds` is 0; give at least 1'),
        ({'search': 1}, r'`search` is 1; give at least 2 trials'),
        ({'field': ['epochs']}, r'--field=epochs: give NAME=VALUE'),
        ({'field': ['epochs=many']}, r'`field` does not fit rooms:method=stl'),
        ({'field': ['seed=3']}, r'--field=seed=...: the table, --dataset and --seeds choose that'),
        ({'tflops': 40.0}, r'--tflops=... goes with --dry_run, and --images=... with --tflops'),
        ({'tflops': 40.0, 'dry_run': True, 'images': 8}, r'`images` is 8, but how many rooms has is known'),
        ({'tflops': -1.0}, r'`tflops` is -1 and `images` 0; give numbers above 0'),
        ({'images': -1}, r'`tflops` is 0 and `images` -1; give numbers above 0'),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(study, monkeypatch, given, message):
    monkeypatch.setattr(Reproduction, 'run', lambda self, stop: pytest.fail('it runs'))
    with flagsaver.flagsaver(**given), pytest.raises(UserError, match=message):
        reproduce.main()


def test_fields_are_values_of_python_or_words():
    given = ['a=1', 'b.c=(2,3)', 'd=word', 'e=x=y', "f='1'", 'g=None']
    assert reproduce.fields(given) == {'a': 1, 'b.c': (2, 3), 'd': 'word', 'e': 'x=y', 'f': '1', 'g': None}


POOLS = """
import numpy as np
from mtkd_jax import tasks
from mtkd_jax.data.sources import Pools

TASKS = {'depth': tasks.depth(), 'normals': tasks.normals()}


class Half:
    def __init__(self, count, task):
        self.count, self.task = count, task

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        up = np.zeros((32, 32, 3), np.float32) + np.float32([0, -1, 0])
        given = {'depth': np.ones((32, 32, 1), np.float32), 'normals': up}
        none = {name: np.zeros_like(array) for name, array in given.items()}
        return {'image': np.zeros((32, 32, 3), np.uint8), **none, self.task: given[self.task]}


def sources(data):
    counts = {'train': 9, 'test': 2}
    return {s: Pools.whole({'depth': Half(n, 'depth'), 'normals': Half(2, 'normals')}) for s, n in counts.items()}
"""
CONFIG = """
from mtkd_jax.configs import base


def get_config(argument=''):
    return base.get_config(argument, dataset='halves', change=lambda c: c.data.update(height=32, width=32))
"""


def test_a_plan_by_arithmetic_of_data_of_ones_own_with_pools(tmp_path, monkeypatch, capsys):
    """They are opened: an epoch is once through the longer pool, with half of every batch from each."""
    (tmp_path / 'halves.py').write_text(POOLS)
    (tmp_path / 'halves_config.py').write_text(CONFIG)
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [f'method={name},backbone=tests.shallow' for name in ('stl', 'uniform')]
    tiny = {name: value for name, value in TINY.items() if not name.startswith('data.')}
    given = {
        'row': rows,
        'dataset': str(tmp_path / 'halves_config.py'),
        'workdir': str(tmp_path / 'study'),
        'field': [f'{name}={value}' for name, value in tiny.items()],
    }
    with flagsaver.flagsaver(**given, seeds=2, dry_run=True, tflops=1e-6):
        reproduce.main()
        said = capsys.readouterr().out
        with flagsaver.flagsaver(images=9), pytest.raises(UserError, match='how many halves has is known'):
            reproduce.main()
    # Nine examples, two a step.
    assert list(cells(said)) == ['stl_depth', 'stl_normals', 'uniform']
    assert all(row[1:4] == ['2', '2', '4'] for row in cells(said).values())
    costs = {name: float(row[4].split('·')[0]) for name, row in cells(said).items()}
    assert costs['uniform'] > costs['stl_depth'] > 0
    assert said.splitlines()[-1].endswith('of training steps left on a device of 1e-06·10¹² operations a second.')


def test_main_trains_with_what_a_search_chose(rooms, tmp_path, monkeypatch, capsys):
    """Searched and trained in one workdir; what is not searched stays."""
    config = load('rooms', 'method=uniform,tasks=depth+normals,backbone=tests.shallow', data__data_dir=rooms)
    ran = []
    monkeypatch.setattr(main, '_config', lambda: config)
    monkeypatch.setattr(
        search.Search, '__call__', lambda self, *given: {'mtl': {'task_weights.depth': self.counts['mtl']}}
    )
    monkeypatch.setattr(
        run, 'run', lambda config, workdir, stop: ran.append((config, workdir)) or workdir / 'report.md'
    )
    with flagsaver.flagsaver(search=3, workdir=str(tmp_path), show=False):
        main.main()
    ((trained, workdir),) = ran
    assert trained.task_weights.to_dict() == {'depth': 3.0, 'normals': 1.0}
    assert trained.learning_rate == config.learning_rate
    assert workdir == tmp_path
    assert capsys.readouterr().out.splitlines()[-2:] == [
        'Chosen: `task_weights.depth` 3.',
        f'Report: {tmp_path}/report.md',
    ]
