"""The example of docs/your_data.md, as it is printed there."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mtkd_jax import datasets, names
from mtkd_jax.experiment.evaluation import evaluate
from mtkd_jax.experiment.loading import load
from mtkd_jax.experiment.run import run
from mtkd_jax.experiment.stages import experiment
from mtkd_jax.types import UserError
from tests import small

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / 'docs/your_data.md').read_text()


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The two files of the page, importable; gives the config's function."""
    for name, code in re.findall(r'^`(\w+\.py)`:.*?^```python\n(.*?)^```', TEXT, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT))
    names.module.cache_clear()
    yield __import__('spheres_config').get_config
    for module in ('spheres', 'spheres_config'):
        sys.modules.pop(module, None)


def tiny(get_config, argument='', **fields):
    config = get_config(argument)
    student = {'method_settings.student_widths': (4, 4, 4, 4)} if 'student_widths' in config.method_settings else {}
    config.update_from_flattened_dict(
        {
            **student,
            'widths': small.WIDTHS,
            'epochs': 1,
            'batch_size': 16,
            'eval_batch_size': 8,
            'devices': 1,
            'panel_images': 1,
            **{name.replace('__', '.'): value for name, value in fields.items()},
        }
    )
    return config.lock()


def test_the_example_is_short():
    blocks = re.findall(r'^```python\n(.*?)^```', TEXT, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert len(lines) < 60


def test_it_runs_through_the_entry_point(example, tmp_path):
    config = tiny(example, 'method=uniform,tasks=depth+shading', data__augment='scale_crop_flip')
    report = run(config, tmp_path / 'run').read_text()
    results = json.loads((tmp_path / 'run/stages/uniform/results.json').read_text())
    assert results['steps'] == 4
    measured = {name for name in results['results'] if not name.endswith('_legacy')}
    further = {'depth_rmse', 'depth_log10', *(f'depth_delta{i}' for i in (1, 2, 3))}
    assert measured == {'loss/depth', 'loss/shading', 'depth_abs', 'depth_rel', 'shading_abs', *further}
    assert np.isfinite(list(results['results'].values())).all()
    assert results['settings']['data']['made']['source'].startswith('spheres (')
    assert 'shading error ↓' in report
    assert 'shading_abs' not in report
    model = tmp_path / 'run/stages/uniform/model'
    card = (model / 'README.md').read_text()
    assert '`spheres`: Grey spheres before a dark wall, rendered as they are read.' in card
    assert evaluate(model, 'test', None, batch_size=4, allow_modules=True) == pytest.approx(
        results['results'], rel=1e-5
    )


def test_a_model_folder_imports_no_module_unless_it_is_allowed(example, tmp_path):
    run(tiny(example, 'method=uniform,tasks=depth'), tmp_path / 'run')
    model = tmp_path / 'run/stages/uniform/model'
    sys.modules.pop('spheres')
    names.module.cache_clear()
    for attempt in (load, evaluate):
        with pytest.raises(UserError, match=r"names the Python module 'spheres' \(`data.dataset`\), and to import"):
            attempt(model)
    assert 'spheres' not in sys.modules
    image = np.zeros((32, 64, 3), np.uint8)
    assert load(model, allow_modules=True).predict(image)['depth'].shape == (32, 64, 1)


def test_every_kind_of_method_builds(example, tmp_path):
    for method in ('kd_mtl', 'bam', 'mgda', 'sd_mtcnn'):
        config = tiny(example, f'method={method},tasks=shading+depth')
        assert experiment(config, tmp_path, lambda *what: None).stages[-1].name.startswith(method)


def test_evaluating_gives_the_module_what_training_gave(example, tmp_path, monkeypatch):
    spheres, seen = __import__('spheres'), []
    given = spheres.sources
    monkeypatch.setattr(spheres, 'sources', lambda data: seen.append(data['data_dir']) or given(data))
    config = tiny(example, 'tasks=depth+shading', data__data_dir='here')
    stage = experiment(config, tmp_path, lambda *what: None).stages[0]
    datasets.named('spheres').open(stage.model_spec['data'], 'there')
    assert seen == ['here', 'there']


def test_what_does_not_fit_is_named(example, tmp_path, monkeypatch):
    def error(argument='', **fields):
        with pytest.raises(UserError) as raised:
            experiment(tiny(example, argument, **fields), tmp_path, lambda *what: None)
        return str(raised.value)

    assert "`tasks` is 'normals'; choose one of depth, shading" in error('tasks=normals')
    assert "`data.dataset` is 'sphere', which is none of nyuv2, " in error(data__dataset='sphere')
    spheres = __import__('spheres')
    monkeypatch.setattr(spheres, 'sources', lambda data: {'train': spheres.Spheres(4, 0, 32, 64)})
    assert '`sources` of spheres gives train; give test, too.' in error()
    small_ones = {split: spheres.Spheres(4, 0, 16, 64) for split in ('train', 'test')}
    monkeypatch.setattr(spheres, 'sources', lambda data: small_ones)
    assert "'image' of an example of train of spheres is (16, 64, 3); give 32×64×channels." in error()
    plain = spheres.Spheres(4, 0, 32, 64)
    bright = [{**plain[i], 'image': np.full((32, 64, 3), 200.0)} for i in range(4)]
    monkeypatch.setattr(spheres, 'sources', lambda data: {'train': bright, 'test': bright})
    assert 'give three channels, uint8 or floats in [0, 1].' in error()
    monkeypatch.setattr(spheres, 'TASKS', {'depth': spheres.TASKS['shading']})
    assert "`TASKS` of spheres has 'depth': " in error('tasks=depth')
    monkeypatch.delattr(spheres, 'TASKS')
    names.module.cache_clear()
    assert "has no 'TASKS'; it needs TASKS, sources." in error('tasks=depth')


def test_fields_of_its_own_have_the_defaults_it_gives(example, monkeypatch):
    spheres, seen = __import__('spheres'), []
    given = spheres.sources
    monkeypatch.setattr(spheres, 'DATA', {'radius': 0.3, 'noise': 0.02}, raising=False)
    monkeypatch.setattr(spheres, 'sources', lambda data: seen.append(data) or given(data))
    found = datasets.named('spheres')
    found.open({'dataset': 'spheres', 'height': 32, 'width': 64, 'noise': 0.1}, None)
    assert found.defaults == {'radius': 0.3, 'noise': 0.02}
    assert (seen[0]['radius'], seen[0]['noise'], seen[0]['data_dir']) == (0.3, 0.1, '')
    monkeypatch.setattr(spheres, 'DATA', ['radius'])
    with pytest.raises(UserError, match='`DATA` of spheres is '):
        datasets.named('spheres')
