"""What frozen teachers compute in: as asked, as the machine has it, and as it was when the stage was begun."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import records
from mtkd_jax.experiment import teachers
from mtkd_jax.experiment.teachers import check_dtype
from mtkd_jax.methods.plan import Plan
from mtkd_jax.types import UserError
from tests import small
from tests.recipes import load, stages
from tests.unchanged import frozen_of

RECIPES = {
    'kd_mtl': 'tasks=depth,backbone=tests.shallow',
    'bam': 'method=bam,tasks=depth,backbone=tests.shallow',
    'traditional_kd': 'method=traditional_kd,tasks=depth',
}


def last(rooms, folder, recipe, **fields):
    """The last stage of a recipe."""
    return stages(load('rooms', recipe, data__data_dir=rooms, **fields), folder)[-1]


def types(method):
    """In which its teachers compute."""
    found = [method.teacher] if hasattr(method, 'teacher') else list(method.teachers.values())
    return {jnp.dtype(network.dtype).name for network in found}


@pytest.mark.parametrize('name', RECIPES)
def test_teachers_compute_in_bfloat16_and_say_it_in_float32(rooms, tmp_path, name):
    plain = last(rooms, tmp_path, RECIPES[name])
    half = last(rooms, tmp_path, RECIPES[name], teacher_dtype='bfloat16')
    assert (types(plain.method), types(half.method)) == ({'float32'}, {'bfloat16'})
    assert half.method.network.dtype == jnp.float32
    assert half.settings == {**plain.settings, 'teacher_dtype': 'bfloat16'}
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 32, 32, 3)), jnp.float32)
    frozen = frozen_of(plain.method, image.shape)
    expected, found = [jax.jit(stage.method.teach)(frozen, image) for stage in (plain, half)]
    for exact, rounded in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert rounded.dtype == exact.dtype == jnp.float32
        apart = float(jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact))
        assert 1e-5 < apart < 0.05


def test_features_stay_as_wide_as_the_wider_of_both():
    for own, taught, expected in (('bfloat16', 'bfloat16', 'bfloat16'), ('bfloat16', 'float32', 'float32')):
        method = small.kd_mtl(dtype=jnp.dtype(own)).teachers_in(jnp.dtype(taught))
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        said = jax.eval_shape(method.teach, frozen_of(method, (1, 32, 32, 3)), image)
        assert {x.dtype.name for x in jax.tree.leaves(said)} == {expected}


def test_auto_is_what_the_machine_has_and_then_what_it_was(rooms, tmp_path, monkeypatch):
    """On a CPU the network's own type; on accelerators bfloat16; a stage that is begun stays with what it has."""
    recipe = RECIPES['kd_mtl']
    here = last(rooms, tmp_path / 'a', recipe)
    assert types(here.method) == {'float32'}
    assert 'teacher_dtype' not in here.settings
    monkeypatch.setattr(teachers.sharding, 'accelerated', lambda mesh: True)
    there = last(rooms, tmp_path / 'a', recipe)
    assert types(there.method) == {'bfloat16'}
    assert there.settings['teacher_dtype'] == 'bfloat16'
    assert there.facts == here.facts
    explicit = last(rooms, tmp_path / 'a', recipe, teacher_dtype='float32')
    assert types(explicit.method) == {'float32'}
    # Teachers that see the batch's statistics, and stages without teachers, are left alone.
    for other in ('method=uniform,tasks=depth', f'{recipe},teacher_batch_stats=on'):
        assert 'teacher_dtype' not in last(rooms, tmp_path / 'a', other).settings

    for begun, accelerated in ((here, True), (there, False)):
        monkeypatch.setattr(teachers.sharding, 'accelerated', lambda mesh, found=accelerated: found)
        folder = tmp_path / begun.name / str(accelerated)
        records.write_settings(records.stage_folder(folder, begun.name), begun.settings)
        again = last(rooms, folder, recipe)
        assert again.settings == begun.settings
        assert types(again.method) == types(begun.method)


@pytest.mark.parametrize(
    ('recipe', 'fields', 'message'),
    [
        ('method=uniform', {}, "`teacher_dtype` is 'bfloat16', but mtl has no teachers; set it to 'auto' or"),
        (
            '',
            {'method_settings__teacher_batch_stats': True},
            r"`method_settings.teacher_batch_stats`.*set it to 'auto'",
        ),
        ('', {'teacher_dtype': 'float16'}, "`teacher_dtype` is 'float16'; choose one of auto, float32, bfloat16"),
    ],
)
def test_a_type_that_teachers_cannot_have_is_refused(rooms, tmp_path, recipe, fields, message):
    with pytest.raises(UserError, match=message):
        last(rooms, tmp_path, recipe, **{'teacher_dtype': 'bfloat16', **fields})


def test_a_method_whose_teachers_have_one_type_says_so():
    config = load('rooms', 'tasks=depth', teacher_dtype='bfloat16')

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Fixed(type(small.kd_mtl())):
        def teachers_in(self, dtype):
            return self

    method = Fixed(**{f.name: getattr(small.kd_mtl(), f.name) for f in dataclasses.fields(Fixed)})
    plan = Plan(name='fixed', kind='fixed', method=method, teachers={'depth': 'stl_depth'})
    with pytest.raises(UserError, match='kd_mtl has no `teachers_in`, which gives teachers of another type'):
        check_dtype(config, [plan])
    assert teachers.dtype_of(load('rooms', 'tasks=depth'), plan, None, small.mesh()) == 'float32'
