"""SVHN & Omniglot and glyphs through the commands: configs run, pictures and reports fit, what does not is refused."""

import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mtkd_jax import models, predict, tasks
from mtkd_jax.configs import load as read_config
from mtkd_jax.data.pipeline import Split
from mtkd_jax.datasets.glyphs.classes import CHARACTERS
from mtkd_jax.experiment.data import prepared
from mtkd_jax.experiment.evaluation import evaluate as evaluate_model
from mtkd_jax.experiment.models import build_network, check_fits
from mtkd_jax.experiment.plans import tasks_of
from mtkd_jax.experiment.run import run
from mtkd_jax.experiment.stages import experiment
from mtkd_jax.methods import Supervised
from mtkd_jax.reporting import panels
from mtkd_jax.reporting.tiles import RIGHT, WRONG
from mtkd_jax.training.folder import save_model
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import train_step
from mtkd_jax.types import UserError
from mtkd_jax.weighting import uniform
from tests import small
from tests.datasets import decathlon_source
from tests.datasets.prepared import prepare

# The command's module; `mtkd_jax.evaluate` is the function.
evaluate = importlib.import_module('mtkd_jax.evaluate')

TINY = {
    'data.height': 16,
    'data.width': 16,
    'widths': (3, 4, 6, 5),
    'batch_size': 10,
    'eval_batch_size': 8,
    'devices': 1,
    'epochs': 1,
    'selection': 'last',
    'panel_images': 3,
}
GLYPHS = {**TINY, 'data.digits_train': 10, 'data.digits_test': 10, 'data.classes.characters': 2}
DECATHLON = {**TINY, 'data.partial': True, 'data.classes.omniglot': decathlon_source.CLASSES['omniglot']}


def load(name, argument='', **fields):
    config = read_config(f'{name}:{argument}')
    tiny = GLYPHS if name == 'glyphs' else DECATHLON
    config.update_from_flattened_dict({**tiny, **{k.replace('__', '.'): v for k, v in fields.items()}})
    return config.lock()


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    """Tiny glyphs and a tiny SVHN & Omniglot."""
    folder = tmp_path_factory.mktemp('data')
    source = decathlon_source.write(folder / 'files', 'tars')
    prepare('svhn_omniglot', folder, {'height': 16, 'width': 16, 'partial': True}, source)
    few = {'digits_train': 10, 'digits_test': 10, 'classes': {'digits': 10, 'characters': 2}}
    prepare('glyphs', folder, {'height': 16, 'width': 16, **few})
    return str(folder)


@pytest.fixture(scope='module')
def glyphs(data_dir, tmp_path_factory):
    """A workdir in which every method ran on glyphs."""
    workdir = tmp_path_factory.mktemp('glyphs')
    for method in ('kd_mtl', 'uniform'):
        run(load('glyphs', f'method={method}', data__data_dir=data_dir), workdir)
    return workdir


def results(workdir, stage):
    return json.loads((workdir / 'stages' / stage / 'results.json').read_text())


def test_every_method_runs_on_glyphs(glyphs):
    names = ('stl_digits', 'stl_characters', 'kd_mtl', 'uniform')
    assert sorted(p.name for p in (glyphs / 'stages').iterdir()) == sorted(names)
    for name in names:
        # 30 characters in fives; a single-task stage takes as many steps as a multi-task one.
        assert results(glyphs, name)['steps'] == 6
        assert (glyphs / 'figures' / f'{name}.png').is_file()
    assert set(results(glyphs, 'kd_mtl')['results']) == {
        'loss/digits',
        'digits_accuracy',
        'loss/characters',
        'characters_accuracy',
    }
    assert results(glyphs, 'stl_digits')['baselines']['digits']['digits_accuracy'] == 10
    assert results(glyphs, 'stl_characters')['baselines']['characters']['characters_accuracy'] == 50
    report = (glyphs / 'report.md').read_text()
    for task in ('digits', 'characters'):
        assert f'![compared_{task}](figures/compared_{task}.png)' in report
    for text in ('digits accuracy (%) ↑', 'characters accuracy (%) ↑', 'majority class of the training set'):
        assert text in report
    records = [json.loads(line) for line in (glyphs / 'stages/kd_mtl/metrics.jsonl').read_text().splitlines()]
    assert all(np.isfinite(v) for record in records for v in record.values() if isinstance(v, float))


def test_evaluate_gives_what_training_found(glyphs, data_dir):
    for stage in ('stl_digits', 'kd_mtl'):
        found = evaluate_model(glyphs / 'stages' / stage / 'model', 'test', data_dir, batch_size=3)
        assert found == pytest.approx(results(glyphs, stage)['results'], rel=1e-5)


def test_svhn_omniglot_runs(data_dir, tmp_path):
    report = run(load('svhn_omniglot', data__data_dir=data_dir), tmp_path).read_text()
    assert results(tmp_path, 'stl_svhn')['steps'] == results(tmp_path, 'stl_omniglot')['steps'] == 4
    assert 'SVHN accuracy (%) ↑' in report
    assert 'Not the protocol of kdmtl_table1_svhn_omniglot' in report


@pytest.mark.parametrize(
    ('name', 'fields', 'message'),
    [
        (
            'glyphs',
            {'recipe': 'backbone=segnet', 'widths': (4,) * 5, 'data__height': 32, 'data__width': 32},
            "is 'segnet'; digits",
        ),
        ('glyphs', {'widths': (4, 4)}, 'lenet_mtl needs 4 positive whole numbers'),
        ('glyphs', {'data__height': 24}, '`data.height` is 24; lenet_mtl needs a multiple of 16'),
        ('glyphs', {'batch_size': 5}, '`batch_size` 5 does not divide into equal shares of digits, characters'),
        (
            'glyphs',
            {'batch_size': 8, 'eval_batch_size': 8, 'devices': 8},
            'is 8, 2 equal shares of which do not divide',
        ),
        ('glyphs', {'data__classes__characters': 300}, '`characters` of glyphs is 300'),
        ('glyphs', {'schedule_settings__decay_factor': -1.0}, '`schedule_settings.decay_factor` is -1.0; give finite'),
        ('glyphs', {'method_settings__points': ('first',)}, 'lenet_mtl has mid, last'),
        ('glyphs', {'recipe': 'method=sd_mtcnn'}, 'which has no teacher and student branches'),
        ('svhn_omniglot', {'data__classes__omniglot': 1623}, "`data.classes` is {'omniglot': 1623, 'svhn': 10}"),
        ('svhn_omniglot', {'data__partial': False}, r'--dataset=svhn_omniglot --source=DIR --size=16x16'),
    ],
)
def test_what_does_not_fit_is_refused(data_dir, tmp_path, name, fields, message):
    fields = dict(fields)
    config = load(name, fields.pop('recipe', ''), data__data_dir=data_dir, **fields)
    with pytest.raises(UserError, match=message):
        experiment(config, tmp_path, lambda *what: None)


def test_classes_of_whole_images_are_not_augmented(data_dir, tmp_path):
    config = load('glyphs', data__data_dir=data_dir)
    assert experiment(config, tmp_path, lambda *what: None).stages[0].augment == 'none'
    with config.unlocked():
        config.data.augment = 'scale_crop_flip'
    with pytest.raises(
        UserError, match=r"'scale_crop_flip', but a part .* another answer in digits, characters; choose"
    ):
        experiment(config, tmp_path, lambda *what: None)


def test_a_given_teacher_of_other_classes_or_size_is_refused(data_dir, tmp_path):
    def teacher(name, **data):
        spec = {
            'backbone': 'lenet_mtl',
            'widths': [3, 4, 6, 5],
            'tasks': ['digits'],
            'network': {},
            'compute_dtype': 'float32',
            'data': {
                'dataset': 'glyphs',
                'height': 16,
                'width': 16,
                'classes': {'digits': 10, 'characters': 2},
                **data,
            },
        }
        save_model(tmp_path / name, spec, {'params': {}})
        return load('glyphs', data__data_dir=data_dir, method_settings__teachers__digits=str(tmp_path / name))

    for config, message in (
        (teacher('a', classes={'digits': 12, 'characters': 2}), 'a network for 12 classes; the data has 10'),
        (
            teacher('b', height=32),
            r'a network for images of \(32, 16\); the data has \(16, 16\)',
        ),
    ):
        with pytest.raises(UserError, match=message):
            experiment(config, tmp_path, lambda *what: None)


def test_predict_writes_what_the_network_says(glyphs, tmp_path):
    model = glyphs / 'stages/kd_mtl/model'
    Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(tmp_path / 'a.png')
    predict.predict(model, [str(tmp_path / 'a.png')], tmp_path / 'out', predict.Options(save=('pictures', 'npz')))
    said = json.loads((tmp_path / 'out/answers.json').read_text())['a']
    with np.load(tmp_path / 'out/predictions.npz') as found:
        assert said['digits'] == str(found['digits'].argmax())
    assert said['characters'] in CHARACTERS[:2]
    assert [file.name for file in (tmp_path / 'out').glob('*.png')] == ['a_image.png']
    np.savez(tmp_path / 'b.npz', image=np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(UserError, match='the network takes 16×16 only'):
        predict.predict(model, [str(tmp_path / 'b.npz')], tmp_path / 'out', predict.Options())


def test_score_takes_ids_and_scores_of_images(tmp_path):
    np.savez(tmp_path / 't.npz', digits=np.array([1, 2, -1, 0]), characters=np.array([3, 0, 1, 1]))
    scores = np.eye(10)[[1, 3, 0, 0]]
    np.savez(tmp_path / 'p.npz', digits=scores, characters=np.array([3, 1, 1, 0]))
    found = evaluate.score(tmp_path / 'p.npz', tmp_path / 't.npz', classes=5)
    assert found == {'digits_accuracy': pytest.approx(200 / 3), 'characters_accuracy': 50}


def test_panels_mark_right_and_wrong_answers(tmp_path):
    digits, characters = tasks.classification('digits', 3), tasks.classification('characters', 2, ['α', 'ж'])
    truths = {'digits': np.array([1, -1]), 'characters': np.array([-1, 0])}
    truths = {name: t[:, None, None, None] for name, t in truths.items()}
    scores = {'digits': np.eye(3)[[2, 0]][:, None, None], 'characters': np.eye(2)[[0, 0]][:, None, None]}
    path = panels.prediction_panel(
        images=np.zeros((2, 16, 16, 3)),
        truths=truths,
        masks={name: t >= 0 for name, t in truths.items()},
        predictions={'main': scores},
        tasks=[digits, characters],
        path=tmp_path / 'p.png',
    )
    with Image.open(path) as image:
        picture = np.asarray(image.convert('RGB'))
    side = 15 * 16

    def colours(row, column):
        top = panels.HEAD - 30 + row * (side + panels.GAP)
        left = panels.MARGIN + column * (side + panels.GAP)
        return {tuple(int(c) for c in p) for p in picture[top : top + side, left : left + side].reshape(-1, 3)}

    assert WRONG in colours(0, 2)
    assert RIGHT in colours(1, 4)
    # No label: the truth is hatched, and the prediction is neither right nor wrong.
    assert colours(1, 1) == colours(0, 3) == {(120,) * 3, (190,) * 3}
    assert not colours(1, 2) & {RIGHT, WRONG}


def test_weights_fit_a_lenet_of_their_image_size_only():
    spec = {
        'backbone': 'lenet_mtl',
        'widths': [3, 4, 6, 5],
        'network': {},
        'tasks': ['digits'],
        'compute_dtype': 'float32',
        'data': {'dataset': 'glyphs', 'height': 32, 'width': 48, 'classes': {'digits': 10, 'characters': 2}},
    }
    network, _ = build_network(spec)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 32, 48, 3)), train=False)
    check_fits(spec, variables)
    with pytest.raises(UserError, match='do not fit a lenet_mtl'):
        check_fits({**spec, 'data': {**spec['data'], 'width': 32}}, variables)


def test_lenet_is_taught_at_its_last_feature_unless_it_is_said(data_dir, tmp_path):
    # The paper distils `last` alone (papers.md A2).
    assert load('glyphs').method_settings.points == ('last',)
    config = load('glyphs', data__data_dir=data_dir, method_settings__points=('mid', 'last'))
    method = experiment(config, tmp_path, lambda *what: None).stages[-1].method
    image = jax.ShapeDtypeStruct((2, 64, 32, 3), jnp.float32)
    variables = jax.eval_shape(method.init, jax.random.key(0), image)
    kernels = {name: leaf['kernel'].shape for name, leaf in variables['params']['adaptors'].items()}
    assert kernels['digits_mid'] == (1, 1, 4, 4)
    assert kernels['digits_last'] == (1, 1, 6, 6)
    features = jax.eval_shape(method.predict, variables, image).features
    assert (features['mid'].shape, features['last'].shape) == ((2, 13, 5, 4), (2, 1, 1, 6))


def test_lenet_s_mid_is_what_its_last_layer_reads():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 16, 16, 3)), jnp.float32)
    network = models.LeNetMTL((tasks.classification('digits', 3),), (3, 4, 6, 5))
    outputs, variables = network.init_with_output(jax.random.key(0), image, train=False)
    layer = variables['params']['representation']
    read = outputs.features['mid'].reshape(1, -1) @ layer['kernel'] + layer['bias']
    np.testing.assert_allclose(outputs.features['last'].ravel(), np.maximum(read.ravel(), 0), rtol=1e-5, atol=1e-6)


def test_lenet_learns_both_tasks_from_batches_with_one_label_per_image(data_dir):
    """A few steps of the real train step lower both losses."""
    config = load('glyphs', data__data_dir=data_dir)
    chosen = tasks_of(config)
    data = prepared(config, lambda *what: None)
    batch = next(Split(data.sources['train'], chosen, 10).epoch(0))
    batch = jax.tree.map(jnp.asarray, batch)
    method = Supervised(models.LeNetMTL(chosen, (4, 8, 16, 16)), chosen)
    optimizer = small.make_optimizer(1e-2, (), 1)
    state = initial_state(method, uniform(), optimizer, jax.random.key(0), batch.image.shape)
    step = jax.jit(train_step(method, uniform(), optimizer, total_steps=60))
    losses = []
    for _ in range(60):
        state, scalars = step(state, {}, batch)
        losses.append((float(scalars['loss/digits']), float(scalars['loss/characters'])))
    assert losses[0][0] == pytest.approx(np.log(10), rel=0.3)
    assert losses[-1][0] < 0.5 * losses[0][0]
    assert losses[-1][1] < 0.5 * losses[0][1]
