"""Recipes and configs: what they choose, what follows, and how a slip is answered."""

import pytest

from mtkd_jax import configs, methods, models, recipe
from mtkd_jax.configs import base
from mtkd_jax.experiment.checks import check
from mtkd_jax.types import UserError
from mtkd_jax.weighting.registry import CONSTRUCTORS
from tests.recipes import load


def test_a_field_that_nothing_reads_cannot_be_set():
    config = load('rooms')
    with pytest.raises(AttributeError, match='Did you mean "epochs"'):
        config.epoch = 3
    with pytest.raises(AttributeError, match='Did you mean "height"'):
        config.data.hieght = 4


def test_a_file_beside_does_not_hide_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'rooms').write_text('')
    assert configs.load('rooms').data.dataset == 'rooms'
    assert configs.path('rooms').suffix == '.py'


def test_a_recipe_takes_choices_and_their_settings():
    config = configs.load('rooms:method=sd_mtcnn,objective=eq6,attention=off,student_widths=4+5+6+7,weight=0.5')
    assert config.method_settings.objective == 'eq6'
    assert config.method_settings.student_widths == (4, 5, 6, 7)
    assert config.method_settings.weight == 0.5
    assert config.backbone_settings.attention is False


def test_a_weightings_name_stands_for_plain_learning_with_it():
    short, long = (configs.load(f'rooms:{text}').to_dict() for text in ('method=mgda', 'method=mtl,weighting=mgda'))
    assert short == long
    assert (short['method'], short['weighting']) == ('mtl', 'mgda')


@pytest.mark.parametrize('method', list(methods.NAMES))
def test_only_the_chosen_methods_settings_are_there(method):
    config = configs.load(f'rooms:method={method}')
    assert set(config.method_settings) == set(methods.named(method).Settings.__dataclass_fields__)
    assert ('weighting' in config) == (method != 'stl')


def test_a_setting_without_a_default_value_keeps_its_type():
    assert configs.load('rooms:method=stch,nadir_steps=5').weighting_settings.nadir_steps == 5
    assert configs.load('rooms:method=sd_mtcnn,squared=off').method_settings.squared is False


@pytest.mark.parametrize('name', list(CONSTRUCTORS))
def test_every_weighting_can_be_chosen(name):
    check(load('rooms', f'method={name}'))


@pytest.mark.parametrize('optimizer', ['adam', 'adamw', 'sgd'])
@pytest.mark.parametrize('schedule', ['steps', 'cosine', 'polynomial'])
def test_every_optimiser_and_schedule_can_be_chosen(optimizer, schedule):
    config = load('rooms', f'optimizer={optimizer},schedule={schedule},warmup_epochs=1')
    assert config.schedule_settings.warmup_epochs == 1.0
    check(config)


def test_what_a_config_changes_comes_before_what_the_recipe_says():
    assert configs.load('nyuv2').method_settings.weights.normals == 2.0
    assert configs.load('nyuv2:method=kd_mtl,halve_at_epochs=3+5').schedule_settings.halve_at_epochs == (3.0, 5.0)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('rooms:method=kdmtl', r"`method` is 'kdmtl'; choose one of stl, mtl, kd_mtl.* Did you mean 'kd_mtl'\?"),
        ('rooms:method=mgd', r"`method` is 'mgd'.* Did you mean 'mgda'\?"),
        ('rooms:weighting=uncertanty', r"`weighting` is 'uncertanty'.* Did you mean 'uncertainty'\?"),
        ('rooms:backbone=segnett', r"`backbone` is 'segnett'.* Did you mean 'segnet'\?"),
        ('rooms:tasks=depht', r"`tasks` is 'depht'; choose one of segmentation, depth.* Did you mean 'depth'\?"),
        ('rooms:optimizer=adamm', r"Did you mean 'adam'\?"),
        ('rooms:schedule=cosinus', r"Did you mean 'cosine'\?"),
        ('rooms:task=depth', r"The recipe has no 'task'; it takes method, .* Did you mean 'tasks'\?"),
        ('rooms:objective=eq5', "The recipe has no 'objective'"),
        ('rooms:backbone=segnet,attention=off', "The recipe has no 'attention'"),
        ('rooms:method=mgda,weighting=dwa', "`weighting` is 'dwa', but `method` is 'mgda', a weighting itself"),
        ('rooms:method=stl,weighting=dwa', 'one task needs no weighting'),
        (
            'rooms:method=uncertainty,learning_rate=0.01',
            'may be weighting_settings.learning_rate or learning_rate; say',
        ),
        ('rooms:method=__main__', "`method` is '__main__'"),
        ('rooms:tasks=depth,normals', r'tasks are joined with \+: tasks=depth\+normals'),
        ('rooms:depth', "'depth' in the recipe is not name=value"),
        ('rooms:method=mtl,method=stl', "The recipe has 'method' twice"),
        ('rooms:method=sd_mtcnn,attention=no', 'write attention=on or attention=off'),
        ('rooms:method=dwa,temperature=warm', 'temperature=warm in the recipe; give a number, such as'),
        ('romms', r"`config` is 'romms', which is no file, and none of .* Did you mean 'rooms'\?"),
        ('configs/nyu.py', r"`config` is 'configs/nyu.py', which is no file.* Did you mean 'nyuv2'\?"),
    ],
)
def test_a_slip_is_answered(text, message):
    with pytest.raises(UserError, match=message) as raised:
        configs.load(text)
    assert '\\n' not in str(raised.value)


def test_a_difference_that_does_not_exist_is_refused():
    config = configs.load('rooms:method=dwa')
    with pytest.raises(UserError, match="dwa has no setting 'temprature'; it has temperature"):
        base.differ(config, 'dwa', temprature=1.0)
    base.differ(config, 'mgda', whatever=1.0)  # another weighting's


@pytest.mark.parametrize('name', configs.NAMES)
def test_every_config_passes_its_own_checks(name):
    check(configs.load(name))


@pytest.mark.parametrize('backbone', list(models.BACKBONES))
def test_widths_are_those_of_the_backbone(backbone):
    if backbone != 'lenet_mtl':
        config = configs.load(f'nyuv2:method=mtl,backbone={backbone}')
        doubled = backbone in ('split_wide', 'segnet_sd', 'unet_sd')
        assert config.widths == (64, 128, 256, 512, 1024 if doubled else 512)


def test_values_are_of_the_type_of_the_default():
    assert recipe.value('a', '3', 1) == 3
    assert isinstance(recipe.value('a', '3', 1.0), float)
    assert recipe.value('a', 'x+y', ('z',)) == ('x', 'y')
    with pytest.raises(UserError, match='give a whole number'):
        recipe.value('a', '0.5', 1)
