"""A traced function (a jaxpr) as an ONNX model.

What depends on no input is computed while converting: normalisation constants, merged heads, interpolation matrices.
Repetition along an axis is left to ONNX's own broadcasting wherever the next operation broadcasts.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from onnx import TensorProto, helper, numpy_helper

from mtkd_jax.exporting.primitives import ELEMENTWISE, RULES
from mtkd_jax.types import UserError

OPSET, IR_VERSION = 17, 8
"""Old enough for runtimes on devices, new enough for every operation used here."""

CALLS = ('jit', 'pjit', 'closed_call', 'custom_jvp_call', 'custom_vjp_call', 'checkpoint', 'remat2')
OPERATIONS = {ast.Mult: 'Mul', ast.Add: 'Add', ast.Sub: 'Sub'}


class Value(NamedTuple):
    """An array of the traced function.

    Attributes:
        data: its values where they are known, else the name of a tensor of the graph.
        own: the shape of `data`; 1 along axes on which it is repeated. () for a scalar.
        shape: the shape of the array.
    """

    data: Any
    own: tuple[Any, ...]
    shape: tuple[Any, ...]

    @property
    def known(self) -> bool:
        """Whether it depends on no input."""
        return not isinstance(self.data, str)


def known(array: Any) -> Value:
    """A constant."""
    array = np.asarray(array)
    return Value(array, array.shape, array.shape)


class Graph:
    """Nodes and constants, added one after the other; names are made up."""

    def __init__(self, symbols: Mapping[str, Callable[['Graph'], str]]) -> None:
        """`symbols`: how the graph gives each unknown size, a tensor int64 [1], by its name."""
        self.nodes: list[Any] = []
        self.initializers: dict[tuple[Any, ...], Any] = {}
        self._symbols, self._sizes = symbols, dict[str, str]()

    def node(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output, and gives the output's name."""
        return self.several(operation, 1, *inputs, **attributes)[0]

    def several(self, operation: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Adds a node with several outputs."""
        names = [f'{operation.lower()}_{len(self.nodes)}_{i}' for i in range(outputs)]
        self.nodes.append(helper.make_node(operation, inputs, names, **attributes))
        return names

    def constant(self, array: Any) -> str:
        """The name of a constant; small integers become int32, because few kernels take less."""
        array = np.asarray(array)
        if array.dtype.kind in 'iu' and array.dtype.itemsize < 4:
            array = array.astype(np.int32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.initializers:
            self.initializers[key] = numpy_helper.from_array(array, f'constant_{len(self.initializers)}')
        name: str = self.initializers[key].name
        return name

    def name(self, value: Value) -> str:
        """The name of `value` as it is stored."""
        return self.constant(value.data) if value.known else value.data

    def size(self, dimension: Any) -> str:
        """A size as a tensor int64 [1]: a number, or sums and products of unknown sizes."""
        text = str(dimension)
        if text not in self._sizes:
            self._sizes[text] = self._computed(ast.parse(text, mode='eval').body, text)
        return self._sizes[text]

    def _computed(self, tree: Any, text: str) -> str:
        if isinstance(tree, ast.Constant):
            return self.constant(np.array([tree.value], np.int64))
        if isinstance(tree, ast.Name):
            return self._symbols[tree.id](self)
        if isinstance(tree, ast.BinOp) and type(tree.op) in OPERATIONS:
            sides = self._computed(tree.left, text), self._computed(tree.right, text)
            return self.node(OPERATIONS[type(tree.op)], *sides)
        raise UserError(f'The network has a layer of the size {text}, which ONNX is not told; give --size and --batch.')

    def sizes(self, shape: Sequence[Any]) -> str:
        """A shape as a tensor int64."""
        if all(isinstance(size, int) for size in shape):
            return self.constant(np.array(shape, np.int64))
        return self.node('Concat', *[self.size(size) for size in shape], axis=0)

    def reshaped(self, name: str, shape: Sequence[Any]) -> str:
        """`name` in another shape."""
        unknown = [i for i, size in enumerate(shape) if not isinstance(size, int)]
        wanted = [-1 if [i] == unknown else size for i, size in enumerate(shape)]
        return self.node('Reshape', name, self.sizes(wanted))

    def transposed(self, value: Value, order: Sequence[int]) -> str:
        """The name of `value` with its axes in another order."""
        if value.known:
            return self.constant(np.transpose(value.data, order))
        return value.data if list(order) == sorted(order) else self.node('Transpose', value.data, perm=list(order))

    def whole(self, value: Value) -> Value:
        """`value`, stored with its full shape."""
        if value.own == value.shape:
            return value
        if value.known and all(isinstance(size, int) for size in value.shape):
            return known(np.broadcast_to(value.data, value.shape))
        return Value(self.node('Expand', self.name(value), self.sizes(value.shape)), value.shape, value.shape)

    def run(self, jaxpr: Jaxpr, consts: Sequence[Value], given: Sequence[Value]) -> list[Value]:
        """Adds all that `jaxpr` computes, and gives its results."""
        env: dict[Any, Value] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *given], strict=True))

        def read(variable: Any) -> Value:
            if isinstance(variable, Literal):
                return known(np.asarray(variable.val, getattr(variable.aval, 'dtype', None)))
            return env[variable]

        for equation in jaxpr.eqns:
            values = [read(variable) for variable in equation.invars]
            env.update(zip(equation.outvars, self._results(equation, values), strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _results(self, equation: Any, values: list[Value]) -> list[Value]:
        name, shapes = equation.primitive.name, [variable.aval.shape for variable in equation.outvars]
        if name in CALLS:
            inner = equation.params.get('jaxpr') or equation.params['call_jaxpr']
            consts = [known(x) for x in inner.consts] if isinstance(inner, ClosedJaxpr) else []
            return self.run(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner, consts, values)
        if name == 'broadcast_in_dim':
            return [self._repeated(values[0], equation.params['broadcast_dimensions'], shapes[0])]
        if name in ELEMENTWISE:
            return [self._elementwise(equation, values, shapes[0])]
        values = [self.whole(value) for value in values]
        if all(value.known for value in values) and all(isinstance(size, int) for shape in shapes for size in shape):
            return [known(x) for x in _evaluated(equation, [value.data for value in values])]
        if name not in RULES:
            raise UserError(f'The network uses the operation {name}, which is not converted to ONNX; use stablehlo.')
        return [Value(x, s, s) for x, s in zip(RULES[name](self, equation, *values), shapes, strict=True)]

    def _repeated(self, value: Value, axes: Sequence[int], shape: tuple[Any, ...]) -> Value:
        own: list[Any] = [1] * len(shape)
        for axis, size in zip(axes, value.own, strict=True):
            own[axis] = size
        if value.known:
            return Value(np.reshape(value.data, own), tuple(own), shape)
        same = tuple(own) == value.own
        return Value(value.data if same else self.reshaped(value.data, own), tuple(own), shape)

    def _elementwise(self, equation: Any, values: list[Value], shape: tuple[Any, ...]) -> Value:
        if all(value.known for value in values):
            (found,) = _evaluated(equation, np.broadcast_arrays(*[value.data for value in values]))
            return Value(np.asarray(found), np.shape(found), shape)
        owns = [value.own for value in values if value.own]
        # A size that is not 1 along an axis in one of them is that of the result.
        own = tuple(next((o[i] for o in owns if o[i] != 1), 1) for i in range(len(shape)))
        return Value(ELEMENTWISE[equation.primitive.name](self, equation, *values), own, shape)


def _evaluated(equation: Any, arrays: Sequence[Any]) -> list[Any]:
    found = equation.primitive.bind(*arrays, **equation.params)
    return list(found) if equation.primitive.multiple_results else [found]


def model(
    traced: ClosedJaxpr,
    image: Sequence[int | str],
    multiples: Mapping[str, int],
    outputs: Sequence[str],
    properties: Mapping[str, str],
) -> bytes:
    """A function of one image, traced, as a serialised ONNX model.

    Args:
        traced: image [b h w 3] float32 → as many float32 arrays as there are `outputs`.
        image: the sizes of the input; a name for one that is unknown.
        multiples: sizes that are traced as a multiple of the unknown of that name.
        outputs: their names.
        properties: what the model says of itself, by name.

    Raises:
        UserError: an operation has no counterpart here.
    """

    def symbol(axis: int, multiple: int) -> Callable[[Graph], str]:
        def of(graph: Graph) -> str:
            size = graph.node('Shape', 'image', start=axis, end=axis + 1)
            return size if multiple == 1 else graph.node('Div', size, graph.constant(np.array([multiple], np.int64)))

        return of

    symbols = {size: symbol(i, multiples.get(size, 1)) for i, size in enumerate(image) if isinstance(size, str)}
    graph, shape = Graph(symbols), traced.in_avals[0].shape
    found = graph.run(traced.jaxpr, [known(x) for x in traced.consts], [Value('image', shape, shape)])
    for name, value in zip(outputs, found, strict=True):
        graph.nodes.append(helper.make_node('Identity', [graph.name(graph.whole(value))], [name]))
    called = dict(zip(map(str, shape), image, strict=True))

    def described(name: str, sizes: Sequence[Any]) -> Any:
        dims = [size if isinstance(size, int) else called.get(str(size), str(size)) for size in sizes]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    made = helper.make_graph(
        graph.nodes,
        'mtkd_jax',
        [described('image', shape)],
        [described(name, value.shape) for name, value in zip(outputs, found, strict=True)],
        list(graph.initializers.values()),
    )
    whole = helper.make_model(
        made, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=IR_VERSION, producer_name='mtkd_jax'
    )
    helper.set_model_props(whole, dict(properties))
    onnx.checker.check_model(whole)
    return whole.SerializeToString()
