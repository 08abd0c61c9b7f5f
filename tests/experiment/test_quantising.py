"""Programs in 8 bits: what they lose is measured on the test split, said, and kept in the file."""

import json

import pytest

import mtkd_jax as mt
from mtkd_jax import tasks
from mtkd_jax.data.sources import Pools
from mtkd_jax.datasets import DataNotPrepared
from mtkd_jax.experiment import quantising
from mtkd_jax.experiment.exporting import export
from mtkd_jax.experiment.models import open_model
from mtkd_jax.exporting import programs
from mtkd_jax.types import UserError
from tests.experiment.test_exporting import folder_of, needs_onnx

DATA = {'dataset': 'rooms', 'height': 32, 'width': 64, 'classes': 13, 'depth_maximum': 8.0}
COUNTS = {'train_images': 8, 'test_images': 4, 'scene_seed': 0}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A model folder of the prepared rooms."""
    folder = tmp_path_factory.mktemp('shallow') / 'model'
    own = {'tasks': ['segmentation', 'depth'], 'data': DATA | COUNTS}
    return folder_of(folder, backbone='tests.shallow', widths=[8] * 5, network={}, **own)


def said(out):
    """A file's metadata."""
    session = needs_onnx().InferenceSession(out.read_bytes(), providers=['CPUExecutionProvider'])
    return dict(session.get_modelmeta().custom_metadata_map)


def numbers(loss, kind):
    """The metrics that are defined."""
    return {name: values[kind] for name, values in loss['metrics'].items() if values[kind] is not None}


def test_a_program_in_8_bits_says_what_it_loses(model, rooms, tmp_path, capfd):
    needs_onnx()
    import onnx

    files = {name: tmp_path / f'{name}.onnx' for name in ('plain', 'eight', 'three')}
    export(model, files['plain'], format='onnx', allow_modules=True)
    given = {'format': 'onnx', 'int8': True, 'data_dir': rooms, 'allow_modules': True}
    told = export(model, files['eight'], **given, calibration_images=6)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ''
    assert 'on 6 of the 8 images of `train`' in told
    assert 'On the 4 images of `test`:' in told

    written = onnx.load(files['eight'])
    convolutions = [node for node in written.graph.node if node.op_type == 'Conv']
    dequantised = {node.output[0]: node.input[0] for node in written.graph.node if node.op_type == 'DequantizeLinear'}
    types = {constant.name: constant.data_type for constant in written.graph.initializer}
    assert convolutions
    assert all(types[dequantised[node.input[1]]] == onnx.TensorProto.INT8 for node in convolutions)
    assert [operators.domain for operators in written.opset_import] == ['']

    plain, eight = said(files['plain']), said(files['eight'])
    loss = json.loads(eight.pop('int8'))
    assert (plain.pop('computed_in'), eight.pop('computed_in')) == ('float32', 'int8 and float32')
    assert plain == eight
    assert loss['calibrated_on'] == {'split': 'train', 'images': 6, 'of': 8}
    # The metrics are those of `evaluate`, and those of the file.
    expected = mt.evaluate(model, data_dir=rooms, allow_modules=True)
    assert numbers(loss, 'float32') == pytest.approx({name: x for name, x in expected.items() if x == x}, rel=1e-4)
    opened = open_model(model, allow_modules=True)
    found = programs.outputs(opened.tasks, ['main'])
    test = quantising.data(opened, rooms, 'train', 6, None, None).test
    again = quantising.measured(programs.runnable(files['eight'].read_bytes(), [o.name for o in found]), found, test)
    assert numbers(loss, 'int8') == {name: x for name, x in again.items() if x == x}
    assert 0 < max(abs(x - numbers(loss, 'float32')[name]) for name, x in numbers(loss, 'int8').items()) < 20

    # Neither a size of batches that divides no split, nor that of the images, plays a part.
    export(model, files['three'], **given, calibration_images=6, batch=3, size=(32, 64))
    fixed = json.loads(said(files['three'])['int8'])
    for kind in ('float32', 'int8'):
        assert numbers(fixed, kind) == pytest.approx(numbers(loss, kind), rel=1e-5)
    assert sorted(tmp_path.iterdir()) == sorted(files.values())


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'format': 'stablehlo'}, UserError, '--int8 is written as ONNX only, not as stablehlo; use --format=onnx'),
        ({'split': 'test'}, UserError, "`split` is 'test', on which the loss is measured; calibrate on another"),
        ({'split': 'trian'}, UserError, "`split` is 'trian'; choose one of train. Did you mean 'train'"),
        ({'calibration_images': 0}, UserError, '`calibration_images` is 0; give at least 1'),
        (
            {'size': (64, 64)},
            UserError,
            '`size` is 64x64, but .* measured on prepared images of 32x64; leave `size` out',
        ),
        ({'data_dir': 'nowhere'}, DataNotPrepared, 'rooms 32x64 is not prepared: there is nothing in .*nowhere'),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_computed(
    model, rooms, tmp_path, monkeypatch, options, error, message
):
    monkeypatch.setattr(programs, 'function', None)
    monkeypatch.chdir(tmp_path)
    given = {'format': 'onnx', 'data_dir': rooms, 'allow_modules': True, **options}
    with pytest.raises(error, match=message):
        export(model, tmp_path / 'out' / 'a.onnx', int8=True, **given)
    assert not list(tmp_path.iterdir())


def test_calibration_images_are_spread_over_their_split(model, rooms):
    opened = open_model(model, allow_modules=True)
    for images, batch, expected in ((2, 2, [0, 7]), (3, 2, [0, 4, 7, 0]), (100, 4, list(range(8)))):
        given = quantising.data(opened, rooms, 'train', images, None, batch)
        assert given.calibration.source.indices.tolist() == expected


def test_images_of_a_small_pool_calibrate_once():
    found = quantising._spread(Pools.whole({'digits': range(3), 'characters': range(50)}), 20)
    assert found.tolist() == sorted(set(found.tolist()))
    assert [i for i in found if i < 3] == [0, 1, 2]
    assert len(found) == 3 + 10


def test_the_table_says_which_way_is_better():
    before = {
        'teacher/miou': 20.0,
        'student/miou': 10.0,
        'student/loss/segmentation': 1.0,
        'student/iou_3': float('nan'),
    }
    after = {'teacher/miou': 21.0, 'student/miou': 9.5, 'student/loss/segmentation': 1.5, 'student/iou_3': float('nan')}
    lines = quantising.table(before, after, [tasks.segmentation(13)]).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert cells == [
        ['teacher: mIoU (%) ↑', '20.00', '21.00', '+1.00', '+5.00 %'],
        ['student: segmentation loss: cross-entropy (nats)', '1.0000', '1.5000', '+0.5000', '-50.00 %'],
        ['student: mIoU (%) ↑', '10.00', '9.50', '-0.50', '-5.00 %'],
        ['student: IoU, 3 (%) ↑', '–', '–', '–', '–'],
    ]
