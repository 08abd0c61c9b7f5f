"""What each method refuses: its settings, one by one, before anything is computed."""

import math

import pytest

from mtkd_jax.experiment.checks import check
from mtkd_jax.experiment.plans import plans
from mtkd_jax.experiment.settings import stage_settings
from mtkd_jax.types import UserError
from tests.recipes import load

REFUSED = {
    'method=kd_mtl': [
        ({'weights__depth': -1.0}, '`method_settings.weights.depth` is -1.0; give a finite number, 0 or more'),
        ({'weights__depth': math.nan}, '`method_settings.weights.depth` is nan'),
        ({'weights__depth': math.inf}, '`method_settings.weights.depth` is inf'),
        ({'points': ()}, r'`method_settings.points` is \(\); segnet has mid, last'),
        ({'points': ('first',)}, r"`method_settings.points` is \('first',\); segnet has mid, last"),
        ({'points': ('last', 'last')}, "is .*'last'.*; name each point once"),
        ({'adaptor_learning_rate': -1.0}, '`method_settings.adaptor_learning_rate` is -1.0'),
        ({'adaptor_l2': math.nan}, '`method_settings.adaptor_l2` is nan'),
        ({'adaptors': 'deep'}, "`method_settings.adaptors` is 'deep'; choose one of linear, mlp"),
    ],
    'method=bam': [
        ({'weight': -1.0}, '`method_settings.weight` is -1.0; give a finite number, 0 or more'),
        ({'weight': math.nan}, '`method_settings.weight` is nan'),
        ({'distances__depth': 'kl'}, "`method_settings.distances.depth` is 'kl'; choose one of l2"),
        ({'kl_direction': 'backwards'}, "`method_settings.kl_direction` is 'backwards'; choose one of"),
    ],
    'method=sd_mtcnn': [
        ({'weight': -1.0}, '`method_settings.weight` is -1.0; give a finite number, 0 or more'),
        ({'weight': math.inf}, '`method_settings.weight` is inf'),
        ({'objective': 'eq7'}, "`method_settings.objective` is 'eq7'; choose one of eq5, eq6"),
        ({'reading': 'literal'}, "`method_settings.reading` is 'literal'; choose one of followed, printed"),
        ({'distances__normals': 'kl'}, "`method_settings.distances.normals` is 'kl'; choose one of l2"),
        ({'kl_direction': 'both'}, "`method_settings.kl_direction` is 'both'; choose one of"),
        ({'student_widths': (4, 4, 4)}, r'`method_settings.student_widths` is \(4, 4, 4\); give four positive whole'),
        ({'student_widths': (4, 4, 4, 0)}, 'give four positive whole numbers'),
        ({'renormalise_normals': True}, '`method_settings.renormalise_normals` is on, but eq5 has no mean'),
    ],
    'method=sd_mtcnn,backbone=segnet': [({}, "`backbone` is 'segnet', which has no teacher and student branches")],
    'method=no_distillation': [
        ({'objective': 'eq7'}, "`method_settings.objective` is 'eq7'; choose one of eq5, eq6"),
        ({'student_widths': (4,)}, 'give four positive whole numbers'),
    ],
    'method=traditional_kd': [
        ({'weight': math.nan}, '`method_settings.weight` is nan'),
        ({'student_widths': (4, 4, 4, -4)}, 'give four positive whole numbers'),
    ],
    'method=traditional_kd,backbone=mtan': [({}, "`backbone` is 'mtan', which has no teacher and student branches")],
}


@pytest.mark.parametrize(
    ('recipe', 'fields', 'message'),
    [(recipe, fields, message) for recipe, cases in REFUSED.items() for fields, message in cases],
)
def test_a_setting_that_does_not_fit_is_named(recipe, fields, message):
    with pytest.raises(UserError, match=message):
        check(load('rooms', recipe, **{f'method_settings__{name}': value for name, value in fields.items()}))


@pytest.mark.parametrize('recipe', ['method=stl', *(recipe for recipe in REFUSED if 'backbone' not in recipe)])
def test_the_defaults_fit(recipe):
    check(load('rooms', recipe))


@pytest.mark.parametrize(
    ('recipe', 'message'),
    [
        ('method=stl,weighting=mgda', "`weighting` is 'mgda', but `method` is 'stl': one task needs no weighting"),
        ('method=stl,points=last', "The recipe has no 'points'"),
        ('method=mtl,objective=eq5', "The recipe has no 'objective'"),
        ('method=bam,adaptor_l2=0', "The recipe has no 'adaptor_l2'"),
    ],
)
def test_what_a_method_does_not_read_cannot_be_set(recipe, message):
    with pytest.raises(UserError, match=message):
        load('rooms', recipe)


def test_adaptors_are_recorded_and_named_where_they_are_not_the_papers():
    plain, mlp = (load('rooms', 'method=kd_mtl', method_settings__adaptors=kind) for kind in ('linear', 'mlp'))
    names, records = [], []
    for config in (plain, mlp):
        plan = plans(config)[-1]
        assert plan.method.adaptors.kind == config.method_settings.adaptors
        names.append(plan.name)
        records.append(stage_settings(config, plan, {})['method_settings'])
    assert names == ['kd_mtl', 'kd_mtl_mlp']
    # Stages from before there was a choice have no word of it.
    assert records[1] == {**records[0], 'adaptors': 'mlp'}
    assert 'adaptors' not in records[0]


@pytest.mark.parametrize(
    ('recipe', 'name'),
    [
        ('method=kd_mtl', 'kd_mtl_teacher_batch_stats'),
        ('method=kd_mtl,weighting=dwa,adaptors=mlp', 'kd_mtl_mlp_teacher_batch_stats_dwa'),
    ],
)
def test_teachers_in_training_mode_have_a_stage_of_their_own(recipe, name):
    """So that no report or table of seeds puts both under one name, and one workdir can hold both."""
    assert plans(load('rooms', recipe, method_settings__teacher_batch_stats=True))[-1].name == name
