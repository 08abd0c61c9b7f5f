"""What holds of every data set: its tasks, its defaults, its flags, and what importing it costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mtkd_jax import datasets
from mtkd_jax.configs import load as read
from mtkd_jax.datasets import flags
from mtkd_jax.datasets.nyuv2.builder import Nyuv2
from mtkd_jax.types import UserError
from tests.datasets import nyuv2_source, prepared

ALL = [datasets.named(name) for name in datasets.NAMES]
every = pytest.mark.parametrize('data_set', ALL, ids=datasets.NAMES)
SHARED = {'dataset', 'data_dir', 'augment', 'validation_fraction', 'read_threads', 'read_workers', 'placement'}


@every
def test_it_has_the_tasks_it_offers(data_set):
    known = {key: data_set.defaults[key] for key in ('height', 'width', 'classes')}
    assert tuple(data_set.tasks({'dataset': data_set.name, **known})) == data_set.task_names
    assert {task.words is not None for task in data_set.tasks({}).values()} == {data_set.per_image}


@every
def test_its_defaults_fit_and_are_those_of_its_config(data_set):
    data_set.check(data_set.defaults)
    config = read(data_set.name).data.to_dict()
    assert {key: value for key, value in config.items() if key not in SHARED} == data_set.defaults
    assert set(data_set.free) <= set(data_set.defaults)


@every
def test_its_flags_and_the_fields_they_stand_for_say_the_same(data_set):
    others = {bool: True, int: 7, str: 'metric'}
    values = {f.name: others[type(f.default(data_set.defaults))] for f in data_set.flags if f.field}
    data = flags.fields(data_set.flags, data_set.defaults, values)
    said = flags.command(data_set.flags, data_set.defaults, data).split()
    for name, value in values.items():
        field = next(flag.field for flag in data_set.flags if flag.name == name)
        if value != next(flag.default(data_set.defaults) for flag in data_set.flags if flag.name == name):
            assert (f'--{name}' if value is True else f'--{name}={value}') in said
        found = data
        for key in field.split('.'):
            found = found[key]
        assert found == value
    assert flags.command(data_set.flags, data_set.defaults, {}) in ('', '--source=DIR')


def test_names_and_tasks_do_not_wait_for_tensorflow_datasets():
    code = (
        'import sys; from mtkd_jax import datasets;'
        '[datasets.named(name).tasks({}) for name in datasets.NAMES];'
        'print([name for name in ("tensorflow_datasets", "h5py", "array_record") if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == '[]\n'


def test_a_name_that_is_nearly_one_is_recognised():
    with pytest.raises(UserError, match=r"`data.dataset` is 'nyu', which is none of .* Did you mean 'nyuv2'\?"):
        datasets.named('nyu')


def test_data_of_another_version_must_be_prepared_again(tmp_path, monkeypatch):
    found = prepared.nyuv2(nyuv2_source.write_folder(tmp_path / 'files'), tmp_path / 'prepared')
    monkeypatch.setattr(Nyuv2, 'VERSION', type(Nyuv2.VERSION)('2.0.0'))
    with pytest.raises(datasets.DataNotPrepared) as raised:
        prepared.opened('nyuv2', tmp_path / 'prepared', height=32, width=64)
    said = f'What is in {found.path} was prepared by another version and must be prepared again.'
    assert said in str(raised.value)
    assert '--dataset=nyuv2 --source=DIR --size=32x64' in str(raised.value)


def test_what_tells_prepared_data_apart_is_json():
    made = datasets.Prepared(
        Path(), {'train': [0, 1]}, {'source': 'raw', 'notes': [], 'excluded': {'train': ['x']}}
    ).made
    assert json.loads(json.dumps(made)) == {'source': 'raw', 'excluded': made['excluded'], 'examples': {'train': 2}}
