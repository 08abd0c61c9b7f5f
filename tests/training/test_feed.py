"""Data on the devices, many steps in one call, and cached teachers: the same batches, results and resumed runs."""

import dataclasses
import json
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import records as record_files
from mtkd_jax import tasks
from mtkd_jax.data.pipeline import Split
from mtkd_jax.data.sources import Pools
from mtkd_jax.training import feed, resident, sharding, taught
from mtkd_jax.training.checkpoint import Position
from mtkd_jax.training.folder import save_model
from mtkd_jax.training.loop import Loop
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.resident import Residence
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError
from tests import small
from tests.training.test_loop import StopAfter, assert_identical


def in_bytes(count, seed=0):
    """Examples as prepared data sets store them: images in 8 bits."""
    return [{**x, 'image': (x['image'] * 255).astype(np.uint8)} for x in small.source(count, seed)]


def pools():
    digits, characters = in_bytes(6), in_bytes(10, seed=1)
    for i, example in enumerate((*digits, *characters)):
        example['digits'] = np.full((1, 1, 1), i % 4 if i < 6 else -1, np.int32)
        example['characters'] = np.full((1, 1, 1), i % 3 if i >= 6 else -1, np.int32)
    return Pools.whole({'digits': digits, 'characters': characters})


DIGITS, CHARACTERS = tasks.classification('digits', 4), tasks.classification('characters', 3)
SPLITS = {
    'dense': lambda: Split(in_bytes(10), small.TASKS, 4, seed=2),
    'floats': lambda: Split(small.source(9), small.TASKS[1:], 4),
    'pools': lambda: Split(pools(), (DIGITS, CHARACTERS), 4),
    'one pool': lambda: Split(pools(), (CHARACTERS,), 4),
}


@pytest.mark.parametrize('devices', [1, 2])
@pytest.mark.parametrize('name', SPLITS)
def test_the_devices_gather_what_the_host_would_send(name, devices):
    split, mesh = SPLITS[name](), small.mesh(devices)
    residence = Residence(mesh, [task.name for task in split.tasks])
    arrays, gather = residence.arrays(split), resident.gatherer(split.tasks, mesh, Programs().compiled)
    for epoch in (0, 1):
        expected = list(split.epoch(epoch))
        found = [jax.device_get(gather(arrays, index)) for index in split.order(epoch)]
        assert len(found) == split.steps_per_epoch
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    ordered = [jax.device_get(batch) for batch in residence.ordered(split, Programs().compiled)]
    jax.tree.map(np.testing.assert_array_equal, ordered, list(split.ordered()))


START = Position(0, 0, 4, 32, 0)


def stage(folder, placement='host', cache='off', dtype='float32', devices=1, **changes):
    """A KD-MTL stage of two epochs of four steps."""
    made = small.stage(folder, small.kd_mtl(**changes.pop('method', {})), **changes)
    residence = None if placement == 'host' else Residence(small.mesh(devices), small.NAMES)
    return dataclasses.replace(
        made,
        residence=residence,
        steps_in_one_call=placement == 'one call',
        cache_teachers=cache,
        cache_dtype=dtype,
    )


def trained(folder, *about, stops=(), devices=1, records=None, fields=None, **changes):
    made = dataclasses.replace(stage(folder, *about, devices=devices, **changes), **(fields or {}))
    for questions in stops:
        with pytest.raises(StoppedError):
            small.train(Loop(made, small.mesh(devices), folder, StopAfter(questions)))
    return small.train(Loop(made, small.mesh(devices), folder, StopRequest()), records)


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    records = small.Records()
    return trained(tmp_path_factory.mktemp('host'), records=records), records


def assert_alike(records, expected):
    """The same losses while training.

    Evaluations are near: a bias before a normalisation has no gradient but rounding, which Adam makes steps of, and
    running statistics follow it slowly.
    """
    assert [(r['step'], r['split']) for r in records] == [(r['step'], r['split']) for r in expected]
    for mine, theirs in zip(records, expected, strict=True):
        for name in set(theirs) - {'split', 'seconds', 'waiting'}:
            # A class has few pixels.
            near = {'rel': 0.02, 'abs': 1.0 if name.startswith('iou_') else 0.1}
            tolerance = {'rel': 1e-4} if mine['split'] == 'train' else near
            assert mine[name] == pytest.approx(theirs[name], **tolerance), (mine['step'], name)


@pytest.mark.parametrize('placement', ['device', 'one call'])
def test_data_on_the_devices_change_no_result_and_resume_exactly(unbroken, tmp_path, placement):
    """Stopped after a step in the middle of an epoch, and where the first epoch ends."""
    records = small.Records()
    whole = trained(tmp_path / 'whole', placement, records=records)
    assert_alike(records, unbroken[1])
    waiting = [[r['waiting'] for r in found if r['split'] == 'train'] for found in (records, unbroken[1])]
    assert max(waiting[0]) == 0 < max(waiting[1]) <= 1
    assert_identical(trained(tmp_path / 'parts', placement, stops=(0, 1)), whole)


@pytest.mark.parametrize('placement', ['host', 'one call'])
def test_split_parameters_change_no_result_and_resume_exactly(unbroken, tmp_path, monkeypatch, placement):
    monkeypatch.setattr(sharding, 'SMALL', 1)
    records, about = small.Records(), {'devices': 2, 'fields': {'fsdp': True}}
    whole = trained(tmp_path / 'whole', placement, 'memory', records=records, **about)
    for tree in (whole.params['network'], whole.params['adaptors'], whole.opt_state):
        split = [x for x in jax.tree.leaves(tree) if not x.is_fully_replicated]
        assert split
        assert all(2 * x.addressable_shards[0].data.size == x.size for x in split)
    assert_alike(records, unbroken[1])
    assert_identical(trained(tmp_path / 'parts', placement, 'memory', stops=(0, 1), **about), whole)


def test_how_a_leaf_is_split():
    mesh, shapes = small.mesh(4), [(), (8,), (3, 3, 64, 128), (3, 3, 62, 128), (3, 3, 126, 62), (64, 63, 3)]
    found = sharding.of_leaves([jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes], mesh, fsdp=True)
    assert [tuple(lies.spec) for lies in found] == [
        (),
        (),
        (None, None, None, 'data'),
        (None, None, None, 'data'),
        (),
        ('data',),
    ]
    whole = sharding.of_leaves([jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes], mesh, fsdp=False)
    assert all(lies.is_fully_replicated for lies in whole)


def test_one_call_takes_no_more_steps_than_its_time(tmp_path, monkeypatch):
    """The first one is timed; then as many as fit, up to the next record."""
    taken = []

    class Recorded(feed.Chunked):
        def advance(self, state, most):
            state, count, scalars = super().advance(state, most)
            taken.append((count, most))
            self._each = 0.4
            return state, count, scalars

    monkeypatch.setattr(feed, 'SECONDS', 1.0)
    monkeypatch.setattr('mtkd_jax.training.loop.Chunked', Recorded)
    made = stage(tmp_path, 'one call')
    made = dataclasses.replace(made, cadence=dataclasses.replace(made.cadence, log_every_steps=100))
    small.train(Loop(made, small.mesh(), tmp_path, StopRequest()))
    assert taken == [(1, 4), (2, 3), (1, 1), (2, 4), (2, 2)]


@pytest.mark.parametrize(
    ('placement', 'cache', 'devices'), [('host', 'memory', 2), ('device', 'disk', 1), ('one call', 'memory', 1)]
)
def test_cached_teachers_change_no_result(unbroken, tmp_path, placement, cache, devices):
    """A diagnosis still asks the teachers."""
    records = small.Records()
    trained(tmp_path, placement, cache, devices=devices, diagnose_every=4, records=records)
    assert_alike([r for r in records if r['split'] != 'diagnostics'], unbroken[1])
    assert {'cka/depth/last', 'gradient/depth'} <= set(records[0])
    assert (tmp_path / 'taught').exists() == (cache == 'disk')


def test_a_cache_in_bfloat16_is_near(unbroken, tmp_path):
    state = trained(tmp_path, 'device', 'memory', 'bfloat16')
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, unbroken[0].params)
    assert 0 < max(jax.tree.leaves(moved)) < 0.02


def test_a_cache_on_disk_belongs_to_its_teachers(tmp_path):
    made = stage(tmp_path, 'host', 'disk')
    loop = Loop(made, small.mesh(), tmp_path, StopRequest())
    loop._progress = small.Silent()
    folder = tmp_path / 'taught'

    def rows():
        cache = loop._cache(small.frozen(), START)
        return jax.device_get(cache.rows(np.array([3, 0])))['depth']['last'], (folder / 'key.json').stat().st_mtime_ns

    first, written = rows()
    expected = made.method.teach(small.frozen(), jnp.stack([small.source(4)[i]['image'] for i in (3, 0)]))
    np.testing.assert_allclose(first, expected['depth']['last'], rtol=1e-5, atol=1e-6)
    assert rows()[1] == written
    assert loop._progress.messages[0] == 'kd_mtl: keeps what its teachers say of 32 images on disk (0.00 GB)'
    save_model(made.teachers['depth'], small.SPEC, small.teacher_variables(7))
    assert rows()[1] != written
    content = bytearray((folder / '0.bin').read_bytes())
    content[100] ^= 1
    (folder / '0.bin').write_bytes(content)
    with pytest.raises(UserError, match=r'0.bin is not what was written; remove'):
        rows()


@pytest.mark.parametrize('changes', [{'augment': 'scale_crop_flip'}, {'method': {'teacher_batch_stats': True}}])
def test_teachers_that_change_their_minds_are_not_cached(tmp_path, changes):
    loop = Loop(stage(tmp_path, cache='auto', **changes), small.mesh(), tmp_path, StopRequest())
    assert loop._cache(small.frozen(), START) is None
    loop = Loop(stage(tmp_path, cache='memory', **changes), small.mesh(), tmp_path, StopRequest())
    with pytest.raises(UserError, match="`cache_teachers` is 'memory', but what its teachers say"):
        loop._cache(small.frozen(), START)


def test_the_cache_is_kept_where_it_fits_and_pays(tmp_path, monkeypatch):
    loop = Loop(stage(tmp_path, cache='auto'), small.mesh(), tmp_path, StopRequest())
    loop._progress = small.Silent()
    assert isinstance(loop._cache(small.frozen(), START), taught.Memory)
    once = Loop(stage(tmp_path, cache='auto', epochs=1), small.mesh(), tmp_path, StopRequest())
    assert once._cache(small.frozen(), START) is None
    assert loop._cache({}, START) is None
    # 3 tasks, 32 images: features of 32 x 32 x 4 and, after five poolings, 1 x 1 x 4.
    assert loop._progress.messages == ['kd_mtl: keeps what its teachers say of 32 images in memory (0.00 GB)']
    monkeypatch.setattr(resident.device, 'free_bytes', lambda mesh, sharers: 1000)
    assert loop._cache(small.frozen(), START) is None


def test_each_stage_beside_may_keep_as_much(tmp_path, monkeypatch):
    counts = []
    monkeypatch.setattr(resident, 'fits', lambda count, mesh, sharers: bool(counts.append(count)))
    for at_once in (1, 3):
        beside = dataclasses.replace(stage(tmp_path, cache='auto'), at_once=at_once)
        assert Loop(beside, small.mesh(), tmp_path, StopRequest())._cache(small.frozen(), START) is None
    assert counts[1] == 3 * counts[0] > 0


def test_a_shared_cache_compiles_for_the_stage_that_reads_it(tmp_path):
    """Not on the clock of the one that filled it, which another thread may read."""
    shared, caches = taught.Shared(), []
    for name in ('a', 'b'):
        made = dataclasses.replace(stage(tmp_path, cache='memory'), taught=shared)
        loop = Loop(made, small.mesh(), tmp_path / name, StopRequest())
        loop._progress = small.Silent()
        caches.append((loop, loop._cache(small.frozen(), START)))
    (first, one), (second, other) = caches
    assert other.arrays is one.arrays
    before = [loop.spent.of('compiling') for loop in (first, second)]
    other.rows(np.arange(4))
    after = [loop.spent.of('compiling') for loop in (first, second)]
    assert after[0] == before[0]
    assert after[1] > before[1]


def test_files_are_of_teachers_in_one_type(tmp_path):
    """What a teacher says in another type is asked again."""
    keys = []
    for settings in ({'compute_dtype': 'float32'}, {'compute_dtype': 'float32', 'teacher_dtype': 'bfloat16'}):
        made = dataclasses.replace(stage(tmp_path, cache='disk'), settings=settings)
        loop = Loop(made, small.mesh(), tmp_path, StopRequest())
        loop._progress = small.Silent()
        loop._cache(small.frozen(), START)
        keys.append(json.loads((tmp_path / taught.FOLDER / taught.KEY).read_text())['teacher_dtype'])
    assert keys == ['float32', 'bfloat16']


def test_a_run_that_continues_does_what_auto_meant_before(tmp_path, monkeypatch):
    """In its last epoch, with less memory; bit for bit."""
    whole = trained(tmp_path / 'whole', 'device', 'auto')
    assert record_files.read_choices(tmp_path / 'whole') == {'placement': 'device', 'cache_teachers': 'memory'}
    parts = stage(tmp_path / 'parts', 'device', 'auto')
    # Asked by four batches of the fill, four steps, two batches of an evaluation, and two steps.
    with pytest.raises(StoppedError, match='at step 6 of 8'):
        small.train(Loop(parts, small.mesh(), tmp_path / 'parts', StopAfter(11)))
    monkeypatch.setattr(resident.device, 'free_bytes', lambda mesh, sharers: 0)
    again = Loop(parts, small.mesh(), tmp_path / 'parts', StopRequest())
    assert_identical(small.train(again), whole)


def test_bytes_are_counted_as_they_are_stored():
    split = SPLITS['dense']()
    image, depth, normals = 32 * 32 * 3, 32 * 32 * 4, 32 * 32 * 3 * 4
    assert resident.size(split, ('depth', 'normals')) == 10 * (image + depth + normals)


VARIED = {
    'bfloat16': {'method': {'dtype': jnp.bfloat16}},
    'averages': {'fields': {'ema_decay': 0.9, 'accumulate_steps': 2}},
    'augmented': {'augment': 'scale_crop_flip'},
    'batch statistics': {'method': {'teacher_batch_stats': True}},
}


@pytest.mark.parametrize('name', VARIED)
def test_features_go_together(tmp_path, name):
    """Everything that changes results, beside everything that must not, all at once: two devices, data there, many
    steps in one call, cached teachers where they may be, and a run that is stopped."""
    changes = VARIED[name]
    cache = 'off' if name in ('augmented', 'batch statistics') else 'memory'
    found = []
    for way, more in (('plain', {}), ('one call', {'cache': cache, 'devices': 2, 'stops': (2,)})):
        cached, records = more.pop('cache', 'off'), small.Records()
        placement = 'host' if way == 'plain' else way
        trained(tmp_path / way, placement, cached, records=records, **more, **changes)
        # Of a run that was stopped, what comes after.
        found.append([r for r in records if r['step'] > 4])
    (plain, other) = found
    assert ('ema/depth_abs' in plain[-1]) == (name == 'averages')
    for mine, theirs in zip(other, plain, strict=True):
        for key in (key for key in theirs if key.startswith(('loss/', 'distillation/'))):
            tolerance = 0.03 if name == 'bfloat16' or mine['split'] != 'train' else 1e-3
            assert mine[key] == pytest.approx(theirs[key], rel=tolerance), (mine['step'], key)


def test_a_cache_that_several_ask_for_is_made_once():
    """Threads that ask for it meanwhile wait; that of another key is let go first."""
    shared, made, cache = taught.Shared(), [], taught.Memory((), (), small.mesh(), Programs().compiled)

    def make():
        made.append(threading.current_thread().name)
        time.sleep(0.3)
        return cache

    found = []
    threads = [threading.Thread(target=lambda: found.append(shared.of({'count': 1}, make))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), found) == (1, [cache] * 3)
    assert shared.of({'count': 2}, lambda: None) is None
    assert shared.of({'count': 2}, make) is cache, 'nothing was kept of this key'
    assert shared.of({'count': 1}, lambda: None) is None
