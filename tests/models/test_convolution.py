"""The convolution's gradients: the product gives XLA's own, wherever a program may ask for it."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax.models.convolution import WIDE, convolve, input_gradient_by_product

PRODUCT = (2, 3, 5, 6, WIDE)
PLAIN = (2, 4, 3, 5, 7)


def example(shape, dtype=np.float32):
    """(x, kernel, gradient) for (batch, height, width, inputs, outputs)."""
    b, h, w, c, k = shape
    rng = np.random.default_rng(sum(shape))
    return tuple(jnp.asarray(rng.standard_normal(s), dtype) for s in ((b, h, w, c), (3, 3, c, k), (b, h, w, k)))


def plain(x, kernel):
    """What `convolve` computes, with the gradients that JAX gives it."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def gradients(function, x, kernel, gradient):
    return jax.vjp(function, x, kernel)[1](gradient)


def close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        np.testing.assert_allclose(np.float32(x), np.float32(y), rtol=2e-5, atol=2e-5 * float(jnp.max(jnp.abs(y))))


def program(given, platform):
    """The program of both gradients for a platform, that need not be there."""
    lowered = jax.jit(lambda *a: gradients(convolve, *a)).trace(*given).lower(lowering_platforms=(platform,))
    return lowered.as_text()


@pytest.mark.parametrize('shape', [PRODUCT, PLAIN, (1, 1, 1, 40, WIDE), (3, 1, 6, 33, 2)])
def test_gradients_are_those_of_the_plain_convolution(shape):
    x, kernel, gradient = example(shape)
    close(convolve(x, kernel), plain(x, kernel))
    close(gradients(convolve, x, kernel, gradient), gradients(plain, x, kernel, gradient))


@pytest.mark.parametrize('shape', [(2, 3, 5, 4, 6), (1, 2, 2, 6, 4), (2, 1, 7, 3, 3)])
def test_the_product_at_any_shape(shape):
    x, kernel, gradient = example(shape)
    close(input_gradient_by_product(kernel, gradient), gradients(plain, x, kernel, gradient)[0])


def test_a_cpu_takes_the_product_and_accelerators_keep_their_own():
    assert 'dot_general' in program(example(PRODUCT), 'cpu')
    assert 'dot_general' not in program(example((2, 16, 17, 6, WIDE)), 'cpu')
    assert 'dot_general' not in program(example((2, 3, 5, 6, WIDE - 1)), 'cpu')
    for platform in ('cuda', 'tpu'):
        assert 'dot_general' not in program(example(PRODUCT), platform)


def test_sums_of_bfloat16_stay_with_xla():
    given = example(PRODUCT, jnp.bfloat16)
    assert 'dot_general' not in program(given, 'cpu')
    for one, other in zip(gradients(convolve, *given), gradients(plain, *given), strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.float32(one), np.float32(other))


def test_in_every_transformation():
    x, kernel, gradient = example(PRODUCT)
    expected = gradients(plain, x, kernel, gradient)

    # As `jacobian` does: linearised once, its linear part transposed for some outputs.
    _, push = jax.linearize(convolve, x, kernel)
    close(jax.linear_transpose(push, x, kernel)(gradient), expected)

    twice = [jnp.stack([a, 2 * a]) for a in (x, kernel, gradient)]
    close(jax.vmap(lambda *a: gradients(convolve, *a))(*twice), jax.vmap(lambda *a: gradients(plain, *a))(*twice))

    _, scanned = jax.lax.scan(lambda carry, a: (carry, gradients(convolve, *a)), 0, twice)
    close([a[0] for a in scanned], expected)

    close(jax.jit(lambda *a: gradients(jax.checkpoint(convolve), *a))(x, kernel, gradient), expected)


def test_gradients_of_gradients():
    def norm(function):
        return lambda *given: sum(jnp.sum(g**2) for g in gradients(function, *given))

    given = example(PRODUCT)
    close(*(jax.grad(norm(function), (0, 1, 2))(*given) for function in (convolve, plain)))


@pytest.mark.parametrize('kind', ['Auto', 'Explicit', 'Manual'])
def test_over_a_mesh_of_any_kind(kind):
    x, kernel, gradient = example(PRODUCT)
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


def test_a_batch_of_any_size_is_exported():
    x, kernel, gradient = example(PRODUCT)
    batch = jax.export.symbolic_shape('b')
    given = [jax.ShapeDtypeStruct((*batch, *a.shape[1:]), a.dtype) for a in (x, gradient)]
    program = jax.export.export(jax.jit(lambda x, gradient: gradients(convolve, x, kernel, gradient)))(*given)
    close(program.call(x, gradient), gradients(plain, x, kernel, gradient))


def test_what_no_form_fits_keeps_forward_mode():
    x, kernel, _ = example(PLAIN)
    one, other = (jax.jvp(function, (x, kernel), (x, kernel)) for function in (convolve, plain))
    close(one, other)
