"""From a config to stages: what is refused, what is given, and that every config runs."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import build, main
from mtkd_jax.build.checks import check
from mtkd_jax.build.networks import BACKBONES, predicts_images
from mtkd_jax.build.paper import differences_from_paper, paper_row
from mtkd_jax.data import builders
from mtkd_jax.methods import KDMTL
from mtkd_jax.reporting import tables
from mtkd_jax.training.folder import load_model, save_model, weights_digest
from mtkd_jax.training.predict import make_predictor
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import train_step
from mtkd_jax.types import UserError
from tests import small
from tests.data import nyuv2_source

SD = {'method': 'sd_mtcnn', 'backbone': 'segnet_sd'}
CONFIGS = Path(__file__).parents[1] / 'configs'


def read(name, argument=''):
    """The config of a file."""
    found = importlib.util.spec_from_file_location(name, CONFIGS / f'{name}.py')
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.get_config(argument)


def load(name, argument='', **fields):
    """The config of a file, tiny; `fields` are set on it, `__` for a dot (method, backbone, tasks in the recipe)."""
    if 'tasks' in fields:
        argument += ',tasks=' + '+'.join(fields.pop('tasks'))
    chosen = [f'{key}={fields.pop(key)}' for key in ('method', 'backbone') if key in fields]
    config = read(name, ','.join([argument, *chosen]))
    tiny = {
        'data.height': 32,
        'data.width': 64,
        'widths': small.WIDTHS,
        'self_distillation.student_widths': (4, 4, 4, 4),
        'batch_size': 4,
        'eval_batch_size': 4,
        'devices': 1,
        'epochs': 1,
        'panel_images': 0,
    }
    if name == 'rooms':
        tiny |= {'data.train_images': 8, 'data.test_images': 4}
    config.update_from_flattened_dict({**tiny, **{k.replace('__', '.'): v for k, v in fields.items()}})
    return config.lock()


@pytest.fixture(scope='module')
def rooms(tmp_path_factory):
    """A folder with tiny rendered rooms."""
    folder = str(tmp_path_factory.mktemp('rooms'))
    builders.prepare_rooms(folder, height=32, width=64, train=8, test=4, seed=0)
    return folder


@pytest.fixture(scope='module')
def nyuv2(tmp_path_factory):
    """A folder with a tiny prepared NYUv2: five and three frames."""
    folder = tmp_path_factory.mktemp('nyuv2')
    source = nyuv2_source.write_folder(folder / 'files')
    builders.prepare_nyuv2(builders.open_source(str(source), None), str(folder))
    return str(folder)


def model(folder, names, widths=small.WIDTHS, seed=0, classes=13, backbone='segnet'):
    """A model folder with an untrained network."""
    spec = {
        'backbone': backbone,
        'widths': list(widths),
        'tasks': list(names),
        'classes': classes,
        'depth_maximum': 8.0,
        'compute_dtype': 'float32',
        'data': {'dataset': 'rooms', 'height': 32, 'width': 64},
    }
    if backbone == 'segnet_sd':
        spec |= {'branches': ['main'], 'attention': True, 'student_widths': [4, 4, 4, 4]}
    network, _ = build.build_network(spec)
    save_model(folder, spec, network.init(jax.random.key(seed), jnp.zeros((1, 32, 64, 3)), train=False))
    return str(folder)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        (
            {'method': 'kdmtl'},
            "`method` is 'kdmtl'; choose one of stl, kd_mtl, bam, sd_mtcnn, no_distillation, traditional_kd, ",
        ),
        ({'backbone': 'resnet'}, "`backbone` is 'resnet'; choose one of segnet, segnet_sd, unet_sd"),
        (
            {'tasks': ('depth', 'albedo')},
            "`tasks` has 'albedo'; rooms offers segmentation, depth, normals, keypoints, edges",
        ),
        ({'tasks': ('depth', 'depth')}, 'name each task once'),
        ({'data__height': 40}, '`data.height` is 40; segnet needs a multiple of 32'),
        ({'widths': (4, 4)}, 'needs 5 positive numbers'),
        ({'compute_dtype': 'float16'}, "`compute_dtype` is 'float16'; choose one of float32, bfloat16"),
        ({'distillation__points': ('middle',)}, "`distillation.points` is .*'middle'"),
        (
            {'method': 'sd_mtcnn', 'backbone': 'segnet'},
            "`backbone` is 'segnet', which has no teacher and student branches",
        ),
        ({**SD, 'self_distillation__objective': 'eq7'}, "`self_distillation.objective` is 'eq7'"),
        (
            {**SD, 'self_distillation__distances__depth': 'kl'},
            '`self_distillation.distances.depth` is .kl.; choose one of l2',
        ),
        ({**SD, 'self_distillation__kl_direction': 'both'}, 'choose one of student_teacher, teacher_student'),
        ({**SD, 'self_distillation__student_widths': (4, 4)}, 'give four positive numbers'),
        ({**SD, 'self_distillation__weight': -1.0}, 'λ must not be negative'),
        ({'epochs': 0}, '`epochs` is 0; it must be at least 1'),
        ({'selection': 'best_test'}, "`selection` is 'best_test'; choose one of last"),
        ({'selection': 'last10_mean'}, 'reads 10 epochs, but `epochs` is 1'),
        ({'selection': 'best_validation'}, '`data.validation_fraction` is 0'),
        ({'devices': 99}, '`devices` is 99'),
        ({'devices': -1}, '`devices` is -1'),
        ({'learning_rate': -1.0}, '`learning_rate` is -1.0; it must be positive'),
        ({'panel_images': -1}, '`panel_images` is -1'),
        ({'distillation__points': ('last', 'last')}, 'name each point once'),
        ({'data__augment': 'crop'}, "`data.augment` is 'crop'; choose one of none, scale_crop_flip"),
        ({'data__classes': 7}, '`data.classes` is 7; .* has 13'),
        ({'devices': 8}, '`batch_size` is 4'),
        ({'data__dataset': 'nyu'}, "`data.dataset` is 'nyu'"),
        ({'data__train_images': 2}, '`batch_size` 4 is larger than the split, which has 2 examples'),
        ({'teachers__depth': '/nowhere'}, '/nowhere is no model folder'),
        ({'weighting__name': 'mgd'}, "`weighting.name` is 'mgd'; choose one of aligned_mtl"),
        ({'method': 'mgda', 'weighting__name': 'dwa'}, "'dwa', but `method` is 'mgda', a weighting itself"),
        ({'method': 'stl', 'weighting__name': 'dwa'}, 'one task needs no weighting'),
        ({'method': 'dwa', 'weighting__dwa__temperature': 0.0}, '`weighting.dwa`: `temperature` is 0.0'),
        ({'weighting__gramian_of': 'heads'}, "`weighting.gramian_of` is 'heads'"),
        (
            {'method': 'mgda', 'backbone': 'mtan', 'weighting__gramian_of': 'features'},
            'mtan has no feature map that all tasks read',
        ),
        (
            {'method': 'mgda', 'backbone': 'unet_sd', 'weighting__gramian_of': 'features'},
            'unet_sd has no feature map .*: segnet, segnet_sd, split_standard, split_wide, split_deep, lenet_mtl',
        ),
        ({'method': 'dwa', 'weighting__gramian_of': 'features'}, 'dwa reads no Gramian'),
        ({'method': 'excess_mtl', 'weighting__gramian_of': 'features'}, 'excess_mtl reads no Gramian'),
        ({'method': 'stl', 'weighting__gramian_of': 'features'}, 'uniform reads no Gramian'),
        (
            {'method': 'imtl', 'weighting__imtl__halves': 'loss', 'weighting__gramian_of': 'features'},
            'imtl reads no Gramian',
        ),
        ({'method': 'bam', 'bam__weight': -1.0}, '`bam.weight` is -1.0'),
        ({'method': 'bam', 'bam__distances__depth': 'kl'}, '`bam.distances.depth` is .kl.'),
        ({'diagnose_every_steps': -1}, '`diagnose_every_steps` is -1'),
        ({'method': 'uniform', 'teachers__depth': '/a'}, 'uniform reads no single-task teacher'),
        ({'method': 'uniform', 'self_distillation__objective': 'eq6'}, 'uniform has no such objective'),
        ({'method': 'uniform', 'self_distillation__attention': False}, 'segnet has no attention'),
    ],
)
def test_a_config_that_does_not_fit_is_refused(rooms, tmp_path, fields, message):
    config = load('rooms', data__data_dir=rooms, **fields)
    with pytest.raises(UserError, match=message):
        build.experiment(config, tmp_path, lambda *what: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('backbone', 'segnet_sd', "recipe chose 'segnet', .*--config=FILE:backbone=segnet_sd"),
        ('method', 'stl', "recipe chose 'kd_mtl', .*--config=FILE:method=stl"),
        ('tasks', ('depth',), r"recipe chose 'segmentation\+depth\+normals', .*--config=FILE:tasks=depth"),
    ],
)
def test_what_others_follow_is_chosen_in_the_recipe(field, value, message):
    """Widths, schedule and the paper's table follow these."""
    config = load('nyuv2')
    config[field] = value
    with pytest.raises(UserError, match=message):
        check(config)


@pytest.mark.parametrize('name', ['rooms', 'nyuv2'])
@pytest.mark.parametrize('method', ['sd_mtcnn', 'no_distillation', 'traditional_kd'])
def test_self_distilling_methods_bring_their_backbone(name, method):
    config = load(name, f'method={method}')
    assert config.backbone == 'segnet_sd'
    check(config)


def sd_stage(rooms, tmp_path, argument, **fields):
    """The last stage of a recipe."""
    config = load('rooms', argument, data__data_dir=rooms, **fields)
    return build.experiment(config, tmp_path, lambda *what: None).stages[-1]


def test_a_config_becomes_the_method_it_names(rooms, tmp_path):
    """Every field of `self_distillation` arrives where it acts."""
    p, q = jnp.log(jnp.asarray([[[[0.5, 0.5]]]])), jnp.log(jnp.asarray([[[[0.9, 0.1]]]]))
    forward = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    backward = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    vector = jnp.asarray([[[[3.0, 4.0, 0.0]]]])

    default = sd_stage(rooms, tmp_path, 'method=sd_mtcnn').method
    assert default.supervised == ('teacher', 'student')
    assert default.weights == {'segmentation': 1.0, 'depth': 1.0, 'normals': 1.0}
    assert not default.stop_teacher_gradient
    assert default.network.attention
    np.testing.assert_allclose(default.distances['segmentation'](p, q).item(), forward, rtol=1e-5)
    np.testing.assert_allclose(default.distances['normals'](vector, 0 * vector).item(), 5)
    normals = default.tasks[2]
    np.testing.assert_allclose(np.linalg.norm(normals.blend(vector / 5, 0 * vector)), 0.5)

    changed = sd_stage(
        rooms,
        tmp_path,
        'method=sd_mtcnn,objective=eq6,attention=off',
        self_distillation__weight=0.5,
        self_distillation__kl_direction='teacher_student',
        self_distillation__squared=True,
        self_distillation__stop_teacher_gradient=True,
        self_distillation__renormalise_normals=True,
    )
    assert changed.name == 'sd_mtcnn_eq6_no_attention'
    assert changed.method.supervised == ('ensemble',)
    assert set(changed.method.weights.values()) == {0.5}
    assert changed.method.stop_teacher_gradient
    assert not changed.method.network.attention
    np.testing.assert_allclose(changed.method.distances['segmentation'](p, q).item(), backward, rtol=1e-5)
    np.testing.assert_allclose(changed.method.distances['normals'](vector, 0 * vector).item(), 25)
    np.testing.assert_allclose(np.linalg.norm(changed.method.tasks[2].blend(vector / 5, 0 * vector)), 1)


def test_weightings_by_name(rooms, tmp_path):
    """As a method of its own, or of another method; their hyper-parameters and factors are settings."""
    alone = sd_stage(rooms, tmp_path, 'method=cagrad', weighting__cagrad__c=0.4, task_weights__depth=2.0)
    assert alone.name == 'cagrad'
    assert alone.weighting(10).needs == 'gramian'
    assert alone.settings['weighting'] == {'name': 'cagrad', 'c': 0.4, 'rescale': 0, 'gramian_of': 'parameters'}
    weights, _ = alone.weighting(10).update(alone.weighting(10).init(3), jnp.ones(3), jnp.eye(3))
    assert weights[1] == pytest.approx(2 * weights[0], rel=0.5)
    with_teachers = sd_stage(rooms, tmp_path, 'method=kd_mtl,weighting=dwa')
    assert with_teachers.name == 'kd_mtl_dwa'
    assert with_teachers.settings['weighting'] == {'name': 'dwa', 'temperature': 2.0}
    near = sd_stage(rooms, tmp_path, 'method=mgda', weighting__gramian_of='features')
    assert near.name == 'mgda_features'
    assert near.gramian_of == 'features'
    plain = sd_stage(rooms, tmp_path, 'method=uniform', task_weights__depth=3.0)
    np.testing.assert_array_equal(plain.weighting(1).update((), jnp.ones(3), None)[0], [1, 3, 1])


def test_bam_and_diagnostics_run(rooms, tmp_path):
    config = load(
        'rooms', 'method=bam,weighting=pcgrad,tasks=depth+normals', data__data_dir=rooms, diagnose_every_steps=1
    )
    main.run(config, tmp_path)
    stages = tmp_path / 'stages'
    assert sorted(p.name for p in stages.iterdir()) == ['bam_pcgrad', 'stl_depth', 'stl_normals']
    records = [json.loads(line) for line in (stages / 'bam_pcgrad' / 'metrics.jsonl').read_text().splitlines()]
    seen = [record for record in records if record['split'] == 'diagnostics']
    assert [record['step'] for record in seen] == [0, 1]
    assert -1 <= seen[0]['cosine/depth/normals'] <= 1
    assert 0 <= seen[0]['cka/depth/mid'] <= 1
    # Of the labels' losses themselves, though teacher annealing begins with the teachers alone.
    assert seen[0]['gradient/normals'] > 0
    assert {'weight/depth', 'distillation/normals'} <= set(records[2])


def test_baselines_are_what_they_are_called(rooms, tmp_path):
    apart = sd_stage(rooms, tmp_path, 'method=no_distillation', self_distillation__weight=5.0)
    assert apart.method.weights == {}
    assert apart.method.distances == {}
    assert 'weight' not in apart.settings['self_distillation']
    before = sd_stage(rooms, tmp_path, 'method=traditional_kd', self_distillation__weight=0.5)
    assert set(before.method.weights.values()) == {0.5}
    assert before.method.supervised == ('student',)
    assert list(before.networks) == ['student']
    assert list(apart.networks) == ['teacher', 'student', 'teacher + student']


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--config=configs/rooms.py', '--config.learing_rate=1'], 'Did you mean "learning_rate"'),
        (['--config=configs/rooms.py:method=stl,task=depth'], "The recipe has no 'task'"),
        (['--config=configs/room.py', '--workdir=runs/x'], '--config=configs/room.py: there is no such file'),
        (['--config=configs/rooms.py'], '--workdir=... is missing'),
        (['--workdir=runs/x'], '--config=... is missing'),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, message):
    done = subprocess.run(
        [sys.executable, '-m', 'mtkd_jax.main', *flags], cwd=CONFIGS.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith('error: ')
    assert done.stderr.count('\n') == 1


def test_a_given_teacher_must_fit(rooms, tmp_path):
    wrong_task = model(tmp_path / 'a', ['normals'])
    several = model(tmp_path / 'b', ['depth', 'normals'])
    wrong_point = model(tmp_path / 'c', ['depth'], backbone='segnet_sd')
    wrong_classes = model(tmp_path / 'd', ['segmentation'], classes=40)
    for task, folder, message in (
        ('depth', wrong_task, 'predicts normals; give a network of depth alone'),
        ('depth', several, 'predicts depth, normals; give a network of depth alone'),
        ('depth', wrong_point, 'is a segnet_sd, which has features at mid and not at last'),
        ('segmentation', wrong_classes, 'for 40 classes; the data has 13'),
    ):
        config = load('rooms', data__data_dir=rooms, **{f'teachers__{task}': folder})
        with pytest.raises(UserError, match=message):
            build.experiment(config, tmp_path, lambda *what: None)


def test_a_teacher_may_be_another_network_that_takes_the_same_images(rooms, tmp_path):
    """Of other widths, another backbone and another stride; where it cannot take the images, the run says so."""
    wide = model(tmp_path / 'wide', ['depth'], widths=(6, 4, 4, 4, 8))
    other = model(tmp_path / 'other', ['normals'], widths=(4, 4, 4, 4, 8), backbone='segnet_sd')
    chosen = {'teachers__depth': wide, 'teachers__normals': other, 'distillation__points': ('mid',)}
    config = load('rooms', 'tasks=depth+normals', data__data_dir=rooms, diagnose_every_steps=1, **chosen)
    main.run(config, tmp_path / 'run')
    records = (tmp_path / 'run' / 'stages' / 'kd_mtl' / 'metrics.jsonl').read_text().splitlines()
    measured = {key: value for record in records for key, value in json.loads(record).items()}
    for task in ('depth', 'normals'):
        assert 0 < measured[f'distillation/{task}'] < 4
        assert 0 <= measured[f'cka/{task}/mid'] <= 1
    reads = load('rooms', 'method=bam,tasks=depth+normals', data__data_dir=rooms, **chosen)
    build.experiment(reads, tmp_path, lambda *what: None)
    strided = {'data__data_dir': rooms, 'backbone': 'segnet_sd', 'data__height': 48, 'data__width': 48, **chosen}
    with pytest.raises(UserError, match=r'`teachers.depth` is a segnet, for images in multiples of 32; the data has'):
        build.experiment(load('rooms', 'tasks=depth+normals', **strided), tmp_path, lambda *what: None)


def test_given_teachers_are_evaluated_used_and_left_as_they_are(rooms, tmp_path):
    """The other teacher is trained here. Another network at the same path is another teacher."""
    folder = model(tmp_path / 'given', ['depth'])
    before = {p.name: p.read_bytes() for p in Path(folder).iterdir()}
    config = load('rooms', 'tasks=depth+normals', data__data_dir=rooms, teachers__depth=folder)
    report = main.run(config, tmp_path / 'run').read_text()
    assert {p.name: p.read_bytes() for p in Path(folder).iterdir()} == before
    stages = tmp_path / 'run' / 'stages'
    given = json.loads((stages / 'stl_depth' / 'results.json').read_text())
    assert given['selection']['rule'] == 'given'
    assert set(given['results']) >= {'depth_abs', 'depth_rel'}
    assert not (stages / 'stl_depth' / 'model').exists()
    assert (stages / 'stl_normals' / 'model' / 'weights.npz').is_file()
    result = json.loads((stages / 'kd_mtl' / 'results.json').read_text())
    assert result['settings']['teachers'] == {'depth': weights_digest(Path(folder)), 'normals': 'trained here'}
    assert 'Given teacher' in report
    model(tmp_path / 'given', ['depth'], seed=1)
    with pytest.raises(UserError, match='stl_depth belongs to a run with other settings: `given` was'):
        main.run(config, tmp_path / 'run')


@pytest.mark.parametrize('method', ['stl', 'uniform', 'kd_mtl'])
def test_nyuv2_runs_every_method_for_two_steps(nyuv2, tmp_path, method):
    config = load('nyuv2', f'method={method}', data__data_dir=nyuv2, batch_size=2, eval_batch_size=2, panel_images=1)
    assert len(main.run(config, tmp_path).read_text()) > 1000
    names = [f'stl_{name}' for name in small.NAMES] if method != 'uniform' else []
    names += [method] if method != 'stl' else []
    assert sorted(p.name for p in (tmp_path / 'stages').iterdir()) == sorted(names)
    for name in names:
        assert (tmp_path / 'figures' / f'{name}.png').is_file()
        assert json.loads((tmp_path / 'stages' / name / 'results.json').read_text())['steps'] == 2


def test_every_stage_trains_with_the_augmentation_and_settings_say_so(rooms, tmp_path):
    """Teachers, too; a stage trained with another one is not taken for this one."""
    augmented = {'data__data_dir': rooms, 'data__augment': 'scale_crop_flip'}
    assert 'data.augment' in main.run(load('rooms', 'method=stl,tasks=normals', **augmented), tmp_path).read_text()
    results = json.loads((tmp_path / 'stages' / 'stl_normals' / 'results.json').read_text())
    assert np.isfinite(list(results['results'].values())).all()
    with_teacher = load('rooms', 'method=kd_mtl,tasks=normals', **augmented)
    stages = build.experiment(with_teacher, tmp_path, lambda *what: None).stages
    assert [(stage.name, stage.augment) for stage in stages] == [
        ('stl_normals', 'scale_crop_flip'),
        ('kd_mtl', 'scale_crop_flip'),
    ]
    assert json.loads(json.dumps(stages[0].settings)) == results['settings']
    assert stages[1].settings['data']['augment'] == 'scale_crop_flip'
    plain = load('rooms', 'method=stl,tasks=normals', data__data_dir=rooms)
    with pytest.raises(UserError, match=r"other settings: `data.augment` was 'scale_crop_flip', is None"):
        main.run(plain, tmp_path)
    # Folders from before there was an augmentation stay what they are.
    assert 'augment' not in build.experiment(plain, tmp_path, lambda *what: None).stages[0].settings['data']


@pytest.mark.parametrize('backbone', [name for name in BACKBONES if not predicts_images(name)])
def test_every_backbone_has_teachers_of_its_kind(rooms, tmp_path, backbone):
    config = load('rooms', f'method=kd_mtl,backbone={backbone},tasks=depth+normals', data__data_dir=rooms)
    *single, several = build.experiment(config, tmp_path, lambda *what: None).stages
    assert isinstance(several.method, KDMTL)
    for stage, (name, teacher) in zip(single, several.method.teachers.items(), strict=True):
        assert [task.name for task in teacher.tasks] == [name]
        assert (type(teacher), teacher.widths) == (type(several.method.network), small.WIDTHS)
        assert type(stage.method.network) is type(teacher)


def test_a_network_with_features_of_each_tasks_own_takes_a_step(rooms, tmp_path):
    config = load('rooms', 'method=kd_mtl,backbone=cross_stitch,tasks=depth', data__data_dir=rooms)
    stage = build.experiment(config, tmp_path, lambda *what: None).stages[-1]
    batch = jax.tree.map(jnp.asarray, next(stage.data.train.ordered()))
    optimizer, shape = stage.optimizer(2), batch.image.shape
    weighting = stage.weighting(2)
    state = initial_state(stage.method, weighting, optimizer, jax.random.key(0), shape)
    frozen = {
        name: jax.jit(lambda key, network=network: network.init(key, batch.image, train=False))(jax.random.key(1))
        for name, network in stage.method.teachers.items()
    }
    after, scalars = jax.jit(train_step(stage.method, weighting, optimizer, total_steps=2))(state, frozen, batch)
    assert all(np.isfinite(x) for x in scalars.values())
    assert scalars['distillation/depth'] > 0
    moved = jax.tree.map(lambda x, y: bool(np.any(x != y)), state.params, after.params)
    assert all(any(jax.tree.leaves(tree)) for group in moved.values() for tree in group.values())


@pytest.mark.parametrize('backbone', ['mtan', 'dense', 'cross_stitch', 'split_wide', 'split_deep'])
def test_the_papers_rows_for_other_backbones(backbone):
    widths = (64, 128, 256, 512, 1024 if backbone == 'split_wide' else 512)
    own = {'widths': widths, 'batch_size': 2, 'epochs': 200, 'data__height': 288, 'data__width': 384}
    row = paper_row(load('nyuv2', f'method=uniform,backbone={backbone}', **own), 'uniform')
    assert row is not None
    assert tables.paper_row(row), row
    own['widths'] = (64, 128, 256, 512, 768)
    assert paper_row(load('nyuv2', f'method=uniform,backbone={backbone}', **own), 'uniform') is None


def test_bfloat16_trains_with_float32_parameters(rooms, tmp_path):
    config = load('rooms', 'tasks=depth', data__data_dir=rooms, compute_dtype='bfloat16')
    main.run(config, tmp_path)
    for stage in ('stl_depth', 'kd_mtl'):
        spec, variables = load_model(tmp_path / 'stages' / stage / 'model')
        assert spec['compute_dtype'] == 'bfloat16'
        assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype('float32')}
    report = (tmp_path / 'report.md').read_text()
    assert 'bfloat16' in report


def test_the_best_epoch_is_chosen_on_a_split_of_its_own(rooms, tmp_path):
    config = load(
        'rooms',
        'method=uniform,tasks=depth',
        data__data_dir=rooms,
        selection='best_validation',
        data__validation_fraction=0.5,
        evaluate_every_epochs=1,
        epochs=2,
    )
    main.run(config, tmp_path)
    folder = tmp_path / 'stages' / 'uniform'
    records = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    assert [r['split'] for r in records if r['split'] != 'train'] == ['validation', 'validation']
    scores = [r['loss/depth'] for r in records if r['split'] == 'validation']
    best = load_model(folder / 'best')[0]
    assert best['validation_loss'] == min(scores)
    assert best['step'] == 1 + int(np.argmin(scores))
    chosen, saved = load_model(folder / 'best')[1], load_model(folder / 'model')[1]
    jax.tree.map(np.testing.assert_array_equal, chosen, saved)


@pytest.mark.parametrize(
    ('fields', 'named'),
    [
        ({'distillation__weights__normals': 6.0}, r'`distillation.weights.normals` 6.0 \(paper: 2.0\)'),
        ({'data__height': 96}, r'`data.height` 96 \(paper: 288\)'),
        ({'compute_dtype': 'bfloat16'}, r'`compute_dtype` bfloat16 \(paper: float32\)'),
        ({'data__validation_fraction': 0.5}, '`data.validation_fraction` 0.5'),
        ({'data__augment': 'scale_crop_flip'}, r'`data.augment` scale_crop_flip \(paper: none\)'),
    ],
)
def test_the_paper_stands_beside_its_own_protocol_only(fields, named):
    own = {'widths': (64, 128, 256, 512, 512), 'batch_size': 2, 'epochs': 200, 'data__height': 288, 'data__width': 384}
    config = load('nyuv2', **own)
    assert differences_from_paper(config) == ''
    row = {'table': 'kdmtl_table2_nyuv2', 'prefix': '', 'backbone': 'segnet', 'method': 'kdmtl'}
    assert paper_row(config, 'kd_mtl') == row
    config = load('nyuv2', **{**own, **fields})
    assert paper_row(config, 'kd_mtl') is None
    assert re.search(named, differences_from_paper(config))


@pytest.mark.parametrize(
    ('recipe', 'method', 'branches'),
    [
        ('method=sd_mtcnn,backbone=segnet_sd', 'sd_mtcnn', ('teacher', 'student')),
        ('method=sd_mtcnn,backbone=unet_sd,objective=eq6', 'sd_mtcnn', ('teacher', 'student')),
        ('method=sd_mtcnn,backbone=segnet_sd,attention=off', 'sd_mtcnn', ('teacher', 'student')),
        ('method=no_distillation,backbone=segnet_sd', 'no_distillation', ('teacher', 'student')),
        ('method=traditional_kd,backbone=segnet_sd', 'traditional_kd', ('student',)),
        ('method=uniform,backbone=segnet_sd', 'uniform', ('',)),
        ('method=stl,backbone=segnet_sd', 'stl', ('',)),
        ('method=sd_mtcnn,backbone=segnet_sd,tasks=depth', 'sd_mtcnn', ('teacher', 'student')),
        ('method=sd_mtcnn,tasks=depth+segmentation', 'sd_mtcnn', ('teacher', 'student')),
        ('method=stl,backbone=segnet_sd,tasks=depth+segmentation', 'stl', ('',)),
    ],
)
def test_the_papers_rows_for_self_distillation(recipe, method, branches):
    own = {'widths': (64, 128, 256, 512, 1024), 'batch_size': 2, 'epochs': 200, 'data__height': 288, 'data__width': 384}
    row = paper_row(load('nyuv2', recipe, **own), method)
    assert row is not None
    for branch in branches:
        found = tables.paper_row(row, branch)
        assert found, (row, branch)
        assert 'depth_rel' in tables.paper_results(found, row['prefix'])


@pytest.mark.parametrize('method', ['uniform', 'no_distillation', 'traditional_kd', 'stl'])
def test_the_paper_has_no_row_without_attention_but_for_its_ablation(method):
    own = {'widths': (64, 128, 256, 512, 1024), 'batch_size': 2, 'epochs': 200, 'data__height': 288, 'data__width': 384}
    row = paper_row(load('nyuv2', f'method={method},backbone=segnet_sd,attention=off', **own), method)
    assert not [branch for branch in ('', 'teacher', 'student') if tables.paper_row(row, branch)]


def test_self_distillation_on_five_tasks(rooms, tmp_path):
    """Every branch in results, report, pictures and predictions."""
    names = 'segmentation+depth+normals+keypoints+edges'
    config = load(
        'rooms', f'method=sd_mtcnn,backbone=segnet_sd,objective=eq6,tasks={names}', data__data_dir=rooms, panel_images=1
    )
    report = main.run(config, tmp_path).read_text()
    (stage,) = (tmp_path / 'stages').iterdir()
    assert stage.name == 'sd_mtcnn_eq6'
    results = json.loads((stage / 'results.json').read_text())
    for branch in ('teacher', 'student', 'ensemble'):
        assert f'sd_mtcnn_eq6 ({branch})' in report
        expected = ('miou', 'depth_rel', 'normal_mean', 'normal_cosine', 'keypoints_abs', 'edges_abs')
        assert {f'{branch}/{metric}' for metric in expected} <= set(results['results'])
    costs = results['branches']
    assert costs['student']['operations'] < costs['teacher']['operations']
    assert list(costs) == ['teacher', 'student', 'teacher + student']
    assert '10⁹ operations per image' in report
    assert 'normals, mean cosine ↑' in report
    records = [json.loads(line) for line in (stage / 'metrics.jsonl').read_text().splitlines()]
    assert {f'agreement/{name}' for name in names.split('+')} <= set(records[0])
    assert not [name for name in records[0] if name.endswith('/loss/depth')]  # eq. 6 has one loss, the ensemble's
    assert (tmp_path / 'figures' / 'sd_mtcnn_eq6.png').is_file()

    spec, variables = load_model(stage / 'model')
    images = np.random.default_rng(0).uniform(size=(2, 32, 64, 3))
    whole = make_predictor(build.build_network(spec)[0], variables)(images)
    alone = make_predictor(build.build_network(spec, branches=['student'])[0], variables)(images)
    assert set(whole) == {'teacher', 'student', 'ensemble'}
    assert set(alone) == {'student'}
    np.testing.assert_allclose(alone['student']['depth'], whole['student']['depth'], rtol=1e-5)
    with pytest.raises(UserError, match="`branch` is 'main'; choose one of teacher, student, ensemble"):
        build.build_network(spec, branches=['main'])


def test_traditional_kd_takes_its_teacher_from_the_vanilla_stage(rooms, tmp_path):
    config = load('rooms', 'method=uniform,backbone=unet_sd,tasks=depth+normals', data__data_dir=rooms)
    main.run(config, tmp_path)
    vanilla = (tmp_path / 'stages' / 'uniform' / 'results.json').read_bytes()
    config = load('rooms', 'method=traditional_kd,backbone=unet_sd,tasks=depth+normals', data__data_dir=rooms)
    report = main.run(config, tmp_path).read_text()
    assert (tmp_path / 'stages' / 'uniform' / 'results.json').read_bytes() == vanilla
    results = json.loads((tmp_path / 'stages' / 'traditional_kd' / 'results.json').read_text())
    assert 'student/depth_rel' in results['results']
    assert 'traditional_kd (student)' in report
    _, variables = load_model(tmp_path / 'stages' / 'traditional_kd' / 'model')
    assert not [name for name in variables['params'] if name.startswith('teacher')]


@pytest.mark.parametrize('name', ['rooms', 'nyuv2', 'glyphs', 'svhn_omniglot'])
def test_who_reads_does_not_decide_what_is_learned(name):
    config = read(name)
    before = build.data.data_settings(config)
    config.data.read_threads, config.data.read_workers = 3, 2
    assert build.data.data_settings(config) == before
    config.data.validation_fraction = 0.5
    assert build.data.data_settings(config) != before
