"""Model folders: those of earlier versions are read, and what is not one is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mtkd_jax.experiment.models import open_model
from mtkd_jax.training.folder import FORMAT, load_model, save_model
from mtkd_jax.types import UserError

FORMAT_1 = Path(__file__).parents[1] / 'fixtures/format_1/models'
ROOMS = {'classes': 13, 'depth_maximum': 8.0, 'dataset': 'rooms', 'height': 32, 'width': 64, 'scene_seed': 0}


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path, {}, {'params': {'x': np.zeros(2, np.float32)}})
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'network'),
    [
        ('kd_mtl', {'widths': (4, 4, 4, 4, 4)}),
        ('sd_mtcnn', {'attention': True, 'branches': ('teacher', 'student'), 'student_widths': (32, 24, 16, 12)}),
    ],
)
def test_a_model_of_format_1_becomes_the_network_that_it_was(folder, name, network):
    shutil.copy(FORMAT_1 / f'{name}.json', folder / 'model.json')
    opened = open_model(folder)
    assert opened.spec['format'] == FORMAT
    assert opened.spec['data'].items() >= ROOMS.items()
    assert [task.name for task in opened.tasks] == ['depth', 'normals']
    for field, value in network.items():
        assert getattr(opened.network, field) == value, field


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        ({'format': FORMAT + 1}, r'model.json has format 4; this version reads 1 to 3. Update mtkd_jax'),
        ({'format': 2}, 'model.json lacks `backbone`, `tasks`, `compute_dtype`, `data`, `network`; write the'),
        ({'format': 1, 'backbone': 'segnet'}, 'model.json lacks `tasks`, `compute_dtype`, `data`, `classes`'),
        ({}, 'model.json has format None'),
    ],
)
def test_a_folder_that_is_not_whole_is_named(folder, spec, message):
    (folder / 'model.json').write_text(json.dumps(spec))
    with pytest.raises(UserError, match=message):
        load_model(folder)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    spec = {'backbone': 'segnet', 'tasks': [], 'compute_dtype': 'float32', 'data': {}, 'network': {}}
    save_model(tmp_path, spec, {'params': {'x': np.full(2, value, np.float32)}})
    with pytest.raises(UserError, match=r'weights.npz: the array params/x has NaN or infinite'):
        load_model(tmp_path)


def test_a_folder_of_format_2_has_no_checksums_and_is_read(tmp_path):
    spec = {'backbone': 'segnet', 'tasks': [], 'compute_dtype': 'float32', 'data': {}, 'network': {}}
    save_model(tmp_path, spec, {'params': {'x': np.zeros(2, np.float32)}})
    (tmp_path / 'model.json').write_text(json.dumps({**spec, 'format': 2}))
    assert load_model(tmp_path)[0] == {**spec, 'format': FORMAT}


def test_changed_weights_and_descriptions_are_found(tmp_path):
    spec = {'backbone': 'segnet', 'tasks': [], 'compute_dtype': 'float32', 'data': {}, 'network': {}}
    save_model(tmp_path, spec, {'params': {'x': np.zeros(2, np.float32)}})
    assert load_model(tmp_path)[0] == {**spec, 'format': FORMAT}
    np.savez(tmp_path / 'weights.npz', **{'params/x': np.ones(2, np.float32)})
    with pytest.raises(UserError, match=r'weights.npz is not what was written \(the checksum of params/x'):
        load_model(tmp_path)
    file = tmp_path / 'model.json'
    file.write_text(file.read_text().replace('segnet', 'segnex'))
    with pytest.raises(UserError, match=r'model.json is not what was written'):
        load_model(tmp_path)
