"""The report: what it says, and that it says it from files alone."""

import json

import pytest

from mtkd_jax import records, tasks
from mtkd_jax.reporting.curves import draw_workdir
from mtkd_jax.reporting.panels import prediction_panel
from mtkd_jax.reporting.report import write_report
from mtkd_jax.reporting.seeds import seeds_table
from mtkd_jax.reporting.summary import summary
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.types import UserError
from tests.reporting import fake


def report(workdir, stages, note='', tasks=None):
    return write_report(fake.write(workdir, stages), tasks or fake.TASKS, note).read_text()


def of_paper(**changes):
    stages = fake.stages(dataset='nyuv2', **changes)
    for stage in stages:
        method = {'kd_mtl': 'kdmtl'}.get(stage['method'], stage['method'])
        stage['papers'] = [{'table': 'kdmtl_table2_nyuv2', 'backbone': 'segnet', 'method': method}]
    return stages


def test_fragments(tmp_path):
    text = report(tmp_path, fake.stages())
    for fragment in (
        '- **stl_depth**: segnet, depth; data `rooms`, seed 0; 12 epochs, 720 steps in 1:05 min on cpu ×1.\n',
        'One seed (0) was run.',
        'no difference between two rows is shown to be significant',
        '| single-task |      20.00 |                50.00 |            0.5000 |             **0.2500** |',
        '| kd_mtl      |  **17.60** |            **49.98** |        **0.9000** |                 0.5200 |',
        '| kd_mtl  | accumulated |      +6.00 % | +3.00 % | -0.20 % |     **+2.93 %** | +1.89 % |\n',
        '| kd_mtl  |      legacy |',
        '1,234,567 |                    adaptors 45,000 |              50.0 |    160.0 |    1.50 GiB | 1:05 min |',
        '`last`: Metrics of the last epoch; nothing was chosen on it.',
        'kd_mtl, where it differs from stl_segmentation:\n\n```\nmethod                            = "kd_mtl"\n',
        'learning_rate = 0.002\n',
        'No curves were drawn.',
        "No paper's row stands beside these results. No paper reports on this.",
    ):
        assert fragment in text, fragment
    # Differences only: what is the same as in the first stage is not said twice.
    assert text.count('learning_rate') == 1


FURTHER = {'iou_0': 50.0, 'iou_3': float('nan'), 'depth_rmse': 0.75, 'depth_delta1': 61.0}


def test_further_metrics_have_tables_of_their_own(tmp_path):
    """A column per network that has any; an absent class is a dash. Δm and the main tables are as without them."""
    before = report(tmp_path / 'before' / 'run', fake.stages())
    assert 'IoU, ' not in before
    stages = fake.stages()
    stages[0]['results'] |= {'iou_0': 40.0, 'iou_3': 12.5}
    stages[3]['results'] |= FURTHER
    text = report(tmp_path / 'after' / 'run', stages)
    above, _, added = text.partition('## IoU per class')
    ious, _, depths = added.partition('## Constant predictors')[0].partition('## Further numbers of depth')
    lines, of_depth = (
        [[cell.strip() for cell in line.strip('|').split('|')] for line in part.splitlines() if line[:1] == '|']
        for part in (ious, depths)
    )
    assert lines[0] == ['', 'single-task', 'kd_mtl']
    assert len(lines) == 2 + 13
    assert lines[2] == ['IoU, 0 (%) ↑', '40.00', '**50.00**']
    assert lines[5] == ['IoU, 3 (%) ↑', '12.50', '–']
    assert of_depth[2] == ['depth, RMSE (m) ↓', '0.7500']
    assert of_depth[4] == ['depth, δ < 1.25 (%) ↑', '61.00']
    assert above == before.partition('## Constant predictors')[0]


def test_the_verdict_comes_first(tmp_path):
    """Δm of each network, and where it is better or worse; what cannot be compared is said."""
    text = report(tmp_path, fake.stages())
    assert text.index('## Verdict') < text.index('## What ran')
    assert (
        '- **kd_mtl**: Δm +2.93 % per task against single-task networks, better in segmentation, depth; worse in '
        'normals.\n\nOne run of each: nothing is shown to be significant.\n'
    ) in text
    alone = report(tmp_path / 'alone', fake.stages()[-1:])
    assert '- **kd_mtl**: there are no single-task networks to compare it with.' in alone
    assert 'Only single-task networks ran.' in report(tmp_path / 'single', fake.stages()[:3])


def test_the_machine_is_named_once_where_it_is_the_same(tmp_path):
    machine = {
        'processor': 'EPYC',
        'cores': 2,
        'python': '3.11.7',
        'versions': {'jax': '0.10.2'},
        'commit': 'abc+changes',
    }
    stages = [{**stage, 'machine': machine} for stage in fake.stages()]
    told = 'EPYC, 2 cores, Python 3.11.7, jax 0.10.2 at commit abc+changes. Another machine'
    assert report(tmp_path / 'same', stages).count(told) == 1
    stages[0]['machine'] = {**machine, 'cores': 1}
    assert 'stl_segmentation: EPYC, 1 cores' in report(tmp_path / 'other', stages)


def test_a_terminal_sees_a_line_for_every_metric(tmp_path):
    text = summary([fake.write(tmp_path, fake.stages())], list(fake.TASKS.values()))
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
    assert lines[0] == ['', 'single-task', 'kd_mtl']
    assert ['mIoU (%) ↑', '20.00', '22.00'] in lines
    assert 'kd_mtl: Δm +2.93 % per task' in text
    assert '**' not in text
    seeds = [fake.write(tmp_path / f'seed{seed}', fake.stages(seed=seed)) for seed in (0, 1)]
    assert '22.00 ± 0.00' in summary(seeds, list(fake.TASKS.values()))


def test_losses_end_beside_the_papers(tmp_path):
    """The last training record counts; without a network that distils there is no such section."""
    workdir = fake.write(tmp_path, fake.stages())
    with MetricWriter(workdir / 'stages' / 'kd_mtl') as writer:
        for step, loss in ((1, 3.0), (2, 2.0)):
            writer.write(
                {'step': step, 'epoch': step, 'split': 'train', 'loss/depth': loss, 'distillation/depth': 0.25}
            )
        writer.write({'step': 2, 'epoch': 2, 'split': 'test', 'loss/depth': 9.0})
    text = write_report(workdir, fake.TASKS).read_text()
    row = ['kd_mtl', 'depth', '2.000', '0.127', '0.250', '0.381']
    assert row in [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
    assert 'Where the losses end' not in report(tmp_path / 'single', fake.stages()[:3])


def test_constant_predictors(tmp_path):
    stages = fake.stages()
    stages[1]['results'] = {**fake.SINGLE['depth'], 'depth_rel': 0.75}
    lines = report(tmp_path, stages).splitlines()
    (depth,) = [line for line in lines if line.startswith('| depth') and 'single-task' in line]
    assert [cell.strip() for cell in depth.strip('|').split('|')] == [
        'depth',
        'median depth of the training set',
        'relative depth error ↓',
        '0.5000',
        'single-task',
        '0.7500',
        '1.50',
        '**not better**',
    ]
    (segmentation,) = [line for line in lines if line.startswith('| segmentation') and 'kd_mtl' in line]
    assert segmentation.split()[-6:] == ['51.00', '|', '2.04', '|', 'better', '|']
    stages[1]['results']['depth_rel'] = float('nan')
    (depth,) = [s for s in report(tmp_path, stages).splitlines() if s.startswith('| depth') and 'single-task' in s]
    assert [cell.strip() for cell in depth.strip('|').split('|')][-2:] == ['–', '–']


def test_the_papers_row_is_beside_our_legacy_numbers(tmp_path):
    text = report(tmp_path, of_paper())
    section = text.split("## The paper's numbers")[1].split('## ')[0]
    assert 'mIoU; pixel accuracy: **per-image legacy**, the mean over images of each image by itself' in section
    assert 'normals, median; within 11.25°; within 22.5°; within 30°: **per-batch legacy**, the mean over b' in section
    assert '| kd_mtl, ours       |      17.60 |                49.98 |            0.9000 |' in section
    assert '| kd_mtl, paper      |      18.75 |                58.02 |            0.5780 |' in section
    assert '| single-task, paper |      17.32 |                55.70 |            0.6577 |' in section
    assert '22.00' not in section
    assert 'its own single-task row: +6.45 % per task, +4.53 % flat.' in section


def test_a_row_that_the_paper_does_not_have(tmp_path):
    stages = of_paper()
    stages[-1]['papers'][0]['method'] = 'pcgrad'
    text = report(tmp_path, stages)
    assert 'The paper has no row for `pcgrad` on `segnet` in `kdmtl_table2_nyuv2`.' in text


def test_the_note_says_why_there_is_no_row(tmp_path):
    assert 'these results. Not the protocol: `epochs` 2.' in report(
        tmp_path, fake.stages(), 'Not the protocol: `epochs` 2.'
    )


def test_without_single_task_results(tmp_path):
    text = report(tmp_path, [fake.stages()[0], fake.stages()[3]])
    assert 'No Δm for kd_mtl: this workdir has no single-task results for depth, normals.' in text
    assert '`method=stl`' in text
    none = report(tmp_path / 'other', fake.stages()[3:])
    assert 'no single-task results for segmentation, depth, normals.' in none


def test_only_single_task_stages(tmp_path):
    assert 'nothing to compare with them yet' in report(tmp_path, fake.stages()[:3])


def test_delta_that_cannot_be_computed_says_so(tmp_path):
    stages = fake.stages()
    del stages[3]['results']['miou_per_image_legacy']
    text = report(tmp_path, stages)
    assert 'No Δm for kd_mtl (legacy protocol): Δm needs `miou_per_image_legacy`' in text
    assert '| kd_mtl  | accumulated |' in text


def test_other_budgets_seeds_and_data_are_not_compared(tmp_path):
    """They have no Δm, a mark, and no part in what is bold; the numbers of the others stay."""
    stages = fake.stages()
    before = report(tmp_path, stages)
    better = {**fake.MULTI, 'miou': 90.0}
    stages.append(fake.stage('uniform', 'mtl', list(fake.TASKS), better, epochs=3, seed=1))
    text = report(tmp_path, stages)
    differ = 'epochs 3 and 12; seed 1 and 0'
    assert f'No Δm for uniform: it and the single-task networks differ ({differ}).' in text
    assert f'[1] Not to be compared with the rows above: {differ}.' in text
    assert '| uniform [1] |      90.00 |' in text
    (delta,) = [line for line in before.splitlines() if line.startswith('| kd_mtl  | accumulated')]
    assert delta in text
    kept = [line for line in before.splitlines() if line.startswith('| kd_mtl ') and '**22.00**' in line]
    assert kept[0].split()[3] in text


def test_single_task_networks_of_other_conditions_are_no_base(tmp_path):
    stages = fake.stages()
    stages[1] |= {'seed': 1}
    assert 'No Δm for kd_mtl: it and the single-task networks differ (seed 0 and 1).' in report(tmp_path, stages)


def test_what_a_row_does_not_say_is_no_difference(tmp_path):
    """Given teachers were not trained here, and results of format 1 say less; but data that both describe count."""
    stages = fake.stages()
    stages[1]['epochs'], stages[1]['selection'] = None, {'rule': 'given', 'split': 'test', 'note': 'given'}
    assert '| kd_mtl  | accumulated |' in report(tmp_path / 'a', stages)
    augmented = fake.stages(settings={'data': {'height': 32}})
    augmented[-1]['settings'] = {'data': {'height': 32, 'augment': 'scale_crop_flip'}}
    assert 'differ (data.augment scale_crop_flip and not set)' in report(tmp_path / 'b', augmented)


def test_no_row_loses_tasks_of_its_change(tmp_path):
    """A later command with fewer tasks leaves earlier rows without Δm, not with another one."""
    fewer = {name: fake.TASKS[name] for name in ('depth', 'normals')}
    text = report(tmp_path, fake.stages(), tasks=fewer)
    assert 'No Δm for kd_mtl: the command that wrote this report had no segmentation.' in text


def test_one_protocol_where_the_papers_is_ours(tmp_path):
    stages = [fake.stage('uniform', 'uniform', ['edges'], {'loss/edges': 1.0, 'edges_abs': 0.25})]
    text = report(tmp_path, stages, tasks={'edges': tasks.edges()})
    assert '0.2500' in text
    assert 'legacy' not in text


def test_only_the_protocols_of_the_tasks_are_explained(tmp_path):
    names = ['depth', 'normals']
    stages = [*fake.stages()[1:3], fake.stage('uniform', 'uniform', names, fake.MULTI)]
    text = report(tmp_path, stages, tasks={name: fake.TASKS[name] for name in names})
    assert 'per-batch legacy' in text
    assert 'per-image' not in text
    assert 'mIoU' not in text


def test_results_of_before_the_papers_batches_have_dashes(tmp_path):
    stages = fake.stages(dataset='nyuv2')
    for stage in stages:
        stage['results'] = {k: v for k, v in stage['results'].items() if not k.endswith('per_batch_legacy')}
        stage['papers'] = [{'table': 'kdmtl_table2_nyuv2', 'backbone': 'segnet', 'method': 'kdmtl'}]
    section = report(tmp_path, stages).split("## The paper's numbers")[1].split('## ')[0]
    assert '| kd_mtl, ours       |      17.60 |                49.98 |                 – |' in section


def test_branches_have_rows_of_their_own(tmp_path):
    results = {f'{b}/{k}': v for b in ('teacher', 'student') for k, v in fake.MULTI.items()}
    stages = [*fake.stages()[:3], fake.stage('sd', 'sd_mtcnn', list(fake.TASKS), results)]
    text = report(tmp_path, stages)
    assert '| sd (teacher) |' in text
    assert '| sd (student) | accumulated |      +6.00 %' in text


def test_given_teachers_and_unfinished_stages(tmp_path):
    stages = fake.stages()
    note = 'Given teacher /models/depth; not trained here.'
    stages[1] |= {'epochs': None, 'steps': None, 'timing': {}, 'parameters': {'network': 5}}
    stages[1]['selection'] = {'rule': 'given', 'split': 'test', 'note': note}
    folder = tmp_path / 'stages' / 'uniform'
    folder.mkdir(parents=True)
    (folder / 'settings.json').write_text('{}')
    text = report(tmp_path, stages)
    assert '- **stl_depth**: segnet, depth; data `rooms`, seed 0; given, not trained here.' in text
    assert '- **uniform**: begun, not finished' in text
    assert f'- stl_depth: `given`: {note}' in text


def test_pictures_are_linked_where_they_are(tmp_path):
    fake.write(tmp_path, fake.stages())
    for stage in fake.stages():
        with MetricWriter(tmp_path / 'stages' / stage['stage'], 0) as writer:
            for record in fake.records(stage):
                writer.write(record)
    prediction_panel(**fake.examples(), path=tmp_path / 'figures' / 'kd_mtl.png', title='kd_mtl')
    draw_workdir(tmp_path, fake.TASKS.values())
    text = write_report(tmp_path, fake.TASKS).read_text()
    assert '![curves](figures/curves.png)' in text
    assert '![kd_mtl](figures/kd_mtl.png)' in text
    assert 'figures/stl_depth.png' not in text
    # From files alone: written again, it is the same.
    assert write_report(tmp_path, fake.TASKS).read_text() == text


def test_an_empty_workdir(tmp_path):
    with pytest.raises(UserError, match='has no finished stage'):
        write_report(tmp_path, fake.TASKS)


PARTLY = '{"stage": "x", "method": "x", "tasks": [], "results": {}, '


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'is not valid JSON'),
        ('{"stage": "x"}', 'lacks `method`'),
        (PARTLY + '"steps": 3}', 'has `steps`, but lacks `epochs`'),
        (PARTLY + '"selection": {"rule": "last"}}', 'lacks `selection.note`'),
        (PARTLY + '"branches": {"main": {"parameters": 1}}}', 'lacks `branches.main.operations`'),
    ],
)
def test_damaged_results_are_named(tmp_path, content, message):
    fake.write(tmp_path, fake.stages())
    (tmp_path / 'stages' / 'kd_mtl' / 'results.json').write_text(content)
    with pytest.raises(UserError, match=rf'kd_mtl/results.json {message}'):
        write_report(tmp_path, fake.TASKS)


def test_results_that_are_nan_are_dashes(tmp_path):
    stages = fake.stages()
    stages[3]['results'] = {**fake.MULTI, 'depth_abs': float('nan')}
    assert 'NaN' in json.dumps(stages[3])
    text = report(tmp_path, stages)
    assert '| kd_mtl      |  **22.00** |            **51.00** |                 – |' in text
    assert '`depth_abs`, which is NaN in the results' in text


def test_where_the_time_went(tmp_path):
    """Stages that say it, and the run; what nobody spent time on has no column."""
    stages = fake.stages()
    stages[0]['spent'] = {'compiling': 9.04, 'training': 60.0, 'rest': 1.0}
    stages[-1]['spent'] = {'compiling': 1234.0, 'training': 100.0, 'teachers': 7.0, 'rest': 0.5}
    records.write_spent(tmp_path, {'starting': 30.0, 'drawing': 6.2})
    text = report(tmp_path, stages)
    table = [line for line in text.split('Where the time went:')[1].splitlines() if line.startswith('|')]
    assert [[cell.strip() for cell in line.strip('|').split('|')] for line in (table[0], *table[2:])] == [
        ['seconds', 'asking teachers', 'compiling', 'training steps', 'the rest', 'together'],
        ['stl_segmentation', '–', '9.0', '60.0', '1.0', '70.0'],
        ['kd_mtl', '7.0', '1,234.0', '100.0', '0.5', '1,341.5'],
        ['outside of stages', '', '', '', '', '36.2'],
    ]
    assert 'Outside: before the first stage 30.0, drawing 6.2.' in text
    (tmp_path / 'spent.json').write_text('{"starting": "long"}')
    with pytest.raises(UserError, match="`starting` 'long', which is no number; remove it"):
        report(tmp_path, stages)


def test_results_that_do_not_say_where_the_time_went(tmp_path):
    assert 'Where the time went' not in report(tmp_path, fake.stages())


def test_tasks_with_one_answer_have_the_papers_average(tmp_path):
    """As the last column of table 1, which has none of the single-task networks; ours has, where both are there."""
    both = (tasks.classification('svhn', 10), tasks.classification('omniglot', 1623))
    named = {task.name: task for task in both}
    place = {'table': 'kdmtl_table1_svhn_omniglot', 'prefix': '', 'backbone': 'lenet'}
    stages = [fake.stage('stl_svhn', 'stl', ['svhn'], {'svhn_accuracy': 80.0}, papers=[{**place, 'method': 'stl'}])]
    ours = {'svhn_accuracy': 90.0, 'omniglot_accuracy': 71.0}
    stages.append(fake.stage('kd_mtl', 'kd_mtl', list(named), ours, papers=[{**place, 'method': 'kdmtl'}]))
    text = report(tmp_path, stages, tasks=named)
    section = text.split("## The paper's numbers")[1].split('## ')[0].splitlines()
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in section if line.startswith('|')]
    rows = {first: rest for first, *rest in lines}
    assert rows['network'][-1] == 'average of the tasks (%) ↑'
    assert rows['kd_mtl, ours'] == ['90.00', '71.00', '80.50']
    assert rows['kd_mtl, paper'] == ['88.05', '70.12', '79.09']
    assert rows['single-task, ours'] == ['80.00', '–', '–']
    assert 'average of the tasks (%) ↑' in text.split('## Results')[1].split('## ')[0]
    assert '80.50' in seeds_table([tmp_path], both)
    assert 'average' not in report(tmp_path / 'dense', fake.stages())
