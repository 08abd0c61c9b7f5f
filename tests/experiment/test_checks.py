"""What is refused of a config before anything is computed: one sentence with the field, its value and the remedy."""

import math

import pytest
from flax.traverse_util import flatten_dict

from mtkd_jax.experiment.checks import check
from mtkd_jax.types import UserError
from tests.recipes import load, stages


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'data__height': 40}, '`data.height` is 40; segnet needs a multiple of 32'),
        ({'widths': (4, 4)}, 'needs 5 positive whole numbers'),
        ({'widths': (4, 4.5, 4, 4, 4)}, 'needs 5 positive whole numbers'),
        ({'accumulate_steps': 3}, '`accumulate_steps` is 3, but a stage has 2 steps'),
        ({'data__validation_fraction': math.nan}, '`data.validation_fraction` is nan'),
        ({'data__read_threads': 0}, '`data.read_threads` is 0'),
        ({'data__placement': 'gpu'}, "`data.placement` is 'gpu'"),
        ({'cache_teachers': 'yes'}, "`cache_teachers` is 'yes'"),
        ({'cache_dtype': 'bfloat16'}, "`cache_dtype` is 'bfloat16', which decides results"),
        ({'seed': 2**70}, r'give a number below 2\*\*31'),
        ({'learning_rate': None}, '`learning_rate` is None'),
        ({'compute_dtype': 'float16'}, "`compute_dtype` is 'float16'; choose one of float32, bfloat16"),
        ({'epochs': 0}, '`epochs` is 0; it must be at least 1'),
        ({'data__depth_maximum': 0.0}, '`data.depth_maximum` is 0.0'),
        ({'data__depth_maximum': -3.0}, '`data.depth_maximum` is -3.0'),
        ({'data__depth_maximum': math.nan}, '`data.depth_maximum` is nan'),
        ({'selection': 'best_test'}, "`selection` is 'best_test'; choose one of last"),
        ({'selection': 'last10_mean'}, 'reads 10 epochs, but `epochs` is 1'),
        ({'selection': 'best_validation'}, '`data.validation_fraction` is 0'),
        ({'selection': 'best_validation', 'data__validation_fraction': 0.5, 'ema_decay': 0.9}, '`ema_decay` 0.9'),
        ({'selection': 'lowest_training_loss', 'ema_decay': 0.9}, 'which keeps one epoch, but .*`ema_decay` 0.9'),
        ({'devices': 99}, '`devices` is 99'),
        ({'devices': -1}, '`devices` is -1'),
        ({'devices': 8}, '`batch_size` is 4'),
        ({'learning_rate': -1.0}, '`learning_rate` is -1.0; it must be positive'),
        ({'learning_rate': math.nan}, '`learning_rate` is nan'),
        ({'clip_norm': -1.0}, '`clip_norm` is -1.0'),
        ({'ema_decay': 1.0}, '`ema_decay` is 1.0'),
        ({'accumulate_steps': 0}, '`accumulate_steps` is 0'),
        ({'optimizer_settings__b1': 1.0}, '`optimizer_settings.b1` is 1.0; give a number below 1'),
        ({'schedule_settings__halve_at_epochs': (-1.0,)}, '`schedule_settings.halve_at_epochs` is'),
        ({'panel_images': -1}, '`panel_images` is -1'),
        ({'diagnose_every_steps': -1}, '`diagnose_every_steps` is -1'),
        ({'task_weights__depth': -1.0}, '`task_weights.depth` is -1.0; give a finite number, 0 or more'),
        ({'task_weights__depth': math.nan}, '`task_weights.depth` is nan'),
        ({'data__augment': 'crop'}, "`data.augment` is 'crop'; choose one of none, scale_crop_flip"),
        ({'data__classes': 7}, '`data.classes` is 7; .* has 13'),
        ({'data__train_images': 2}, '`batch_size` 4 is larger than the split, which has 2 examples'),
    ],
)
def test_a_field_that_does_not_fit_is_refused(rooms, tmp_path, fields, message):
    config = load('rooms', 'method=uniform', data__data_dir=rooms, **fields)
    with pytest.raises(UserError, match=message):
        stages(config, tmp_path)
    assert not list(tmp_path.iterdir())


ODD = (0, -3, True, math.nan, math.inf, 10**12, 10**400, 0.5, -1.0, 'x', '', (), ((1,),), ('a',), (math.nan,), None)


@pytest.mark.parametrize('recipe', ['method=kd_mtl', 'method=dwa,schedule=cosine,optimizer=sgd'])
def test_no_value_of_any_field_is_more_than_refused(recipe):
    """A value that fits no field ends in a `UserError`, or passes; never in another error."""
    config = load('rooms', recipe)
    refused = []
    for field in flatten_dict(config.to_dict(), sep='.'):
        for value in ODD:
            changed = config.copy_and_resolve_references()
            try:
                changed.update_from_flattened_dict({field: value})
            except (TypeError, ValueError, OverflowError):  # refused by the config, from the type of its default
                continue
            try:
                check(changed)
            except UserError as error:
                refused.append(str(error))
    assert refused
    assert not [said for said in refused if '\n' in said]


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('data__classes', 1, '`data.classes` is 1; give at least 2'),
        ('data__depth_maximum', 0.0, '`data.depth_maximum` is 0.0; give a positive number'),
        ('data__depth_maximum', -3.0, '`data.depth_maximum` is -3.0'),
        ('data__depth_maximum', math.nan, '`data.depth_maximum` is nan; give a finite number'),
        ('data__read_threads', True, '`data.read_threads` is True; give a whole number'),
        ('batch_size', 0, '`batch_size` is 0; it must be at least 1'),
        ('batch_size', 2**30, 'below 2\\*\\*31 pixels'),
        ('widths', ((4,), 4, 4, 4, 4), 'a flat tuple'),
        ('epochs', True, '`epochs` is True; give a whole number'),
        ('task_weights__depth', None, '`task_weights.depth` is None'),
        ('schedule_settings__halve_at_epochs', (math.inf,), 'give a finite number'),
    ],
)
def test_values_that_cannot_be_are_refused_before_the_data(field, value, message):
    fields = flatten_dict(load('nyuv2', 'method=uniform').to_dict(), sep='.')
    assert field.replace('__', '.') in fields
    with pytest.raises(UserError, match=message):
        check(load('nyuv2', 'method=uniform', **{field: value}))


@pytest.mark.parametrize(
    ('recipe', 'fields', 'message'),
    [
        ('method=dwa', {'weighting_settings__temperature': math.inf}, '`weighting_settings.temperature` is inf'),
        ('method=dwa', {'weighting_settings__temperature': 0.0}, '`weighting_settings` of dwa: `temperature` is 0.0'),
        (
            'method=mgda',
            {'weighting_settings__gramian_of': 'heads'},
            "gramian_of` is 'heads'; choose one of parameters, features",
        ),
        ('method=mgda,backbone=mtan', {'weighting_settings__gramian_of': 'features'}, 'mtan has no feature map'),
        (
            'method=mgda,variant=kd4mtl,backbone=mtan',
            {},
            "variant` is 'kd4mtl', but mtan has no .*; choose 'paper', or",
        ),
        ('method=mgda', {'weighting_settings__variant': 'theirs'}, "`variant` is 'theirs'; choose one of 'paper', 'kd"),
        (
            'method=mgda,variant=kd4mtl',
            {'weighting_settings__gramian_of': 'parameters'},
            "`gramian_of` is 'parameters', but `variant` is 'kd4mtl', which has 'features'; leave one of them out",
        ),
        ('method=gradnorm,variant=kd4mtl', {'weighting_settings__alpha': 1.5}, '`alpha` is 1.5, but `variant` is'),
        (
            'method=dwa',
            {'weighting_settings__variant': 'kd4mtl', 'weighting_settings__temperature': 2},
            'which has 1.0',
        ),
        ('method=mgda,backbone=unet_sd', {'weighting_settings__gramian_of': 'features'}, 'unet_sd has no feature map'),
        ('method=imtl,halves=loss', {'weighting_settings__gramian_of': 'features'}, 'imtl reads no Gramian with these'),
    ],
)
def test_a_weighting_that_does_not_fit_is_refused(rooms, tmp_path, recipe, fields, message):
    config = load('rooms', recipe, data__data_dir=rooms, **fields)
    with pytest.raises(UserError, match=message):
        stages(config, tmp_path)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('backbone', 'segnet_sd', '--config=FILE:backbone=segnet_sd'),
        ('method', 'stl', '--config=FILE:method=stl'),
        ('method', 'mtl', '--config=FILE:method=mtl'),
        ('weighting', 'mgda', '--config=FILE:weighting=mgda'),
        ('optimizer', 'sgd', '--config=FILE:optimizer=sgd'),
        ('schedule', 'cosine', '--config=FILE:schedule=cosine'),
        ('tasks', ('depth',), '--config=FILE:tasks=depth'),
    ],
)
def test_what_other_fields_follow_is_chosen_in_the_recipe(field, value, message):
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
