"""Tables: layout, bold, the papers' rows."""

import pytest

from mtkd_jax.records import by_branch, split_branch
from mtkd_jax.reporting import tables
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.rows import rows
from mtkd_jax.types import UserError
from tests.reporting import fake

TASKS = list(fake.TASKS.values())


def cells(table, name):
    """The cells of the row called `name`."""
    (line,) = [line for line in table.splitlines() if line.startswith(f'| {name} ')]
    return [cell.strip() for cell in line.strip('|').split('|')][1:]


@pytest.mark.parametrize('table', tables.paper_tables())
def test_every_paper_table_is_read(table):
    found = tables.paper_rows(table)
    assert len(found) >= 4
    for row in found:
        assert row['backbone']
        assert len(tables.paper_results(row)) >= 2


def test_paper_tables_are_all_there():
    assert len(tables.paper_tables()) == 9


def test_paper_row():
    row = tables.paper_row({'table': 'kdmtl_table2_nyuv2', 'backbone': 'segnet', 'method': 'kdmtl'})
    assert row['miou'] == 18.75
    assert row['normal_11.25'] == 24.33
    assert row['branch'] is None
    missing = tables.paper_row({'table': 'kdmtl_table2_nyuv2', 'backbone': 'segnet', 'method': 'pcgrad'})
    assert missing is None
    student = tables.paper_row(
        {'table': 'sdmtcnn_table3_nyuv2_3task', 'backbone': 'segnet_sd', 'method': 'sdmtcnn_eq6'}, 'student'
    )
    assert student['miou'] == 22.59


def test_empty_cells_are_none():
    assert tables.paper_rows('kdmtl_table1_svhn_omniglot')[0]['average'] is None


def test_an_unknown_table_lists_the_tables():
    with pytest.raises(UserError, match=r"`paper.table` is 'table2'; the tables are kdmtl_table1_svhn_omniglot"):
        tables.paper_rows('table2')


def test_the_best_is_bold_in_its_direction():
    table = tables.results_table(rows(fake.stages()), TASKS)
    single, multi = cells(table, 'single-task'), cells(table, 'kd_mtl')
    assert single[:4] == ['20.00', '50.00', '0.5000', '**0.2500**']
    assert multi[:4] == ['**22.00**', '**51.00**', '**0.4500**', '0.2600']
    # A tie has two winners.
    assert single[5] == multi[5] == '**24.00**'


def test_a_row_alone_has_no_bold():
    assert '**' not in tables.results_table(rows(fake.stages()[3:]), TASKS)


def test_rows_of_other_tasks_do_not_compete():
    two = fake.stage('uniform', 'uniform', ['segmentation', 'depth'], {'miou': 99.0, 'depth_abs': 0.01})
    table = tables.results_table(rows([*fake.stages(), two]), TASKS)
    assert cells(table, 'uniform')[:3] == ['99.00', '–', '0.0100']
    assert cells(table, 'kd_mtl')[0] == '**22.00**'


def test_the_legacy_table_has_legacy_values():
    table = tables.results_table(rows(fake.stages()), TASKS[:1], 'legacy')
    assert cells(table, 'kd_mtl') == ['**17.60**', '**49.98**']


def test_a_row_per_branch():
    results = {f'{b}/{k}': v for b in ('teacher', 'student') for k, v in fake.MULTI.items()}
    found = rows([fake.stage('sd', 'sd_mtcnn', list(fake.TASKS), results)])
    assert [row.title for row in found] == ['sd (teacher)', 'sd (student)']
    assert found[0].results == fake.MULTI


def test_losses_are_not_branches():
    assert split_branch('loss/depth') == ('', 'loss/depth')
    assert split_branch('student/loss/depth') == ('student', 'loss/depth')
    assert by_branch({'miou': 1.0, 'loss/depth': 2.0}) == {'': {'miou': 1.0, 'loss/depth': 2.0}}


def test_markdown_is_aligned():
    table = tables.markdown(['a', 'long head'], [['first', '1'], ['b', '22']])
    assert table.splitlines() == [
        '| a     | long head |',
        '| :---- | --------: |',
        '| first |         1 |',
        '| b     |        22 |',
    ]


def test_numbers():
    labels = Labels.of(TASKS)
    assert labels.number('miou', 18.756) == '18.76'
    assert labels.number('depth_abs', 0.57804) == '0.5780'
    assert labels.number('miou', float('nan')) == labels.number('miou', None) == '–'
    assert tables.percent(-0.001) == '+0.00 %'
