"""A network as a function of images alone, as a program in another format, and how far the two are apart."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from mtkd_jax import models
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, UserError, Variables

PLATFORMS = ('cpu', 'cuda', 'tpu')
APART, ROUNDED = 1e-3, 1e-6
"""A program is not the network where its predictions differ by more, on average and relative to theirs.

Positions of maxima jump where two values are nearly equal, so a network that unpools by them may itself change by more
when an image changes by `ROUNDED` of its values; then a program may differ by ten times that.
"""

Sizes = tuple[int | str, int | str, int | str]
"""Batch, height, width of images; a name where any is taken."""

ANY: Sizes = ('batch', 'height', 'width')
Function = Callable[[jax.Array], dict[str, jax.Array]]


class Output(NamedTuple):
    """One prediction of a program: its name, whose it is, of which branch."""

    name: str
    task: Task
    branch: str


class Program(NamedTuple):
    """A program: what is written to a file, and what computes it."""

    content: bytes
    call: Callable[[np.ndarray], Mapping[str, np.ndarray]]


def outputs(tasks: Sequence[Task], branches: Sequence[str]) -> list[Output]:
    """The predictions of a network, named by task; of several branches, by branch/task."""
    alone = len(branches) == 1
    return [Output(t.name if alone or b == MAIN else f'{b}/{t.name}', t, b) for b in branches for t in tasks]


def function(network: nn.Module, variables: Variables, found: Sequence[Output]) -> Function:
    """Images [b h w 3] in [0, 1] → predictions by name, in evaluation mode."""

    variables = jax.device_put(variables)

    def predict(image: jax.Array) -> dict[str, jax.Array]:
        by_branch = models.predict(network, variables, image).predictions
        return {output.name: by_branch[output.branch][output.task.name] for output in found}

    return predict


def image(sizes: Sizes, stride: int) -> jax.ShapeDtypeStruct:
    """Images of `sizes`; unknown heights and widths are multiples of `stride`."""
    batch, *sides = sizes
    text = [str(side) if isinstance(side, int) or stride == 1 else f'{stride}*{side}' for side in sides]
    return jax.ShapeDtypeStruct(export.symbolic_shape(f'{batch}, {text[0]}, {text[1]}, 3'), jnp.float32)


def refusal(predict: Function, sizes: Sizes, stride: int) -> Exception | None:
    """Why the network cannot be traced for images of unknown `sizes`; None where it can."""
    try:
        jax.eval_shape(predict, image(sizes, stride))
    except Exception as error:  # layers that need a number say so in many ways
        return error
    return None


def stablehlo(predict: Function, sizes: Sizes, stride: int) -> Program:
    """A program of `jax.export`, for all of `PLATFORMS`."""
    content = bytes(export.export(jax.jit(predict), platforms=PLATFORMS)(image(sizes, stride)).serialize())
    return Program(content, jax.jit(export.deserialize(bytearray(content)).call))


def onnx(predict: Function, sizes: Sizes, stride: int, names: Sequence[str], said: Mapping[str, str]) -> Program:
    """An ONNX model, with `said` in its metadata.

    Raises:
        UserError: onnx or onnxruntime is not installed, or the network has an operation that is not converted.
    """
    try:
        # An extra, which nothing else needs.
        import onnxruntime  # noqa: F401 - runs it

        from mtkd_jax.exporting import graph
    except ImportError as error:
        raise UserError(f'--format=onnx needs onnx and onnxruntime ({error}): pip install "mtkd_jax[onnx]".') from error
    traced = jax.jit(lambda x: [predict(x)[name] for name in names]).trace(image(sizes, stride)).jaxpr
    content = graph.model(traced, (*sizes, 3), {'height': stride, 'width': stride}, names, said)
    return runnable(content, names)


def runnable(content: bytes, names: Sequence[str]) -> Program:
    """An ONNX model whose outputs have these names."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    return Program(content, lambda x: dict(zip(names, session.run(list(names), {'image': x}), strict=True)))


def differences(predict: Function, program: Program, shapes: Sequence[Sequence[int]]) -> dict[str, dict[str, float]]:
    """The largest difference between a network and its program on random images of `shapes`, by output; and the mean.

    Raises:
        UserError: the two are not the same function, or one gives NaN.
    """
    largest: dict[str, dict[str, float]] = {}
    random, jitted = np.random.default_rng(0), jax.jit(predict)
    for shape in shapes:
        given = random.uniform(size=shape).astype(np.float32)
        expected, found = jax.device_get((jitted(given), program.call(given)))
        moved = jax.device_get(jitted(given * np.float32(1 + ROUNDED)))
        for name, values in expected.items():
            apart = np.abs(values - found[name])
            own = 10 * np.mean(np.abs(values - moved[name]))
            if not np.mean(apart) <= max(APART * np.mean(np.abs(values)), own):
                raise UserError(
                    f'The program differs from the network in {name}, by {np.mean(apart):.3g} on average for images '
                    f'{list(shape)}, so it was not written; export another format.'
                )
            before = largest.get(name, {'largest': 0.0, 'mean': 0.0})
            now = {'largest': float(apart.max()), 'mean': float(np.mean(apart))}
            largest[name] = {key: max(before[key], now[key]) for key in now}
    return largest
