"""Several seeds in one table."""

import numpy as np
import pytest

from mtkd_jax import compare
from mtkd_jax.reporting.reproduced import Line, comparison
from mtkd_jax.reporting.seeds import seeds_sections, seeds_table
from mtkd_jax.training.folder import save_model
from mtkd_jax.types import UserError
from tests import small
from tests.reporting import fake

TASKS = list(fake.TASKS.values())


def workdir(folder, seed, change=0.0, **changes):
    stages = fake.stages(seed=seed, **changes)
    stages[-1]['results']['depth_abs'] += change
    return fake.write(folder / f'seed{seed}', stages)


def cells(table, row):
    table = table.partition('\n\n')[0]
    header, _, *lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines()]
    (found,) = [line for line in lines if line[0] == row]
    return dict(zip(header, found, strict=True))


def test_mean_and_sample_deviation(tmp_path):
    """0.45 + (0, 0.1, 0.2): mean 0.55, deviation 0.1; Δm by hand for each seed, then its mean."""
    paths = [workdir(tmp_path, seed, change) for seed, change in enumerate((0.0, 0.1, 0.2))]
    table = seeds_table(paths, TASKS)
    found = cells(table, 'kd_mtl')
    assert found['depth error (m) ↓'] == '0.5500 ± 0.1000'
    assert found['mIoU (%) ↑'] == '22.00 ± 0.00'
    assert found['seeds'] == '3'
    # Segmentation +6 %, normals +0.2 ... from the fake numbers: (10 + 2) / 2, and (-5 + 0 + 4 + 0 + 0) / 5.
    depth = [(-100 * (0.45 + c - 0.5) / 0.5 - 4) / 2 for c in (0.0, 0.1, 0.2)]
    mean = sum((6 + d + -0.2) / 3 for d in depth) / 3
    assert found['Δm ↑'].startswith(f'{mean:.1f} ± ')
    assert cells(table, 'single-task')['Δm ↑'] == '–'


def test_results_of_before_the_papers_batches_have_no_delta(tmp_path):
    paths = [workdir(tmp_path, seed) for seed in (0, 1)]
    assert cells(seeds_table(paths, TASKS, 'legacy'), 'kd_mtl')['Δm ↑'] != '–'
    for seed in (2, 3):
        stages = fake.stages(seed=seed)
        for stage in stages:
            stage['results'] = {k: v for k, v in stage['results'].items() if not k.endswith('per_batch_legacy')}
        paths[seed - 2] = fake.write(tmp_path / f'before{seed}', stages)
    found = cells(seeds_table(paths, TASKS, 'legacy'), 'kd_mtl')
    assert (found['Δm ↑'], found['mIoU (%) ↑'], found['depth error (m) ↓']) == ('–', '17.60 ± 0.00', '–')


def test_further_metrics_over_seeds(tmp_path):
    """In tables of their own; results of before there were any have none, and have a Δm everywhere."""
    paths = [workdir(tmp_path, seed) for seed in (0, 1)]
    assert seeds_sections(paths, TASKS) == {}
    assert cells(seeds_table(paths, TASKS), 'kd_mtl')['Δm ↑'] != '–'
    stages = [fake.stages(seed=seed) for seed in (2, 3)]
    for seed, found in enumerate(stages):
        found[-1]['results'] |= {'depth_rmse': 1.0 + seed, 'iou_1': (10.0, float('nan'))[seed]}
    after = [fake.write(tmp_path / f'after{seed}', found) for seed, found in enumerate(stages)]
    table = seeds_sections(after, TASKS)
    assert list(table) == ['IoU per class', 'Further numbers of depth']
    assert '| depth, RMSE (m) ↓      | 1.5000 ± 0.7071 |' in table['Further numbers of depth']
    assert '| IoU, 1 (%) ↑  | 10.00 (1) |' in table['IoU per class']
    lines = [
        Line(name, '', 'segnet', name == 'stl', False, {0: dict(results)}, {}, True, '')
        for name, results in (('stl', {k: v for of in fake.SINGLE.values() for k, v in of.items()}), ('x', fake.MULTI))
    ]
    _, content = comparison(lines, TASKS)
    assert content[1]['delta_m']['0'] == pytest.approx((6 + 3 - 0.2) / 3)


def test_a_cell_says_of_how_many_seeds_it_is(tmp_path):
    """Where a single-task network is not trained yet; a seed without any has no row to count."""
    whole = [workdir(tmp_path, seed) for seed in (0, 1)]
    _, depth, _, several = fake.stages(seed=2)
    some = fake.write(tmp_path / 'some', [depth, several])
    none = fake.write(tmp_path / 'none', fake.stages(seed=3)[-1:])
    table = seeds_table([some, *whole, none], TASKS)
    single, several = cells(table, 'single-task'), cells(table, 'kd_mtl')
    assert (single['seeds'], several['seeds']) == ('3', '4')
    assert single['depth error (m) ↓'] == '0.5000 ± 0.0000'
    assert single['mIoU (%) ↑'] == '20.00 ± 0.00 (2)'
    assert several['mIoU (%) ↑'] == '22.00 ± 0.00'
    assert several['Δm ↑'].endswith(' % (2)')


def test_tasks_are_those_of_all_workdirs(tmp_path):
    """The first has its single-task network of depth only, and no network of normals."""
    for seed, kept in enumerate((['stl_depth'], ['stl_depth', 'stl_normals'])):
        folder = fake.write(tmp_path / f'seed{seed}', [s for s in fake.stages(seed=seed) if s['stage'] in kept])
        for name in kept:
            data = {'dataset': 'rooms', 'classes': 13, 'depth_maximum': 8.0}
            spec = {**small.SPEC, 'backbone': 'segnet', 'tasks': [name.removeprefix('stl_')], 'data': data}
            save_model(folder / 'stages' / name / 'model', spec, {'params': {'x': np.zeros(1, np.float32)}})
    found = cells(compare.compare([str(tmp_path / 'seed*')], 'accumulated'), 'single-task')
    assert found['normals, mean (°) ↓'] == '30.00 (1)'
    assert found['seeds'] == '2'


def test_another_kind_of_network_is_no_base(tmp_path):
    stages = fake.stages()
    stages[-1]['backbone'] = 'segnet_sd'
    assert cells(seeds_table([fake.write(tmp_path / 'a', stages)], TASKS), 'kd_mtl')['Δm ↑'] == '–'


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'epochs': 3}, 'epochs 3 and 12'),
        ({'settings': {'batch_size': 4, 'data': {'height': 64}}}, 'batch_size 4 and 8; data.height 64 and 32'),
        ({'dataset': 'nyuv2'}, 'data.dataset nyuv2 and rooms'),
    ],
)
def test_rows_of_another_budget_or_data_are_marked(tmp_path, change, said):
    """And have no Δm; the first row's stays."""
    alike = {'settings': {'batch_size': 8, 'data': {'height': 32}}}
    stages = fake.stages(**alike)
    stages.append(fake.stage('uniform', 'mtl', list(fake.TASKS), fake.MULTI, **{**alike, **change}))
    table = seeds_table([fake.write(tmp_path / 'a', stages)], TASKS)
    assert cells(table, 'kd_mtl')['Δm ↑'] == '2.9 %'
    assert cells(table, 'uniform [1]')['Δm ↑'] == '–'
    assert table.endswith(f'\n\n[1] Not to be compared with the rows above: {said}.')


def test_rows_of_different_seeds_say_so(tmp_path):
    several = fake.write(tmp_path / 'b', fake.stages(seed=1)[-1:])
    table = seeds_table([workdir(tmp_path, 0), several], TASKS)
    assert table.endswith('\n\nRows are means over different seeds: single-task 0; kd_mtl 0, 1.')
    assert 'different seeds' not in seeds_table([workdir(tmp_path / 'c', s) for s in (0, 1)], TASKS)


def test_delta_is_of_all_tasks_of_a_row_or_of_none(tmp_path):
    """A command without one of them would else give the row another number."""
    assert cells(seeds_table([workdir(tmp_path, 0)], TASKS[1:]), 'kd_mtl')['Δm ↑'] == '–'


def test_runs_that_cannot_be_averaged(tmp_path):
    one = workdir(tmp_path / 'a', 0)
    with pytest.raises(UserError, match='both have seed 0 of stl_segmentation'):
        seeds_table([one, workdir(tmp_path / 'b', 0)], TASKS)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='has no finished stage'):
        seeds_table([tmp_path / 'empty'], TASKS)
