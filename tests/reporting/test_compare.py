"""Any runs in one table: what is a row, what Δm is relative to, differences, ranks, formats."""

import csv
import importlib
import io
import json

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from mtkd_jax import compare
from mtkd_jax.reporting.compared import DELTA, compared
from mtkd_jax.reporting.contrasts import against, letters, ranking
from mtkd_jax.reporting.formats import FORMATS, Page, escaped
from mtkd_jax.reporting.statistics import paired
from mtkd_jax.reporting.told_apart import labels
from mtkd_jax.training.folder import save_model
from mtkd_jax.types import UserError
from tests import small
from tests.reporting import fake

TASKS = list(fake.TASKS.values())
NAMES = list(fake.TASKS)
SETTINGS = {'backbone': 'segnet', 'widths': [4, 8], 'batch_size': 8, 'learning_rate': 0.001}


def single(seed, names=NAMES, results=None, **settings):
    return [
        fake.stage(
            f'stl_{name}',
            'stl',
            [name],
            {k: (results or {}).get(k, v) for k, v in fake.SINGLE[name].items()},
            seed=seed,
            settings={**SETTINGS, 'seed': seed, 'tasks': [name], **settings},
        )
        for name in names
    ]


def network(name, seed, depth=0.45, changes=None, **settings):
    return fake.stage(
        name,
        name,
        NAMES,
        {**fake.MULTI, 'depth_abs': depth},
        seed=seed,
        **{'settings': {**SETTINGS, 'seed': seed, 'tasks': NAMES, **settings}, **(changes or {})},
    )


def read(folder, *runs):
    """Every list of stages is a workdir."""
    return compared([fake.write(folder / f'run{i}', stages) for i, stages in enumerate(runs)], TASKS)


def row(comparison, title):
    (found,) = [row for row in comparison.rows if row.title == title]
    return found


def several(folder, seeds, **rows):
    """A workdir per seed, with a network for every depth error (a function of the seed) in `rows`."""
    return read(folder, *([*single(s), *(network(name, s, depth(s)) for name, depth in rows.items())] for s in seeds))


def test_rows_are_told_apart_by_their_settings(tmp_path):
    """And runs of equal settings are one row, wherever they are."""
    last = {'method_settings': {'points': ['last'], 'weights': {'depth': 1.0}}}
    both = {'method_settings': {'points': ['mid', 'last'], 'weights': {'depth': 1.0}}}
    found = read(
        tmp_path,
        [*single(0), network('kd_mtl', 0, **last), network('uniform', 0)],
        [*single(1), network('kd_mtl', 1, 0.55, **last)],
        [network('kd_mtl', 0, **both)],
    )
    assert [one.title for one in found.rows] == [
        'single-task',
        'kd_mtl, points last',
        'kd_mtl, points mid+last',
        'uniform',
    ]
    assert row(found, 'kd_mtl, points last').numbers['depth_abs'] == {0: 0.45, 1: 0.55}
    assert row(found, 'kd_mtl, points mid+last').seeds == (0,)
    assert row(found, 'single-task').seeds == (0, 1)


def test_single_task_networks_of_other_settings_are_a_row_of_their_own(tmp_path):
    """Those of a row share their settings, but for what is a task's own."""
    found = read(
        tmp_path,
        single(0),
        single(1, ['depth']),
        single(0, ['depth', 'normals'], {'depth_abs': 0.4}, learning_rate=0.01),
    )
    assert [one.title for one in found.rows] == ['single-task, learning_rate 0.001', 'single-task, learning_rate 0.01']
    assert found.rows[0].numbers['depth_abs'] == {0: 0.5, 1: 0.5}
    assert found.rows[1].tasks == ('depth', 'normals')


def test_single_task_networks_of_other_tasks_need_the_same_settings_to_share_a_row(tmp_path):
    """Rows have their seeds in order, whatever the order of the workdirs."""
    found = read(tmp_path, single(1, ['depth']), single(0, ['depth']), single(0, ['normals'], learning_rate=0.01))
    assert [(one.title, one.tasks, one.seeds) for one in found.rows] == [
        ('single-task, learning_rate 0.001', ('depth',), (0, 1)),
        ('single-task, learning_rate 0.01', ('normals',), (0,)),
    ]


def test_given_teachers_are_one_row(tmp_path):
    given = [single(0, [name], method_settings={'teacher': f'digest of {name}'})[0] for name in NAMES]
    other = single(0, ['depth'], {'depth_abs': 0.4}, method_settings={'teacher': 'another'})
    assert [one.title for one in read(tmp_path / 'a', given).rows] == ['single-task']
    found = read(tmp_path / 'b', given, other)
    assert found.rows[1].title == 'single-task, depth.teacher another'
    assert 'depth.teacher digest of depth' in found.rows[0].title


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        ([{'a': 1}, {'a': 1.0}], ['', '']),
        ([{'a': 1}, {}, {'a': None}], ['a 1', '', 'a None']),
        (
            [{'method_settings.weights.depth': 3.0}, {'method_settings.weights.depth': 0.5}],
            ['weights.depth 3', 'weights.depth 0.5'],
        ),
        ([{'x': [1, [2.0, 'b']]}, {'x': []}], ['x 1+2+b', 'x ']),
        ([{'x': 0.123456789}, {'x': 0.1234567}], ['x 0.123456789', 'x 0.1234567']),
        # Both are called `b` without where they stand.
        (
            [{'a_settings.b': 1, 'c_settings.b': 1}, {'a_settings.b': 2, 'c_settings.b': 2}],
            ['a_settings.b 1, c_settings.b 1', 'a_settings.b 2, c_settings.b 2'],
        ),
        # Settings of another optimiser say nothing more; those of the same one do.
        (
            [
                {'optimizer': 'adam', 'optimizer_settings.b1': 0.9},
                {'optimizer': 'sgd', 'optimizer_settings.momentum': 0.9},
            ],
            ['optimizer adam', 'optimizer sgd'],
        ),
        (
            [
                {'optimizer': 'adam', 'optimizer_settings.b1': 0.9},
                {'optimizer': 'adam', 'optimizer_settings.b1': 0.8},
                {'optimizer': 'sgd'},
            ],
            ['optimizer adam, b1 0.9', 'optimizer adam, b1 0.8', 'optimizer sgd'],
        ),
        (
            [{'data.dataset': 'rooms', 'data.height': 1}, {'data.dataset': 'nyuv2', 'data.height': 2}],
            ['data.dataset rooms', 'data.dataset nyuv2'],
        ),
        (
            [{'data.height': 1, 'data.made.n': 1}, {'data.height': 2, 'data.made.n': 2}],
            ['data.height 1', 'data.height 2'],
        ),
        (
            [{'data.height': 1, 'data.made.n': 1}, {'data.height': 1, 'data.made.n': 2}],
            ['data.made.n 1', 'data.made.n 2'],
        ),
        (
            [{'tasks': ['a', 'b'], 'task_weights.b': 1.0, 'clip_norm': 1.0}, {'tasks': ['a']}],
            ['tasks a+b, clip_norm 1', 'tasks a'],
        ),
    ],
)
def test_what_tells_settings_apart(settings, said):
    assert labels(settings) == said


def test_a_stage_that_several_workdirs_link_to_counts_once(tmp_path):
    """Its equal copy does not: nobody knows whether it was trained again."""
    first = fake.write(tmp_path / 'a', [*single(0), network('kd_mtl', 0)])
    second = fake.write(tmp_path / 'b', [network('uniform', 0)])
    for name in NAMES:
        (second / 'stages' / f'stl_{name}').symlink_to(first / 'stages' / f'stl_{name}')
    found = compared([first, second], TASKS)
    assert [(one.title, one.seeds) for one in found.rows] == [
        ('single-task', (0,)),
        ('kd_mtl', (0,)),
        ('uniform', (0,)),
    ]
    assert row(found, 'uniform').numbers[DELTA] == row(found, 'kd_mtl').numbers[DELTA]
    with pytest.raises(UserError, match=r'a and .*c both have seed 0 of kd_mtl with equal settings; leave one out'):
        compared([first, fake.write(tmp_path / 'c', [network('kd_mtl', 0)])], TASKS)


def test_delta_is_relative_to_single_task_networks_in_any_workdir(tmp_path):
    """Of the same seed."""
    together = read(tmp_path / 'a', [*single(0), network('kd_mtl', 0)])
    apart = read(tmp_path / 'b', [network('kd_mtl', 0)], single(0), single(1), [network('kd_mtl', 2)])
    assert row(apart, 'kd_mtl').numbers[DELTA] == row(together, 'kd_mtl').numbers[DELTA] != {}


def test_delta_is_not_relative_to_given_teachers_of_another_seed(tmp_path):
    """Of these, no conditions but the data are known."""
    given = {'selection': {'rule': 'given', 'split': 'test', 'note': 'given'}}
    found = read(tmp_path, [network('kd_mtl', 0)], [{**stage, **given} for stage in single(1)])
    assert row(found, 'kd_mtl').numbers[DELTA] == {}


@pytest.mark.parametrize('change', [{'widths': [8, 8]}, {'backbone_settings': {'attention': True}}])
def test_delta_is_not_relative_to_another_backbone(tmp_path, change):
    alike = {'backbone_settings': {'attention': None}}
    found = read(tmp_path, [*single(0, **{**alike, **change}), network('kd_mtl', 0, **alike)])
    assert row(found, 'kd_mtl').numbers[DELTA] == {}


def test_of_several_bases_the_one_of_the_same_settings_is_taken(tmp_path):
    other = single(0, learning_rate=0.1)
    for stage in other:
        stage['results'] = {name: 2 * value for name, value in stage['results'].items()}
    alone = read(tmp_path / 'a', [*single(0), network('kd_mtl', 0)])
    both = read(tmp_path / 'b', [network('kd_mtl', 0), *other], single(0))
    assert row(both, 'kd_mtl').numbers[DELTA] == row(alone, 'kd_mtl').numbers[DELTA]
    # None is nearer than the other: the same workdir decides, or nothing does.
    near = read(tmp_path / 'c', other, [network('kd_mtl', 0, learning_rate=0.01), *single(0)])
    assert row(near, 'kd_mtl').numbers[DELTA] == row(alone, 'kd_mtl').numbers[DELTA]
    unknown = read(tmp_path / 'd', [network('kd_mtl', 0, learning_rate=0.01)], other, single(0))
    assert row(unknown, 'kd_mtl').numbers[DELTA] == {}
    assert 'run1 and ' in unknown.notes[0]
    assert 'have different single-task networks of segmentation that fit; leave one out' in unknown.notes[0]


def test_a_number_that_is_missing_is_said(tmp_path):
    found = read(tmp_path, [*single(0), network('kd_mtl', 0, float('nan'))], [*single(1), network('kd_mtl', 1)])
    kd_mtl = row(found, 'kd_mtl')
    assert (list(kd_mtl.numbers['depth_abs']), list(kd_mtl.numbers[DELTA])) == ([1], [1])
    assert found.notes == [
        'No Δm for kd_mtl, seed 0: Δm needs `depth_abs`, which is NaN in the results: the split has no label for it.'
    ]


def test_differences_to_a_baseline_are_paired_by_seed(tmp_path):
    """Seven seeds. One is better in all of them (p = 2 / 2^7), one is as good; Holm's correction is for these two."""
    noise = [0.01, -0.02, 0.015, 0.0, 0.03, -0.01, 0.02]
    found = several(
        tmp_path,
        range(7),
        uniform=lambda s: 0.5 + noise[s],
        kd_mtl=lambda s: 0.4 + noise[s] + 0.001 * s,
        bam=lambda s: 0.5 + noise[s] + (-1) ** s * 0.01,
    )
    made = against(found, 'uniform').contrasts
    better, equal = made['kd_mtl'], made['bam']
    assert better['depth_abs'].paired.mean == pytest.approx(-0.097)
    assert better['depth_abs'].paired.low < -0.097 < better['depth_abs'].paired.high < -0.09
    # One of three tasks, two metrics in it: -0.1 m of 0.5 m are 20 / 6 percent.
    assert better[DELTA].paired.mean == pytest.approx(0.097 / 0.5 * 100 / 6)
    assert better[DELTA].paired == paired(row(found, 'kd_mtl').numbers[DELTA], row(found, 'uniform').numbers[DELTA])
    assert better[DELTA].paired.p == pytest.approx(2 / 2**7)
    assert better[DELTA].p_holm == pytest.approx(4 / 2**7)
    assert equal[DELTA].p_holm == pytest.approx(max(4 / 2**7, equal[DELTA].paired.p))
    assert 'uniform' not in made
    assert DELTA not in made['single-task']
    assert made['single-task']['depth_abs'].paired.count == 7


def test_rows_that_cannot_be_compared_with_the_baseline_are_named(tmp_path):
    runs = [[*single(s), network('uniform', s), network('kd_mtl', s, changes={'epochs': 3})] for s in (0, 1)]
    less = {k: v for name in NAMES[1:] for k, v in fake.SINGLE[name].items()}
    two = fake.stage('bam', 'bam', NAMES[1:], less, settings={**SETTINGS, 'tasks': NAMES[1:]})
    found = read(tmp_path, *runs, [network('mgda', 5), two])
    made = against(found, 'uniform')
    assert set(made.contrasts) == {'single-task', 'bam'}
    assert made.notes == [
        'Not compared with uniform: kd_mtl (epochs 3 and 12).',
        'Not compared with uniform: mgda (no seed in common).',
    ]
    # Δm of other tasks is another number; a metric is the same one.
    assert row(found, 'bam').numbers[DELTA] != {}
    metrics = [metric for task in TASKS[1:] for metric in task.metrics.each if metric in fake.MULTI]
    assert list(made.contrasts['bam']) == metrics
    assert made.contrasts['bam']['depth_abs'].p_holm is None


def test_baselines_that_cannot_be(tmp_path):
    found = read(tmp_path, [network('kd_mtl', 0)], [network('uniform', 1)])
    with pytest.raises(
        UserError, match=r"`baseline` is 'unifrom'; the rows are 'kd_mtl'; 'uniform'. Did you mean 'uniform'"
    ):
        against(found, 'unifrom')
    with pytest.raises(UserError, match="No row has a seed in common with the baseline 'uniform'"):
        against(found, 'uniform')


def test_ranks_and_what_they_tell_apart(tmp_path):
    """Eight seeds: `a` is always the best, `d` the last, `b` and `c` take turns, and are equal in the first."""
    found = several(
        tmp_path,
        range(8),
        d=lambda s: 0.9,
        b=lambda s: 0.5 + 0.01 * (s % 2),
        a=lambda s: 0.3,
        c=lambda s: 0.51 - 0.01 * (s % 2) if s else 0.5,
    )
    made = ranking(found)
    assert {title: one.mean for title, one in made.rows.items()} == {'d': 4, 'b': 20.5 / 8, 'a': 1, 'c': 19.5 / 8}
    assert {title: one.groups for title, one in made.rows.items()} == {'d': 'c', 'b': 'b', 'a': 'a', 'c': 'b'}
    assert made.rows['b'].spread == pytest.approx(np.std([2.5, 3, 2, 3, 2, 3, 2, 3], ddof=1))
    # Six pairs of the smallest p there is, 2 / 2^8, are just below 0.05; of seven seeds they are not.
    assert made.notes[0].endswith('With 8 seeds p cannot be below 0.0078.')
    fewer = ranking(several(tmp_path / 'b', range(7), **{c: lambda s, c=c: 0.1 * ord(c) for c in 'abcd'}))
    assert {one.groups for one in fewer.rows.values()} == {'a'}
    assert fewer.notes[0].endswith('With 7 seeds p cannot be below 0.016, so that no two rows can be told apart here.')


def test_ranks_are_over_the_seeds_that_all_rows_have(tmp_path):
    runs = [[*single(s), network('kd_mtl', s), network('uniform', s, 0.4)] for s in range(3)]
    runs[2].pop()
    made = ranking(read(tmp_path, *runs, [network('mgda', 5)]))
    assert made.seeds == [0, 1]
    assert {title: one.mean for title, one in made.rows.items()} == {'kd_mtl': 2.0, 'uniform': 1.0}
    assert made.notes[1] == 'Without Δm, not ranked: mgda.'


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'epochs': 3}, r'kd_mtl and uniform cannot be ranked together \(epochs 3 and 12\); leave one out'),
        ({'dataset': 'nyuv2'}, r'cannot be ranked together \(data.dataset nyuv2 and rooms\)'),
        ({'tasks': NAMES[1:]}, r'\(tasks segmentation\+depth\+normals and depth\+normals\)'),
    ],
)
def test_rows_that_cannot_be_ranked(tmp_path, change, said):
    """Each has a Δm, against networks of its own conditions."""
    own = [{**stage, **change} for stage in single(0, learning_rate=0.2)] if 'tasks' not in change else []
    runs = [[*single(0), network('kd_mtl', 0)], [*own, network('uniform', 0, changes=change)]]
    found = read(tmp_path, *runs)
    assert len([one for one in found.rows if one.numbers[DELTA]]) == 2
    with pytest.raises(UserError, match=said):
        ranking(found)


def test_ranks_need_two_seeds(tmp_path):
    runs = [[*single(s), network('kd_mtl', s)] for s in (0, 1)]
    with pytest.raises(UserError, match='two seeds with a Δm of every row, and there are 1; train more'):
        ranking(read(tmp_path, *runs, [network('uniform', 1)]))


def test_one_row_is_no_ranking(tmp_path):
    with pytest.raises(UserError, match='`rank` needs two rows with a Δm, and there are 1'):
        ranking(read(tmp_path, [*single(0), network('kd_mtl', 0), network('uniform', 1)]))


def test_letters_by_hand():
    """First and last are told apart, the middle from neither."""
    assert letters(['x', 'y', 'z'], [('x', 'z')]) == {'x': 'a', 'y': 'ab', 'z': 'b'}
    assert letters(['x', 'y'], []) == {'x': 'a', 'y': 'a'}
    assert letters(['x', 'y', 'z'], [('x', 'y'), ('x', 'z'), ('y', 'z')]) == {'x': 'a', 'y': 'b', 'z': 'c'}
    assert letters(['x', 'y', 'z'], [('z', 'x'), ('y', 'x')]) == {'x': 'a', 'y': 'b', 'z': 'b'}
    rows = [str(i) for i in range(28)]
    every = letters(rows, [(a, b) for i, a in enumerate(rows) for b in rows[:i]])
    assert (every['25'], every['26']) == ('z', 'a1')


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """Three seeds, of which one row has two; a row of other data. One row has the IoU of a class."""
    runs = [[*single(s), network('kd_mtl', s, 0.4 + s / 30), network('uniform', s)] for s in range(3)]
    for s, stages in enumerate(runs):
        stages[-2]['results']['iou_4'] = 20.0 + s
    del runs[2][-1]
    runs[0].append(network('mgda', 0, changes={'dataset': 'a_b & c'}))
    found = read(tmp_path_factory.mktemp('page'), *runs)
    return Page(found, against(found, 'uniform'), ranking(found))


def test_markdown(page):
    """Differences and ranks are columns; what cannot be compared has none, and is explained."""
    text = FORMATS['markdown'](page)
    heads, _, *lines = [
        [c.strip() for c in line.strip('|').split('|')] for line in text.splitlines() if line[:1] == '|'
    ]
    table = {line[0]: dict(zip(heads, line, strict=True)) for line in lines}
    assert list(table) == ['single-task', 'kd_mtl', 'mgda [1]', 'uniform']
    assert 'IoU, ' not in text
    kd_mtl = table['kd_mtl']
    assert kd_mtl['depth error (m) ↓'] == '0.4333 ± 0.0333'
    assert (kd_mtl['mean rank'], kd_mtl['group']) == ('1.00 ± 0.00', 'a')
    change = np.mean([0.05, 0.05 - 1 / 30]) / 0.5 * 100 / 6
    assert kd_mtl['Δm - uniform [95 %]'] == f'{change:+.2f}'  # of two pairs there is no interval
    assert (kd_mtl['p'], kd_mtl['p (Holm)']) == ('0.5', '0.5')
    assert list(table['mgda [1]'].values())[-6:] == ['1', *['–'] * 5]
    assert '\n\n[1] Not to be compared with the rows above: data.dataset a_b & c and rooms.\n\n' in text
    assert 'Not compared with uniform: mgda (data.dataset a_b & c and rooms).' in text
    assert 'With 2 seeds p cannot be below 0.5' in text


def test_latex(page):
    text = FORMATS['latex'](page)
    first, *lines = text.splitlines()
    heads = next(line for line in lines if line.startswith('network'))
    assert first == f'\\begin{{tabular}}{{l{"r" * heads.count("&")}}}'
    assert lines[0] == '\\toprule'
    assert text.count('\\midrule') == text.count('\\bottomrule') == text.count('\\end{tabular}') == 1
    assert '0.4333 $\\pm$ 0.0333' in text
    assert 'kd\\_mtl & ' in text
    assert 'mIoU (\\%) $\\uparrow$' in text
    assert 'data.dataset a\\_b \\& c and rooms' in text
    assert set(text) <= set(map(chr, range(128)))
    rows = [line for line in lines if line.endswith('\\\\')]
    assert {line.replace('\\&', '').count('&') for line in rows} == {heads.count('&')}


def test_latex_is_escaped():
    assert escaped('a\\b_{c}^~$#<') == (r'a\textbackslash{}b\_\{c\}\textasciicircum{}\textasciitilde{}\$\#\textless{}')


def test_json_has_every_digit(page):
    found = json.loads(FORMATS['json'](page))
    assert (found['protocol'], found['baseline']) == ('accumulated', 'uniform')
    rows = {row['row']: row for row in found['rows']}
    depth = rows['kd_mtl']['numbers']['depth_abs']
    values = [0.4 + s / 30 for s in range(3)]
    assert depth['by_seed'] == dict(zip('012', values, strict=True))
    assert (depth['mean'], depth['n']) == (pytest.approx(np.mean(values), abs=1e-15), 3)
    assert depth['std'] == pytest.approx(np.std(values, ddof=1), abs=1e-15)
    assert depth['difference']['count'] == 2
    assert depth['difference']['p_holm'] == 1.0  # of two rows: 2 · 2 / 2^2
    assert rows['kd_mtl']['numbers']['iou_4'] | {'std': 0} == {
        'title': 'IoU, 4 (%)',
        'mean': 21.0,
        'std': 0,
        'n': 3,
        'by_seed': {'0': 20.0, '1': 21.0, '2': 22.0},
    }
    assert 'iou_4' not in rows['uniform']['numbers']
    assert rows['kd_mtl']['rank'] == {'mean': 1.0, 'spread': 0.0, 'groups': 'a'}
    assert 'rank' not in rows['single-task']
    assert rows['kd_mtl']['settings']['widths'] == [4, 8]
    assert rows['mgda']['remark'] == 'Not to be compared with the rows above: data.dataset a_b & c and rooms.'
    assert DELTA not in rows['mgda']['numbers']
    assert found['notes'] == page.notes


def test_csv_is_the_same(page):
    lines = {(line['row'], line['metric']): line for line in csv.DictReader(io.StringIO(FORMATS['csv'](page)))}
    for row in json.loads(FORMATS['json'](page))['rows']:
        for name, numbers in row['numbers'].items():
            line = lines.pop((row['row'], name))
            assert (float(line['mean']), line['n']) == (numbers['mean'], str(numbers['n']))
            assert line['std'] == ('' if numbers['std'] is None else repr(numbers['std']))
            assert {s: float(line[f'seed {s}']) for s in '012' if line[f'seed {s}']} == numbers['by_seed']
            assert line['title'] == numbers['title']
            assert line['remark'] == row['remark']
            assert line['difference p_holm'] == str(numbers.get('difference', {}).get('p_holm') or '')
            assert line['rank groups'] == (row['rank']['groups'] if 'rank' in row and name == DELTA else '')
    assert not lines


def command(*given):
    # `export`, which other tests import, has a flag of the same name: define these again.
    importlib.reload(compare)
    with flagsaver.flagsaver():
        flags.FLAGS(['compare', *given])
        compare.main()


def test_the_command_writes_a_file_or_prints(tmp_path, capsys):
    """The folder of a run of several seeds stands for these; nothing half written is left."""
    for seed in (0, 1):
        folder = fake.write(tmp_path / 'run' / f'seed{seed}', single(seed, ['depth']))
        data = {'dataset': 'rooms', 'classes': 13, 'depth_maximum': 8.0}
        spec = {**small.SPEC, 'backbone': 'segnet', 'tasks': ['depth'], 'data': data}
        save_model(folder / 'stages/stl_depth/model', spec, {'params': {'x': np.zeros(1, np.float32)}})
    given = f'--workdirs={tmp_path / "run"}'
    command(given)
    assert '| single-task |   0.5000 ± 0.0000 |' in capsys.readouterr().out
    out = tmp_path / 'table.json'
    command(given, '--format=json', f'--out={out}')
    assert capsys.readouterr().out == ''
    assert json.loads(out.read_text())['rows'][0]['seeds'] == [0, 1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ['run', 'table.json']
    for bad in (tmp_path, tmp_path / 'absent/table.json'):
        with pytest.raises(UserError, match=r'`out` is .* can be no file'):
            command('--workdirs=nothing is read', f'--out={bad}')
    for asked, said in (('--baseline=x', '`baseline` is'), ('--rank', '`rank` needs')):
        with pytest.raises(UserError, match=said):
            command(given, asked)
    with pytest.raises(UserError, match=r"`format` is 'md'; choose one of markdown, csv, latex, json"):
        compare.compare([str(tmp_path / 'run')], form='md')
    with pytest.raises(UserError, match='matches no folder'):
        command(f'--workdirs={tmp_path / "absent"}')


def test_results_alone_are_enough(tmp_path, monkeypatch):
    """Of a run, small files can be kept: the table is the same without models and checkpoints."""
    data = {'dataset': 'rooms', 'classes': 5, 'depth_maximum': 8.0}
    stages = [*single(0, data=data), network('uniform', 0, data=data)]
    fake.write(tmp_path / 'kept', stages)
    text = compare.compare([str(tmp_path / 'kept')])
    assert 'mIoU' in text
    assert '| uniform ' in text
    elsewhere = [network('uniform', 0, data={'dataset': 'some.module'})]
    fake.write(tmp_path / 'other', elsewhere)
    with pytest.raises(UserError, match=r"names the Python module 'some\.module'"):
        compare.compare([str(tmp_path / 'other')])
