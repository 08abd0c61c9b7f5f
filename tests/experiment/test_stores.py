"""A run in an object store is the run that it would be in a folder; prepared data are read from there, too."""

from pathlib import Path

import numpy as np
import pytest

from mtkd_jax import datasets
from mtkd_jax.compare import compare
from mtkd_jax.datasets.storage import copies
from mtkd_jax.experiment.evaluation import evaluate
from mtkd_jax.experiment.loading import load as load_network
from mtkd_jax.experiment.results import workdirs
from mtkd_jax.experiment.run import run
from mtkd_jax.experiment.study import Study
from mtkd_jax.places import place
from mtkd_jax.records import finished_stages
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.loop import Loop
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError
from tests import stores
from tests.recipes import load


@pytest.fixture
def copied(rooms, s3, tmp_path, monkeypatch):
    """The prepared rooms in a store."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    folder = stores.fresh('s3')
    for file in Path(rooms).rglob('*'):
        if file.is_file():
            (folder / file.relative_to(rooms).as_posix()).write_bytes(file.read_bytes())
    return folder


def weights(workdir):
    return load_model(workdir / 'stages' / 'uniform' / 'model')[1]


def test_a_run_that_was_stopped_ends_as_one_in_a_folder(rooms, copied, tmp_path, monkeypatch):
    recipe = 'tasks=depth,backbone=tests.shallow,method=uniform'
    fields = {'panel_images': 1, 'checkpoint_every_epochs': 2, 'evaluate_every_epochs': 2, 'epochs': 2}
    here = load('rooms', recipe, data__data_dir=rooms, **fields)
    there = load('rooms', recipe, data__data_dir=str(copied), **fields)
    run(here, tmp_path / 'run')
    workdir, stop, log = stores.fresh('s3'), StopRequest(), Loop._log

    def log_and_stop(self):
        log(self)
        self.stop.requested = self.stage.name == 'uniform'

    monkeypatch.setattr(Loop, '_log', log_and_stop)
    with pytest.raises(StoppedError):
        run(there, workdir, stop)
    monkeypatch.undo()
    report = run(there, str(workdir))
    assert report == workdir / 'report.md'
    assert '# ' in report.read_text()
    np.testing.assert_equal(weights(workdir), weights(tmp_path / 'run'))
    cards = [(place / 'stages/uniform/model/README.md').read_text() for place in (workdir, tmp_path / 'run')]
    assert cards[0] == cards[1]
    assert '# uniform\n' in cards[0]
    found, expected = finished_stages(workdir), finished_stages(tmp_path / 'run')
    for folder, results in expected.items():
        assert found[workdir / 'stages' / folder.name]['results'] == results['results']
    assert sorted(path.name for path in (workdir / 'figures').iterdir()) == sorted(
        path.name for path in (tmp_path / 'run' / 'figures').iterdir()
    )
    before = len(workdir.objects())
    run(there, workdir)
    assert len(workdir.objects()) == before
    model = workdir / 'stages' / 'uniform' / 'model'
    assert evaluate(model, data_dir=rooms, allow_modules=True)['depth_abs'] > 0
    assert [task.name for task in load_network(str(model), allow_modules=True).tasks] == ['depth']
    assert 'uniform' in compare([str(workdir)], allow_modules=True)
    assert workdir in workdirs([f'{workdir.parent}/a*'])


def test_prepared_data_are_copied_once_and_again_when_they_change(copied, rooms, monkeypatch):
    known = datasets.named('rooms')
    data = {**known.defaults, 'height': 32, 'width': 64, 'train_images': 8, 'test_images': 4}
    found, here = known.open(data, str(copied)), known.open(data, rooms)
    assert copies.root() in found.path.parents
    np.testing.assert_equal(found.sources['train'][3], here.sources['train'][3])
    assert found.made == here.made
    made = []
    copy = copies._copy
    monkeypatch.setattr(copies, '_copy', lambda *about: (made.append(about), copy(*about)))
    known.ready(data, str(copied), datasets.quiet)
    assert not made
    kept = place(str(copied)) / found.path.relative_to(copies.root() / str(copied).replace('://', '/')).as_posix()
    first = next(item for item in kept.objects() if 'array_record' in item.name)
    first.write_bytes(first.read_bytes() + b' ')
    known.open(data, str(copied))
    assert len(made) == 1
    with pytest.raises(datasets.DataNotPrepared, match=r'no prepared data in s3://.*nothing is prepared in a store'):
        known.ready({**data, 'scene_seed': 1}, str(copied), datasets.quiet)
    with pytest.raises(UserError, match='prepare in a folder of this machine, and copy that there'):
        known.prepare(data, datasets.Preparation('', str(copied), overwrite=True))


def test_what_a_store_cannot_keep_is_said(s3):
    with pytest.raises(UserError, match=r'`workdir` is s3://bucket/x, but .* links'):
        Study(place('s3://bucket/x'), {}, datasets.quiet)
    with pytest.raises(UserError, match='there is no such bucket'):
        run('rooms:tasks=depth,backbone=tests.shallow,method=stl', 's3://none/x')
