"""The card of a model says what is recorded of it, and what is not recorded is left out."""

from mtkd_jax import tasks
from mtkd_jax.reporting import card
from tests.reporting import fake

SPEC = {
    'backbone': 'segnet',
    'widths': [4, 8],
    'network': {},
    'tasks': list(fake.TASKS),
    'compute_dtype': 'bfloat16',
    'data': {'dataset': 'rooms', 'height': 32, 'width': 64},
}


def written(results=None, averages=False, chosen=False, **spec):
    results = fake.stages()[-1] if results is None else results
    shown = [fake.TASKS[name] for name in results['tasks']]
    return card.trained(results, averages, spec={**SPEC, **spec}, tasks=shown, chosen=chosen)


def rows(text):
    """The table of metrics: {metric: cells}."""
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line[:1] == '|']
    return {row[0]: row[1:] for row in cells}


def test_what_is_recorded_is_said():
    settings = {**fake.stages()[-1]['settings'], 'optimizer': 'adam', 'batch_size': 8}
    settings['data'] = {
        'made': {'source': 'rendered', 'parts': {'train': 480}, 'examples': {'train': 480, 'test': 120}}
    }
    machine = {'processor': 'a processor', 'cores': 2, 'python': '3.11', 'versions': {'jax': '0.1'}, 'commit': 'abc'}
    branches = {'main': {'parameters': 1_234_567, 'operations': 2.5e9}}
    text = written(
        {**fake.stages()[-1], 'weighting': 'mgda', 'settings': settings, 'machine': machine, 'branches': branches}
    )
    for sentence in (
        '# kd_mtl\n',
        '- `segnet`, widths 4, 8; 1,234,567 parameters; computes in bfloat16.\n',
        '- Takes images of 32×64, red green blue',
        '- **depth**, every pixel, 1 channel: depth in m.\n',
        '- Method `kd_mtl`, weighting `mgda`, tasks segmentation, depth, normals, seed 0.\n',
        '- 12 epochs, 720 steps, batches of 8, adam, learning rate 0.002.\n',
        '- The weights are those after the last step.\n',
        '- On a processor, 2 cores, Python 3.11, jax 0.1 at commit abc.\n',
        'As it was prepared: source rendered, parts.train 480. Images: train 480, test 120.\n',
        'On the test split. Metrics of the last epoch; nothing was chosen on it.\n',
        'This is one network, of seed 0: how much another seed would change is not measured here.\n',
        "model = mt.load('FOLDER')  # this folder\n",
        'mtkd_jax.export --model=FOLDER --format=onnx --out=model.onnx\n',
        ' = ["mid", "last"]\n',
    ):
        assert sentence in text
    assert 'not better than' not in text
    assert 'Deployed as' not in text
    found = rows(text)
    assert found['mIoU (%) ↑'] == ['22.00', '–']
    assert found['depth error, per-batch legacy (m) ↓'] == ['0.9000', '–']
    assert found['relative depth error ↓'] == ['0.2600', '0.5000']
    assert list(found).index('normals, median (°) ↓') < list(found).index('mIoU, per-image legacy (%) ↑')


def test_what_is_not_recorded_is_left_out():
    results = {**fake.stages()[0], 'settings': {}, 'baselines': {}, 'parameters': {}}
    text = written(results, chosen=True)
    assert '- `segnet`, widths 4, 8; computes in bfloat16.\n' in text
    assert '- 12 epochs, 720 steps.\n' in text
    assert '- The weights are those of the epoch that the selection rule chose.\n' in text
    assert '- On ' not in text
    assert 'As it was prepared' not in text
    assert 'No constant predictor was evaluated.\n' in text
    assert 'taken from the training set' not in text


def test_a_network_that_is_not_better_than_a_constant_is_said():
    results = fake.stages()[-1]
    results['results']['depth_rel'] = 0.5
    text = written(results)
    assert '- The network is not better than the constant predictor by relative depth error (depth).\n' in text
    assert text.count('not better than') == 1
    results['results']['depth_rel'] = float('nan')
    assert 'not better than' not in written(results)


def test_averages_have_their_own_numbers():
    results = fake.stages()[-1]
    own = {'student/miou': 1.0, 'ema_student/miou': 2.0, 'teacher/miou': 3.0, 'ema_teacher/miou': 4.0}
    results |= {'results': own, 'settings': {'ema_decay': 0.99}}
    assert rows(written(results))['mIoU (%) ↑'] == ['3.00', '1.00', '–']
    text = written(results, averages=True)
    assert '# kd_mtl, moving averages\n' in text
    assert '- The weights are moving averages (decay 0.99) after the last step.\n' in text
    assert rows(text)['metric'] == ['branch teacher', 'branch student', 'constant predictor']
    assert rows(text)['mIoU (%) ↑'] == ['4.00', '2.00', '–']
    results['results'] = {'miou': 1.0, 'ema/miou': 2.0}
    assert rows(written(results, averages=True)) == rows(written({**results, 'results': {'miou': 2.0}}))


def test_modules_and_many_classes():
    text = written(backbone='my_backbone')
    assert "mt.load('FOLDER', allow_modules=True)" in text
    assert '--out=model.onnx --allow_modules\n' in text
    assert 'It needs the Python modules `my_backbone`, which are not part of mtkd_jax' in text
    many = card.converted(SPEC, [tasks.classification('letters', 61)], 10, 'a_model')
    assert '- **letters**, one answer an image, 61 channels: natural logarithm' in many
    assert 'Classes:' not in many
