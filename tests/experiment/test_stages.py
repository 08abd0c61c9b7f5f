"""From a config to stages: teachers, networks, methods, weightings, and what settings record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import configs, models
from mtkd_jax.experiment.settings import data_settings
from mtkd_jax.methods.kd_mtl import KDMTL
from mtkd_jax.models.backbone import per_image
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import train_step
from mtkd_jax.types import UserError
from mtkd_jax.weighting.variants import VARIANTS
from tests import by_hand, small
from tests.recipes import load, model, stages


def test_a_given_teacher_must_fit(rooms, tmp_path):
    wrong_task = model(tmp_path / 'a', ['normals'])
    several = model(tmp_path / 'b', ['depth', 'normals'])
    wrong_point = model(tmp_path / 'c', ['depth'], backbone='segnet_sd')
    wrong_classes = model(tmp_path / 'd', ['segmentation'], classes=40)
    for task, folder, message in (
        ('depth', wrong_task, 'predicts normals; give a network of depth alone'),
        ('depth', several, 'predicts depth, normals; give a network of depth alone'),
        ('depth', wrong_point, 'The teacher of depth has features at mid and not at last'),
        ('segmentation', wrong_classes, 'for 40 classes; the data has 13'),
    ):
        config = load('rooms', data__data_dir=rooms, **{f'method_settings__teachers__{task}': folder})
        with pytest.raises(UserError, match=message):
            stages(config, tmp_path)


@pytest.mark.parametrize('backbone', [name for name, found in models.BACKBONES.items() if not per_image(found)])
def test_every_backbone_has_teachers_of_its_kind(rooms, tmp_path, backbone):
    config = load('rooms', f'method=kd_mtl,backbone={backbone},tasks=depth+normals', data__data_dir=rooms)
    *single, several = stages(config, tmp_path)
    assert isinstance(several.method, KDMTL)
    for stage, (name, teacher) in zip(single, several.method.teachers.items(), strict=True):
        assert [task.name for task in teacher.tasks] == [name]
        assert (type(teacher), teacher.widths) == (type(several.method.network), small.WIDTHS)
        assert type(stage.method.network) is type(teacher)


def test_a_network_with_features_of_each_tasks_own_takes_a_step(rooms, tmp_path):
    config = load('rooms', 'method=kd_mtl,backbone=cross_stitch,tasks=depth', data__data_dir=rooms)
    stage = stages(config, tmp_path)[-1]
    batch = jax.tree.map(jnp.asarray, next(stage.data.train.ordered()))
    optimizer, shape = stage.optimizer(2, 2), batch.image.shape
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


def last(rooms, tmp_path, recipe, **fields):
    """The last stage of a recipe."""
    return stages(load('rooms', recipe, data__data_dir=rooms, **fields), tmp_path)[-1]


def test_a_config_becomes_the_method_it_names(rooms, tmp_path):
    """Every setting of SD-MTCNN arrives where it acts."""
    p, q = jnp.log(jnp.asarray([[[[0.5, 0.5]]]])), jnp.log(jnp.asarray([[[[0.9, 0.1]]]]))
    forward = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    backward = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    vector = jnp.asarray([[[[3.0, 4.0, 0.0]]]])

    default = last(rooms, tmp_path, 'method=sd_mtcnn,reading=printed').method
    assert default.supervised == ('teacher', 'student')
    assert default.weights == {'segmentation': 1.0, 'depth': 1.0, 'normals': 1.0}
    assert not default.stop_teacher_gradient
    assert default.network.attention
    assert not default.network.renormalise
    np.testing.assert_allclose(default.distances['segmentation'](p, q).item(), forward, rtol=1e-5)
    np.testing.assert_allclose(default.distances['normals'](vector, 0 * vector).item(), 5)

    changed = last(
        rooms,
        tmp_path,
        'method=sd_mtcnn,objective=eq6,attention=off',
        method_settings__weight=0.5,
        method_settings__kl_direction='teacher_student',
        method_settings__squared=True,
        method_settings__stop_teacher_gradient=True,
        method_settings__renormalise_normals=True,
    )
    assert changed.name == 'sd_mtcnn_eq6_no_attention'
    assert changed.method.supervised == ('ensemble',)
    assert set(changed.method.weights.values()) == {0.5}
    assert changed.method.stop_teacher_gradient
    assert not changed.method.network.attention
    assert changed.method.network.renormalise
    np.testing.assert_allclose(changed.method.distances['segmentation'](p, q).item(), backward, rtol=1e-5)
    np.testing.assert_allclose(changed.method.distances['normals'](vector, 0 * vector).item(), 25)


def test_every_setting_of_kd_mtl_arrives_where_it_acts(rooms, tmp_path):
    changed = last(
        rooms,
        tmp_path,
        'method=kd_mtl,points=last',
        method_settings__weights__depth=3.0,
        method_settings__weights__normals=0.5,
        method_settings__teacher_batch_stats=True,
        method_settings__adaptor_learning_rate=0.5,
        method_settings__adaptor_l2=2.0,
        cache_teachers='off',
        learning_rate=0.01,
    )
    weights = {'segmentation': 1.0, 'depth': 3.0, 'normals': 0.5}
    assert changed.method.weights == weights
    assert changed.method.mixture(jnp.asarray(0.5)) == (1.0, weights)
    assert changed.method.teacher_batch_stats
    assert changed.method.points == changed.method.adaptors.points == ('last',)
    # The run's optimiser has the method's own for the adaptors.
    kernel, gradients = np.array([3.0]), np.array([[-4.0], [1.0], [0.1]])
    params = {'network': jnp.zeros(1), 'adaptors': jnp.asarray(kernel)}
    given = [dict.fromkeys(params, jnp.asarray(gradient)) for gradient in gradients]
    found = by_hand.updates(changed.optimizer(10, 100), given, params)
    adaptors = np.stack([update['adaptors'] for update in found])
    np.testing.assert_allclose(adaptors, by_hand.adam(gradients + 2.0 * kernel, 0.5), rtol=1e-4)
    network = np.stack([update['network'] for update in found])
    np.testing.assert_allclose(network, by_hand.adam(gradients, 0.01), rtol=1e-4)


def test_every_setting_of_bam_arrives_where_it_acts(rooms, tmp_path):
    fading = last(rooms, tmp_path, 'method=bam', method_settings__weight=0.5).method
    labels, distillation = fading.mixture(jnp.asarray(0.25))
    assert labels == 0.25
    assert distillation == dict.fromkeys(small.NAMES, 0.375)
    constant = last(rooms, tmp_path, 'method=bam', method_settings__annealing=False, method_settings__weight=0.5).method
    labels, distillation = constant.mixture(jnp.asarray(0.25))
    assert labels == 1
    assert distillation == dict.fromkeys(small.NAMES, 0.5)


def test_optimiser_and_schedule_arrive_where_they_act(rooms, tmp_path):
    """Adam's steps on equal gradients are the rate itself."""
    schedule = {'halve_at_epochs': (1.0,), 'decay_every_epochs': 1.5, 'decay_factor': 0.8, 'warmup_epochs': 0.0}
    stage = last(
        rooms,
        tmp_path,
        'method=uniform',
        learning_rate=0.1,
        clip_norm=1.0,
        optimizer_settings__b2=0.5,
        **{f'schedule_settings__{name}': value for name, value in schedule.items()},
    )
    params, chosen = {'network': jnp.zeros(1)}, stage.optimizer(2, 100)
    found = [u['network'].item() for u in by_hand.updates(chosen, 7 * [{'network': jnp.ones(1)}], params)]
    np.testing.assert_allclose(found, -0.1 * np.array([1, 1, 0.5, 0.4, 0.4, 0.4, 0.32]), rtol=1e-4)
    np.testing.assert_allclose([-stage.rate(2, 100)(step) for step in range(7)], found, rtol=1e-4)
    gradients = np.array([[0.5], [5.0], [-0.1]])
    clipped, rates = np.clip(gradients, -1, 1), np.array([[0.1], [0.1], [0.05]])
    found = [u['network'] for u in by_hand.updates(chosen, [{'network': jnp.asarray(g)} for g in gradients], params)]
    np.testing.assert_allclose(found, rates * by_hand.adam(clipped, 1.0, b2=0.5), rtol=1e-4)


@pytest.mark.parametrize(
    ('reading', 'expected'),
    [('followed', ('teacher_student', True, True)), ('printed', ('student_teacher', False, False))],
)
def test_a_reading_sets_what_is_not_set_apart(rooms, tmp_path, reading, expected):
    names = ('kl_direction', 'squared', 'stop_teacher_gradient')
    stage = last(rooms, tmp_path, f'method=sd_mtcnn,reading={reading}')
    assert tuple(stage.settings['method_settings'][name] for name in names) == expected
    assert 'reading' not in stage.settings['method_settings']
    apart = last(rooms, tmp_path, f'method=sd_mtcnn,reading={reading}', method_settings__squared=not expected[1])
    found = tuple(apart.settings['method_settings'][name] for name in names)
    assert found == (expected[0], not expected[1], expected[2])


def test_the_student_follows_its_teacher_unless_told_otherwise(rooms, tmp_path):
    """KL(teacher ‖ student), squared distances, and no gradient to the teacher (the reading `followed`)."""
    p, q = jnp.log(jnp.asarray([[[[0.5, 0.5]]]])), jnp.log(jnp.asarray([[[[0.9, 0.1]]]]))
    backward = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    method = last(rooms, tmp_path, 'method=sd_mtcnn').method
    assert method.stop_teacher_gradient
    np.testing.assert_allclose(method.distances['segmentation'](p, q).item(), backward, rtol=1e-5)
    np.testing.assert_allclose(
        method.distances['depth'](jnp.full((1, 1, 1, 1), 3.0), jnp.zeros((1, 1, 1, 1))).item(), 9
    )


def test_weightings_by_name(rooms, tmp_path):
    """As a method of its own, or of another method; their hyper-parameters and constant factors are settings."""
    alone = last(rooms, tmp_path, 'method=cagrad', weighting_settings__c=0.4, task_weights__depth=2.0)
    assert alone.name == 'cagrad'
    assert alone.facts['method'] == 'mtl'
    assert alone.weighting(10).needs == 'gramian'
    assert alone.factors == {'segmentation': 1.0, 'depth': 2.0, 'normals': 1.0}
    assert alone.settings['weighting'] == 'cagrad'
    assert alone.settings['weighting_settings'] == {'c': 0.4, 'rescale': 0, 'gramian_of': 'parameters'}
    with_teachers = last(rooms, tmp_path, 'method=kd_mtl,weighting=dwa')
    assert with_teachers.name == 'kd_mtl_dwa'
    assert with_teachers.settings['weighting_settings'] == {'temperature': 2.0}
    near = last(rooms, tmp_path, 'method=mgda', weighting_settings__gramian_of='features')
    assert near.name == 'mgda_features'
    assert near.gramian_of == 'features'


@pytest.mark.parametrize('weighting', ['mgda', 'gradnorm', 'dwa'])
def test_a_variant_is_recorded_with_all_that_it_decides(rooms, tmp_path, weighting):
    plain = last(rooms, tmp_path, f'method={weighting}')
    theirs = last(rooms, tmp_path, f'method={weighting},variant=kd4mtl')
    assert theirs.name == f'{weighting}_kd4mtl'
    assert theirs.gramian_of == ('parameters' if weighting == 'dwa' else 'features')
    assert theirs.weighting(10).weighs_own == (weighting != 'dwa')
    for stage, variant in ((plain, 'paper'), (theirs, 'kd4mtl')):
        named = {} if variant == 'paper' else {'variant': 'kd4mtl'}
        # Stages from before there were variants have no word of theirs.
        assert stage.settings['weighting_settings'] == {**VARIANTS[weighting][variant], **named}


def test_single_task_stages_have_no_weights(rooms, tmp_path):
    """Not even the constant ones of the run they teach for."""
    single, *_ = stages(load('rooms', 'tasks=depth+normals', data__data_dir=rooms, task_weights__depth=7.0), tmp_path)
    assert single.name == 'stl_depth'
    assert single.factors is None
    assert 'task_weights' not in single.settings


def test_a_module_is_recorded_where_it_is_used(rooms, tmp_path, monkeypatch):
    """A weighting of one's own is no affair of single-task stages: they stay the same, and so do their papers' rows."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'odd_weighting.py').write_text('from mtkd_jax.weighting import uniform as weighting\n')
    config = load('rooms', 'weighting=odd_weighting,tasks=depth', data__data_dir=rooms)
    single, several = stages(config, tmp_path)
    assert 'modules' not in single.settings
    assert set(several.settings['modules']) == {'weighting'}
    assert several.name == 'kd_mtl_odd_weighting'


def test_a_given_teacher_is_called_by_its_own_backbone(rooms, tmp_path):
    teacher = model(tmp_path / 'given', ['depth'], widths=(4, 4, 4, 4, 8), backbone='segnet_sd')
    config = load(
        'rooms',
        'tasks=depth,points=mid',
        data__data_dir=rooms,
        method_settings__teachers__depth=teacher,
    )
    given = stages(config, tmp_path)[0]
    assert given.facts['backbone'] == 'segnet_sd'
    assert given.settings['backbone_settings']['attention'] is True


def test_baselines_are_what_they_are_called(rooms, tmp_path):
    apart = last(rooms, tmp_path, 'method=no_distillation')
    assert apart.method.weights == {}
    assert apart.method.distances == {}
    assert set(apart.settings['method_settings']) == {'objective', 'renormalise_normals', 'student_widths'}
    before = last(rooms, tmp_path, 'method=traditional_kd', method_settings__weight=0.5)
    assert set(before.method.weights.values()) == {0.5}
    assert before.method.supervised == ('student',)
    assert list(before.networks) == ['student']
    assert list(apart.networks) == ['teacher', 'student', 'teacher + student']


@pytest.mark.parametrize('name', ['rooms', 'nyuv2', 'glyphs', 'svhn_omniglot'])
def test_who_reads_does_not_decide_what_is_learned(name):
    config = configs.load(name)
    before = data_settings(config)
    config.data.read_threads, config.data.read_workers = 3, 2
    assert data_settings(config) == before
    config.data.validation_fraction = 0.5
    assert data_settings(config) != before


def test_the_network_without_teachers_is_trained_beside(rooms, tmp_path):
    """Where it is wanted, before the distilled network, whose settings do not change by it."""
    recipe = 'method=kd_mtl,weighting=dwa,tasks=depth+normals,backbone=tests.shallow'
    config = load('rooms', recipe, data__data_dir=rooms)
    alone = stages(config, tmp_path)
    config.method_settings.baseline = True
    beside = stages(config, tmp_path)
    assert [stage.name for stage in beside] == ['stl_depth', 'stl_normals', 'dwa', 'kd_mtl_dwa']
    assert [stage.settings for stage in beside if stage.name != 'dwa'] == [stage.settings for stage in alone]
    assert beside[2].seed == beside[3].seed
    plain = stages(load('rooms', recipe.replace('kd_mtl', 'mtl'), data__data_dir=rooms), tmp_path)
    assert beside[2].settings == plain[-1].settings
    assert [configs.load(name).method_settings.baseline for name in ('rooms', 'nyuv2', 'smoke')] == [True, False, False]
