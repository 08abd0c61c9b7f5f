"""The paper's row stands beside a run only where everything that decides its outcome is the paper's."""

import re

import pytest

from mtkd_jax import configs
from mtkd_jax.experiment.paper import difference_from_paper, paper_rows
from mtkd_jax.experiment.plans import plans
from mtkd_jax.reporting import tables


def rows(name, recipe='', **fields):
    """({stage: its papers' rows}, the note) of a config at full size."""
    config = configs.load(f'{name}:{recipe}')
    config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in fields.items()})
    return {plan.name: paper_rows(config, plan) for plan in plans(config)}, difference_from_paper(
        config, plans(config)[-1]
    )


@pytest.mark.parametrize('name', configs.NAMES)
def test_every_row_that_a_config_names_is_in_the_table(name):
    for row in getattr(configs.module(name), 'PAPERS', ()):
        branches = ('', 'teacher', 'student')
        assert any(tables.paper_row(row.place, branch) for branch in branches), row


@pytest.mark.parametrize('name', configs.NAMES)
def test_every_row_is_reached_by_its_own_recipe(name):
    for row in getattr(configs.module(name), 'PAPERS', ()):
        found, note = rows(name, row.recipe)
        assert note == '', row
        assert row.place in [place for places in found.values() for place in places], row


def test_every_row_of_the_papers_tables_is_reached():
    """Table 1 of SD-MTCNN has single tasks; the others whole networks."""
    pointed = {}
    for name in configs.NAMES:
        for row in getattr(configs.module(name), 'PAPERS', ()):
            pointed.setdefault(row.table, []).append(row.place)
    for table in tables.paper_tables():
        for line in tables.paper_rows(table):
            branch = line.get('branch') or ''
            assert line in [tables.paper_row(place, branch) for place in pointed[table]], (table, line)


@pytest.mark.parametrize(
    ('recipe', 'fields', 'named'),
    [
        ('', {'method_settings__weights__normals': 6.0}, r'`method_settings.weights.normals` 6.0 \(paper: 2.0\)'),
        ('', {'data__height': 96}, r'`data.height` 96 \(paper: 288\)'),
        ('', {'compute_dtype': 'bfloat16'}, r'`compute_dtype` bfloat16 \(paper: float32\)'),
        ('', {'data__validation_fraction': 0.5}, '`data.validation_fraction` 0.5'),
        ('', {'data__augment': 'scale_crop_flip'}, '`data.augment` scale_crop_flip'),
        ('weighting=dwa', {}, '`weighting` dwa'),
        ('', {'task_weights__depth': 2.0}, '`task_weights.depth` 2.0'),
        ('method=gradnorm', {'weighting_settings__alpha': 0.0}, r'`weighting_settings.alpha` 0.0 \(paper: 1.5\)'),
        ('method=dwa,backbone=mtan', {'weighting_settings__temperature': 1.0}, '`weighting_settings.temperature` 1.0'),
        ('method=mgda', {'weighting_settings__gramian_of': 'features'}, '`weighting_settings.gramian_of` features'),
        ('', {'schedule_settings__decay_every_epochs': 5.0}, '`schedule_settings.decay_every_epochs` 5.0'),
        ('', {'selection': 'last10_mean'}, '`selection` last10_mean'),
        ('method=sd_mtcnn', {'method_settings__student_widths': (64, 64, 64, 64)}, '`method_settings.student_widths`'),
        ('schedule=cosine', {}, '`schedule` cosine'),
        ('optimizer=sgd', {}, '`optimizer` sgd'),
        ('', {'ema_decay': 0.9}, '`ema_decay` 0.9'),
        ('', {'clip_norm': 1.0}, '`clip_norm` 1.0'),
        ('', {'accumulate_steps': 2}, '`accumulate_steps` 2'),
        ('', {'method_settings__adaptor_l2': 0.0}, '`method_settings.adaptor_l2` 0.0'),
    ],
)
def test_any_field_that_decides_the_outcome_takes_the_row_away(recipe, fields, named):
    found, note = rows('nyuv2', recipe, **fields)
    assert not list(found.values())[-1]
    assert re.search(named, note), note


@pytest.mark.parametrize(('name', 'stays'), [('nyuv2', True), ('cityscapes', True), ('svhn_omniglot', False)])
def test_the_epoch_that_the_authors_code_reports_leaves_its_row(name, stays):
    """Table 1 says what it reports: the median of the last epochs."""
    found, note = rows(name, selection='lowest_training_loss')
    assert all(found.values()) == stays
    assert ('`selection`' in note) != stays


def test_the_forms_of_the_authors_code_have_the_row_too():
    for recipe in ('method=mgda', 'method=mgda,variant=kd4mtl'):
        (places,) = rows('nyuv2', recipe)[0].values()
        assert [place['method'] for place in places] == ['mgda']


def test_bam_s_weight_takes_its_row_away():
    assert rows('svhn_omniglot', 'method=bam')[0]['bam']
    assert not rows('svhn_omniglot', 'method=bam', method_settings__weight=5.0)[0]['bam']


@pytest.mark.parametrize(
    'fields',
    [
        {'seed': 3},
        {'devices': 0},
        {'data__read_workers': 2},
        {'eval_batch_size': 1},
        {'log_every_steps': 1},
        {'stages_at_once': 2},
    ],
)
def test_what_does_not_decide_the_outcome_leaves_the_row(fields):
    found, note = rows('nyuv2', **fields)
    assert note == ''
    assert all(found.values())


def test_single_task_rows_do_not_depend_on_what_they_teach():
    """λ decides the student's outcome, not its teachers'."""
    found, _ = rows('nyuv2', method_settings__weights__normals=6.0)
    assert found['stl_depth']
    assert not found['kd_mtl']


def test_a_run_may_have_rows_in_two_tables():
    found, _ = rows('cityscapes', 'method=uniform,backbone=mtan')
    assert [place['table'] for place in found['uniform']] == ['kdmtl_table3_cityscapes', 'sdmtcnn_table5_2task']


@pytest.mark.parametrize(
    ('name', 'recipe', 'branch', 'metrics'),
    [
        ('cityscapes', 'method=kd_mtl', '', {'miou', 'inverse_depth_rel'}),
        ('cityscapes', 'method=dwa,backbone=mtan', '', {'inverse_depth_abs'}),
        ('cityscapes', 'method=sd_mtcnn', 'teacher', {'inverse_depth_abs', 'pixel_accuracy'}),
        ('taskonomy', '', 'teacher', {'depth_rel', 'normal_cosine'}),
        ('taskonomy', 'method=uniform,backbone=mtan', '', {'depth_rel', 'normal_cosine'}),
        ('nyuv2', 'method=sd_mtcnn,tasks=segmentation+depth', 'teacher', {'depth_rel', 'miou'}),
        ('svhn_omniglot', '', '', {'svhn_accuracy', 'omniglot_accuracy'}),
    ],
)
def test_a_papers_row_has_our_names_of_its_metrics(name, recipe, branch, metrics):
    place = list(rows(name, recipe)[0].values())[-1][0]
    found = set(tables.paper_results(tables.paper_row(place, branch), place['prefix']))
    assert metrics <= found
    # Of which unit Taskonomy's depth, keypoints and edges are there, the paper does not say.
    assert name != 'taskonomy' or not {'depth_abs', 'keypoints_abs', 'edges_abs'} & found
