"""The convolution by tiles and its gradients are XLA's own, wherever a program may ask for them."""

import math
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax.models import convolution
from mtkd_jax.models.convolution import (
    by_tiles,
    input_gradient_by_tiles,
    kernel_gradient_by_tiles,
    kernel_gradient_widened,
    plain,
    tiles_on_cpus,
)
from mtkd_jax.training import device
from mtkd_jax.training.compiled import compiler_options
from mtkd_jax.training.sharding import make_mesh

convolve = tiles_on_cpus()(convolution.convolve)

TILED = (2, 3, 5, 6, 8)
PLAIN = (2, 4, 3, 5, 7)


@pytest.fixture
def small(monkeypatch):
    """Tiles of any size pay, for six channels and more."""
    monkeypatch.setattr(convolution, 'LEAST_PRODUCTS', 1)
    monkeypatch.setattr(convolution, 'LEAST_CHANNELS', 6)
    monkeypatch.setattr(convolution, '_of_kernels', lambda x, kernel: min(kernel.shape[2:]) >= 6)


def example(shape, dtype=np.float32):
    """(x, kernel, gradient) for (batch, height, width, inputs, outputs)."""
    b, h, w, c, k = shape
    rng = np.random.default_rng(sum(shape))
    return tuple(jnp.asarray(rng.standard_normal(s), dtype) for s in ((b, h, w, c), (3, 3, c, k), (b, h, w, k)))


def gradients(function, x, kernel, gradient):
    return jax.vjp(function, x, kernel)[1](gradient)


def close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        np.testing.assert_allclose(np.float32(x), np.float32(y), rtol=2e-5, atol=2e-5 * float(jnp.max(jnp.abs(y))))


def program(function, given, platform):
    return jax.jit(lambda *a: function(*a)).trace(*given).lower(lowering_platforms=(platform,)).as_text()


def products(function, given, platform):
    """How many products of matrices and convolutions the program for a platform has, which need not be there."""
    text = program(function, given, platform)
    return text.count('dot_general'), text.count('stablehlo.convolution')


def of_shape(*shape):
    b, h, w, c, k = shape
    return [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((b, h, w, c), (3, 3, c, k), (b, h, w, k))]


def both(*given):
    return gradients(convolve, *given)


SHAPES = [TILED, PLAIN, (1, 1, 1, 3, 2), (3, 1, 6, 4, 2), (2, 4, 4, 1, 1), (1, 7, 2, 2, 9)]


@pytest.mark.parametrize('shape', SHAPES)
def test_tiles_at_any_shape(shape):
    x, kernel, gradient = example(shape)
    close(by_tiles(x, kernel), plain(x, kernel))
    of_input, of_kernel = gradients(plain, x, kernel, gradient)
    close(input_gradient_by_tiles(kernel, gradient), of_input)
    close(kernel_gradient_by_tiles(x, gradient), of_kernel)
    close(kernel_gradient_widened(x, gradient), of_kernel)


@pytest.mark.parametrize('shape', SHAPES)
def test_what_networks_compute_is_the_plain_convolution(small, shape):
    x, kernel, gradient = example(shape)
    close(convolve(x, kernel), plain(x, kernel))
    close(both(x, kernel, gradient), gradients(plain, x, kernel, gradient))


def test_tiles_round_as_the_plain_convolution_does():
    with jax.enable_x64(True):
        x, kernel, _ = example((2, 16, 16, 64, 64), np.float64)
        exact = np.asarray(plain(x, kernel))
    narrow = jnp.float32(x), jnp.float32(kernel)
    errors = [np.sqrt(np.mean((np.asarray(form(*narrow)) - exact) ** 2)) for form in (by_tiles, plain)]
    assert errors[0] < 3 * errors[1] < 1e-5 * np.std(exact)


@pytest.mark.parametrize(
    ('shape', 'of_maps', 'of_kernels'),
    [
        ((2, 24, 32, 256, 256), True, True),
        ((2, 9, 12, 512, 512), True, True),
        ((2, 48, 64, 128, 64), True, True),
        ((2, 96, 128, 64, 64), True, False),
        ((2, 144, 192, 128, 128), False, True),
        ((2, 72, 96, 256, 256), True, True),
        ((2, 288, 384, 64, 64), False, False),
        ((2, 96, 128, 64, 63), False, False),
        ((2, 96, 128, 3, 64), False, False),
        ((1, 4, 7, 512, 512), False, False),
        ((4, 8, 12, 64, 64), False, False),
    ],
)
def test_a_cpu_takes_tiles_where_they_pay_and_accelerators_keep_their_own(shape, of_maps, of_kernels):
    given = of_shape(*shape)
    assert products(convolve, given[:2], 'cpu') == ((16, 0) if of_maps else (0, 1))
    tiled = of_maps + of_kernels
    assert products(both, given, 'cpu') == (16 * tiled, 2 - tiled)
    for platform in ('cuda', 'tpu'):
        assert products(convolve, given[:2], platform) == (0, 1)
        assert products(both, given, platform) == (0, 2)
        assert 'optimization_barrier' not in program(both, given, platform)


@pytest.mark.parametrize(
    ('shape', 'widened'),
    [
        ((4, 64, 96, 16, 16), True),
        ((4, 64, 96, 16, 1), False),
        ((2, 32, 48, 24, 16), True),
        ((1, 64, 96, 16, 13), True),
        ((4, 64, 96, 16, 17), False),
        ((3, 64, 96, 16, 16), False),
        ((8, 64, 96, 16, 16), False),
        ((4, 8, 12, 16, 16), False),
        ((4, 384, 512, 16, 16), False),
    ],
)
def test_a_cpu_widens_narrow_kernels_of_few_images_for_their_gradient(shape, widened):
    given = of_shape(*shape)

    def outputs(platform):
        return re.findall(r'convolution\(.*-> tensor<\d+x\d+x\d+x(\d+)xf32>', program(both, given, platform))

    *_, inputs, own = shape
    assert sorted(outputs('cpu')) == sorted([str(inputs), str(32 if widened else own)])
    assert sorted(outputs('tpu')) == sorted([str(inputs), str(own)])


def test_a_widened_gradient_is_the_plain_one(monkeypatch):
    monkeypatch.setattr(convolution, 'LEAST_WIDENED', 1)
    given = example((2, 5, 4, 3, 16))
    assert 'x32xf32' in program(both, given, 'cpu')
    close(both(*given), gradients(plain, *given))


def test_tiles_are_for_programs_that_say_so():
    for shape in ((2, 24, 32, 256, 256), (4, 64, 96, 16, 16)):
        text = program(lambda *a: gradients(convolution.convolve, *a), given := of_shape(*shape), 'cpu')
        assert text == program(lambda *a: gradients(plain, *a), given, 'cpu')


def test_operations_are_those_of_the_plain_convolution():
    given = of_shape(2, 24, 32, 256, 128)[:2]
    counted, expected = (device.operations(jax.jit(function).trace(*given)) for function in (convolve, plain))
    assert counted == expected > 2 * 9 * 256 * 128 * 2 * 22 * 30


def test_sums_of_bfloat16_stay_with_xla(small):
    given = example(TILED, jnp.bfloat16)
    assert products(both, given, 'cpu') == (0, 2)
    for one, other in zip(both(*given), gradients(plain, *given), strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.float32(one), np.float32(other))


def test_in_every_transformation(small):
    x, kernel, gradient = example(TILED)
    expected = gradients(plain, x, kernel, gradient)

    # As `jacobian` does: linearised once, its linear part transposed for some outputs.
    _, push = jax.linearize(convolve, x, kernel)
    close(jax.linear_transpose(push, x, kernel)(gradient), expected)

    twice = [jnp.stack([a, 2 * a]) for a in (x, kernel, gradient)]
    close(jax.vmap(convolve)(*twice[:2]), jax.vmap(plain)(*twice[:2]))
    close(jax.vmap(both)(*twice), jax.vmap(lambda *a: gradients(plain, *a))(*twice))

    _, scanned = jax.lax.scan(lambda carry, a: (carry, both(*a)), 0, twice)
    close([a[0] for a in scanned], expected)

    close(jax.jit(lambda *a: gradients(jax.checkpoint(convolve), *a))(x, kernel, gradient), expected)


def test_gradients_of_gradients(small):
    def norm(function):
        return lambda *given: sum(jnp.sum(g**2) for g in gradients(function, *given))

    given = example(TILED)
    close(*(jax.grad(norm(function), (0, 1, 2))(*given) for function in (convolve, plain)))


@pytest.mark.parametrize('kind', ['Auto', 'Explicit', 'Manual'])
def test_over_a_mesh_of_any_kind(small, kind):
    x, kernel, gradient = example(TILED)
    axis = jax.sharding.AxisType.Explicit if kind == 'Explicit' else jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((2,), ('data',), axis_types=(axis,), devices=jax.devices()[:2])
    split = jax.P('data')

    def of_all(function):
        def compute(x, kernel, gradient):
            return gradients(function, x, kernel, gradient)

        if kind == 'Manual':
            compute = jax.shard_map(compute, mesh=mesh, in_specs=(split, jax.P(), split), out_specs=(split, jax.P()))
        given = [jax.device_put(a, jax.NamedSharding(mesh, spec)) for a, spec in ((x, split), (kernel, jax.P()))]
        with jax.set_mesh(mesh):
            return jax.jit(compute)(*given, jax.device_put(gradient, jax.NamedSharding(mesh, split)))

    close(jax.device_get(of_all(convolve)), gradients(plain, x, kernel, gradient))


def test_devices_add_up_the_gradient_of_the_kernel_and_nothing_else(small):
    """By tiles in 16 parts in place of 9, once."""
    mesh = jax.make_mesh((4,), ('data',), devices=jax.devices()[:4])
    split, whole = (jax.NamedSharding(mesh, spec) for spec in (jax.P('data'), jax.P()))

    def exchanged(function):
        jitted = jax.jit(
            lambda *a: gradients(function, *a), in_shardings=(split, whole, split), out_shardings=(split, whole)
        )
        text = jitted.lower(*of_shape(8, 6, 4, 6, 8)).compile().as_text()
        found = re.findall(r'= (\(.*?\)|\S+) (all-\w+|collective-\w+|reduce-scatter)(?:-start)?\(', text)
        # Of several arrays that are added up together, the type is a tuple.
        return [
            (kind, sum(math.prod(map(int, s.split(','))) for s in re.findall(r'\[(.+?)\]', t))) for t, kind in found
        ]

    assert exchanged(plain) == [('all-reduce', 9 * 6 * 8)]
    assert exchanged(convolve) == [('all-reduce', 16 * 6 * 8)]


def used(function, *shapes):
    """Bytes of intermediate values, of a program on one device."""
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    jitted = jax.jit(function, compiler_options=compiler_options(make_mesh(1)))
    return jitted.lower(*given).compile().memory_analysis().temp_size_in_bytes


def through(function):
    def last(x, *kernels):
        for kernel in kernels:
            x = function(x, kernel)
        return jnp.sum(x**2)

    return last


def test_the_gradients_need_no_transformed_maps_of_the_forward_pass(small):
    shapes = (2, 32, 32, 8), *[(3, 3, 8, 8)] * 8
    tiled, other = (used(jax.grad(through(function), range(1, 9)), *shapes) for function in (convolve, plain))
    # Kept, the maps of eight layers would take four times as much as what goes in, each.
    assert tiled < other + 20 * 4 * np.prod(shapes[0])


def test_a_kernel_is_transformed_when_its_turn_comes(small):
    shapes = (1, 4, 4, 64), *[(3, 3, 64, 64)] * 12
    tiled, other = (used(through(function), *shapes) for function in (convolve, plain))
    assert tiled < other + 4 * 16 * 4 * 64 * 64


def test_a_batch_of_any_size_is_exported(small):
    x, kernel, gradient = example(TILED)
    batch = jax.export.symbolic_shape('b')
    given = [jax.ShapeDtypeStruct((*batch, *a.shape[1:]), a.dtype) for a in (x, gradient)]
    program = jax.export.export(jax.jit(lambda x, gradient: both(x, kernel, gradient)))(*given)
    close(program.call(x, gradient), gradients(plain, x, kernel, gradient))


def test_what_no_tiles_pay_for_keeps_forward_mode():
    x, kernel, _ = example(PLAIN)
    one, other = (jax.jvp(function, (x, kernel), (x, kernel)) for function in (convolve, plain))
    close(one, other)
