"""The operations of JAX that networks are made of, each as ONNX nodes."""

import math
import string
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from onnx import helper

from mtkd_jax.types import UserError

Rule = Callable[..., Any]


def _same(operation: str) -> Rule:
    return lambda graph, equation, *values: graph.node(operation, *map(graph.name, values))


def _maximum(graph: Any, equation: Any, a: Any, b: Any) -> str:
    # Runtimes join a Relu with the convolution before it.
    if b.known and b.own in ((), (1,) * len(b.own)) and not np.any(b.data):
        return graph.node('Relu', graph.name(a))
    return graph.node('Max', graph.name(a), graph.name(b))


def _subtract(graph: Any, equation: Any, a: Any, b: Any) -> str:
    # Runtimes join what is added with the convolution before it.
    if b.known:
        return graph.node('Add', graph.name(a), graph.constant(-b.data))
    return graph.node('Sub', graph.name(a), graph.name(b))


def _squared(graph: Any, equation: Any, x: Any) -> str:
    return graph.node('Mul', graph.name(x), graph.name(x))


def _power(graph: Any, equation: Any, x: Any) -> str:
    return graph.node('Pow', graph.name(x), graph.constant(np.array(equation.params['y'], np.float32)))


def _inverse_root(graph: Any, equation: Any, x: Any) -> str:
    return graph.node('Reciprocal', graph.node('Sqrt', graph.name(x)))


def _unequal(graph: Any, equation: Any, a: Any, b: Any) -> str:
    return graph.node('Not', graph.node('Equal', graph.name(a), graph.name(b)))


def _select(graph: Any, equation: Any, which: Any, *cases: Any) -> str:
    if len(cases) != 2 or equation.invars[0].aval.dtype != bool:
        raise UserError('The network selects among several arrays by number, which is not converted to ONNX.')
    return graph.node('Where', graph.name(which), graph.name(cases[1]), graph.name(cases[0]))


def _cast(graph: Any, equation: Any, x: Any) -> str:
    dtype = np.dtype(equation.params['new_dtype'])
    small = jnp.issubdtype(dtype, jnp.integer) and dtype.itemsize < 4
    wanted = np.dtype(np.int32) if small else dtype
    return graph.node('Cast', graph.name(x), to=helper.np_dtype_to_tensor_dtype(wanted))


ELEMENTWISE: dict[str, Rule] = {
    **{name: _same(name.capitalize()) for name in ('add', 'mul', 'div', 'min', 'neg', 'exp', 'log', 'tanh', 'sqrt')},
    **{name: _same(name.capitalize()) for name in ('abs', 'sign', 'floor', 'ceil', 'erf', 'pow', 'and', 'or', 'not')},
    'convert_element_type': _cast,
    'copy': _same('Identity'),
    'eq': _same('Equal'),
    'ge': _same('GreaterOrEqual'),
    'gt': _same('Greater'),
    'integer_pow': _power,
    'le': _same('LessOrEqual'),
    'logistic': _same('Sigmoid'),
    'lt': _same('Less'),
    'max': _maximum,
    'ne': _unequal,
    'rsqrt': _inverse_root,
    'select_n': _select,
    'square': _squared,
    'stop_gradient': _same('Identity'),
    'sub': _subtract,
}
"""Those that act on every element alone: (graph, equation, *values) → name. Sizes of 1 are repeated."""


def _reshape(graph: Any, equation: Any, x: Any) -> list[str]:
    return [graph.reshaped(x.data, equation.outvars[0].aval.shape)]


def _transpose(graph: Any, equation: Any, x: Any) -> list[str]:
    return [graph.transposed(x, equation.params['permutation'])]


def _concatenate(graph: Any, equation: Any, *values: Any) -> list[str]:
    return [graph.node('Concat', *map(graph.name, values), axis=equation.params['dimension'])]


def _stack(graph: Any, equation: Any, *values: Any) -> list[str]:
    axis = equation.params['axis']
    where = graph.constant(np.array([axis], np.int64))
    return [graph.node('Concat', *[graph.node('Unsqueeze', graph.name(x), where) for x in values], axis=axis)]


def _split(graph: Any, equation: Any, x: Any) -> list[str]:
    sizes = [int(size) for size in equation.params['sizes']]
    where = graph.constant(np.array(sizes, np.int64))
    return graph.several('Split', len(sizes), x.data, where, axis=equation.params['axis'])


def _slice(graph: Any, equation: Any, x: Any) -> list[str]:
    starts, limits = equation.params['start_indices'], equation.params['limit_indices']
    steps = equation.params['strides'] or (1,) * len(starts)
    cut = [i for i in range(len(starts)) if (starts[i], limits[i], steps[i]) != (0, x.shape[i], 1)]
    if not cut:
        return [x.data]
    axes, by = (graph.constant(np.array(found, np.int64)) for found in (cut, [steps[i] for i in cut]))
    ends = graph.sizes([starts[i] for i in cut]), graph.sizes([limits[i] for i in cut])
    return [graph.node('Slice', x.data, *ends, axes, by)]


def _gather(graph: Any, equation: Any, x: Any, indices: Any) -> list[str]:
    # Of images of unknown size, JAX takes `x[:, 1]` with a gather of one slice.
    numbers, sizes = equation.params['dimension_numbers'], equation.params['slice_sizes']
    axes = numbers.start_index_map
    rest = all(sizes[i] == x.shape[i] for i in range(len(sizes)) if i not in axes)
    if not (indices.known and indices.data.ndim == 1 and rest):
        raise UserError('The network takes elements by number (gather), which is not converted to ONNX; use stablehlo.')
    starts = [int(i) for i in indices.data]
    ends = graph.sizes([start + sizes[axis] for start, axis in zip(starts, axes, strict=True)])
    where = graph.constant(np.array(axes, np.int64))
    found = graph.node('Slice', graph.name(x), graph.sizes(starts), ends, where)
    return [graph.reshaped(found, equation.outvars[0].aval.shape)]


def _pad(graph: Any, equation: Any, x: Any, filling: Any) -> list[str]:
    config = equation.params['padding_config']
    if any(low < 0 or high < 0 or between for low, high, between in config):
        raise UserError(f'The network pads by {config}, which is not converted to ONNX; use stablehlo.')
    amounts = np.array([[low for low, _, _ in config], [high for _, high, _ in config]], np.int64).reshape(-1)
    return [graph.node('Pad', graph.name(x), graph.constant(amounts), graph.name(filling))]


def _reduced(operation: str) -> Rule:
    def rule(graph: Any, equation: Any, x: Any) -> list[str]:
        axes = list(equation.params['axes'])
        if operation == 'ReduceSum':
            return [graph.node(operation, x.data, graph.constant(np.array(axes, np.int64)), keepdims=0)]
        return [graph.node(operation, x.data, axes=axes, keepdims=0)]

    return rule


def _products(graph: Any, equation: Any, a: Any, b: Any) -> list[str]:
    (contracted, batch), letters = equation.params['dimension_numbers'], iter(string.ascii_lowercase)
    left = [next(letters) for _ in a.shape]
    right = [''] * len(b.shape)
    for pair in (contracted, batch):
        for i, j in zip(*pair, strict=True):
            right[j] = left[i]
    right = [letter or next(letters) for letter in right]
    kept = [left[i] for i in batch[0]]
    kept += [x for i, x in enumerate(left) if i not in (*contracted[0], *batch[0])]
    kept += [x for i, x in enumerate(right) if i not in (*contracted[1], *batch[1])]
    formula = f'{"".join(left)},{"".join(right)}->{"".join(kept)}'
    return [graph.node('Einsum', graph.name(a), graph.name(b), equation=formula)]


def _pads(padding: Any) -> list[int]:
    return [int(low) for low, _ in padding] + [int(high) for _, high in padding]


def _convolution(graph: Any, equation: Any, x: Any, kernel: Any) -> list[str]:
    p = equation.params
    numbers, groups = p['dimension_numbers'], p['feature_group_count']
    image, weights = graph.transposed(x, numbers.lhs_spec), np.transpose(_array(kernel), numbers.rhs_spec)
    common = {'kernel_shape': list(weights.shape[2:]), 'dilations': list(p['rhs_dilation']), 'group': groups}
    if math.prod(p['lhs_dilation']) == 1:
        options = {'strides': list(p['window_strides']), 'pads': _pads(p['padding'])}
        found = graph.node('Conv', image, graph.constant(weights), **options, **common)
    else:
        # The image with zeros between its pixels, convolved: a transposed convolution with the mirrored kernel.
        reach = [dilation * (size - 1) for dilation, size in zip(p['rhs_dilation'], weights.shape[2:], strict=True)]
        pads = _pads([(r - low, r - high) for r, (low, high) in zip(reach, p['padding'], strict=True)])
        if groups != 1 or math.prod(p['window_strides']) != 1 or min(pads) < 0:
            raise UserError('The network has a transposed convolution that is not converted to ONNX; use stablehlo.')
        mirrored = np.flip(weights, tuple(range(2, weights.ndim))).swapaxes(0, 1)
        options = {'strides': list(p['lhs_dilation']), 'pads': pads}
        found = graph.node('ConvTranspose', image, graph.constant(mirrored), **options, **common)
    return [_back(graph, found, numbers.out_spec)]


def _array(kernel: Any) -> Any:
    if not kernel.known:
        raise UserError('The network computes the kernel of a convolution from the image; use stablehlo.')
    return kernel.data


def _back(graph: Any, name: str, spec: Any) -> str:
    order = [int(i) for i in np.argsort(spec)]
    return name if order == sorted(order) else graph.node('Transpose', name, perm=order)


def _pooling(graph: Any, equation: Any, x: Any) -> list[str]:
    p, spec = equation.params, (0, 3, 1, 2)
    window, strides, padding = p['window_dimensions'], p['window_strides'], p['padding']
    dilated = math.prod(p['base_dilation']) * math.prod(p['window_dilation']) != 1
    if len(window) != 4 or dilated or (window[0], window[3], strides[0], strides[3]) != (1, 1, 1, 1):
        raise UserError(f'The network pools windows of {window}, which is not converted to ONNX; use stablehlo.')
    found = graph.node(
        'MaxPool',
        graph.transposed(x, spec),
        kernel_shape=list(window[1:3]),
        strides=list(strides[1:3]),
        pads=_pads(padding[1:3]),
    )
    return [_back(graph, found, spec)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(('reshape', 'squeeze', 'expand_dims'), _reshape),
    **{f'reduce_{name}': _reduced(f'Reduce{name.capitalize()}') for name in ('max', 'min', 'sum', 'prod')},
    'concatenate': _concatenate,
    'conv_general_dilated': _convolution,
    'dot_general': _products,
    'gather': _gather,
    'pad': _pad,
    'reduce_window_max': _pooling,
    'slice': _slice,
    'split': _split,
    'stack': _stack,
    'transpose': _transpose,
}
"""The others: (graph, equation, *values) → names. At least one value is unknown; all have their full shape."""
