"""Cityscapes and Mini-Taskonomy through the real entry point, from small files in their real layouts."""

import json

import numpy as np
import pytest

from mtkd_jax.configs import load as read
from mtkd_jax.experiment.evaluation import evaluate
from mtkd_jax.experiment.run import run
from mtkd_jax.experiment.stages import experiment
from mtkd_jax.models import BACKBONES
from mtkd_jax.models.backbone import per_image
from mtkd_jax.types import UserError
from tests import small
from tests.datasets import cityscapes_source, taskonomy_source
from tests.datasets.prepared import prepare

SIZE = {'height': 32, 'width': 64}
TINY = {
    'data.height': 32,
    'data.width': 64,
    'batch_size': 2,
    'eval_batch_size': 2,
    'devices': 1,
    'epochs': 1,
    'panel_images': 1,
}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    """A folder with a tiny Cityscapes from raw files, and a tiny Taskonomy without edges in another folder."""
    folder = tmp_path_factory.mktemp('data')
    streets = cityscapes_source.write_raw(folder / 'cityscapes')
    for options in ({}, {'classes': 19, 'depth': 'metric'}):
        prepare('cityscapes', folder, {**SIZE, **options}, streets)
    prepare('taskonomy', folder, SIZE, taskonomy_source.write(folder / 'tree'))
    fewer = taskonomy_source.write(folder / 'fewer', without=('edges',))
    prepare('taskonomy', folder / 'without_edges', SIZE, fewer)
    return str(folder)


def load(name, data_dir, argument='', **fields):
    config = read(f'{name}:{argument}')
    widths = {'widths': (*small.WIDTHS[:4], 8)}
    fields = {k.replace('__', '.'): v for k, v in fields.items()}
    if 'student_widths' in config.method_settings:
        widths['method_settings.student_widths'] = (4, 4, 4, 4)
    config.update_from_flattened_dict({**TINY, 'data.data_dir': data_dir, **widths, **fields})
    return config.lock()


def results(workdir, stage):
    return json.loads((workdir / 'stages' / stage / 'results.json').read_text())


def test_cityscapes_runs(data_dir, tmp_path):
    report = run(load('cityscapes', data_dir, 'method=uniform'), tmp_path).read_text()
    found = results(tmp_path, 'uniform')['results']
    assert {'miou', 'inverse_depth_abs', 'inverse_depth_rel'} <= set(found)
    assert 'depth_abs' not in found
    assert np.isfinite(list(found.values())).all()
    for text in ('relative inverse depth error (%) ↓', 'median inverse depth of the training set'):
        assert text in report
    model = tmp_path / 'stages/uniform/model'
    assert evaluate(model, 'test', data_dir, batch_size=2) == pytest.approx(found, rel=1e-5)


def test_cityscapes_has_metric_depth_and_19_classes(data_dir, tmp_path):
    config = load(
        'cityscapes', data_dir, 'method=uniform', data__classes=19, data__depth='metric', data__depth_maximum=80.0
    )
    made = experiment(config, tmp_path, lambda *what: None)
    assert {t.name: t.channels for t in made.tasks} == {'segmentation': 19, 'depth': 1}
    assert 'depth_abs' in made.tasks[1].metrics.each
    batch = next(made.data.test.ordered())
    assert 1 < batch.targets['depth'].value.max() < 500
    inverse = experiment(load('cityscapes', data_dir), tmp_path, lambda *what: None)
    assert 0 < next(inverse.data.test.ordered()).targets['depth'].value.max() < 1


def test_taskonomy_runs_with_its_own_validation_split(data_dir, tmp_path):
    recipe = 'method=uniform,backbone=tests.shallow,tasks=segmentation+normals+edges'
    run(load('taskonomy', data_dir, recipe, selection='best_validation', data__classes=17), tmp_path)
    found = results(tmp_path, 'uniform')['results']
    assert {'miou', 'normal_cosine', 'edges_abs'} <= set(found)
    assert np.isfinite(list(found.values())).all()
    records = [json.loads(x) for x in (tmp_path / 'stages/uniform/metrics.jsonl').read_text().splitlines()]
    assert {record['split'] for record in records} == {'train', 'validation'}


@pytest.mark.parametrize('name', ['cityscapes', 'taskonomy'])
def test_every_method_and_backbone_builds(data_dir, tmp_path, name):
    recipes = [f'method=kd_mtl,backbone={b}' for b in BACKBONES if not per_image(BACKBONES[b])]
    methods = ('stl', 'bam', 'mgda', 'sd_mtcnn', 'no_distillation', 'traditional_kd')
    for recipe in [*recipes, *(f'method={method}' for method in methods), 'method=sd_mtcnn,objective=eq6']:
        made = experiment(load(name, data_dir, recipe), tmp_path, lambda *what: None)
        assert len(made.tasks) == (2 if name == 'cityscapes' else 5)


@pytest.mark.parametrize(
    ('name', 'fields', 'message'),
    [
        ('cityscapes', {'data__depth': 'metrc'}, "`data.depth` is 'metrc'; choose one of inverse, metric"),
        (
            'cityscapes',
            {'data__depth': 'metric', 'data__depth_maximum': 0.2},
            r'`data.depth_maximum` is 0\.2, but ',
        ),
        ('cityscapes', {'data__classes': 8}, '`data.classes` is 8; cityscapes has 7 or 19'),
        ('taskonomy', {'data__classes': 13}, '`data.classes` is 13; taskonomy has 17 or 18'),
    ],
)
def test_fields_of_data_that_do_not_fit_are_named(data_dir, tmp_path, name, fields, message):
    with pytest.raises(UserError, match=message):
        experiment(load(name, data_dir, **fields), tmp_path, lambda *what: None)


def test_what_is_in_the_data_is_part_of_a_stages_identity(data_dir, tmp_path):
    """Data of one name, of which one lacks a view: nothing trained on one is taken for trained on the other."""

    def made(folder):
        config = load('taskonomy', str(folder), 'tasks=depth+normals')
        return experiment(config, tmp_path, lambda *what: None).stages[0].settings['data']['made']

    tree = taskonomy_source.write(tmp_path / 'tree')
    taskonomy_source.file_of(tree, 'depth', 'hanson', 2, 1).unlink()
    prepare('taskonomy', tmp_path / 'out', SIZE, tree)
    fewer, whole = made(tmp_path / 'out'), made(data_dir)
    assert fewer['examples'] == {**whole['examples'], 'train': 3}
    assert 'excluded' in fewer
    assert 'excluded' not in whole


def test_a_task_whose_domain_was_not_there_is_refused(data_dir, tmp_path):
    folder = f'{data_dir}/without_edges'
    with pytest.raises(UserError, match=r"`tasks` has 'edges', but .* was prepared without it: its targets are segm"):
        experiment(load('taskonomy', folder), tmp_path, lambda *what: None)
    fewer = load('taskonomy', folder, 'tasks=segmentation+depth+normals')
    assert len(experiment(fewer, tmp_path, lambda *what: None).tasks) == 3
