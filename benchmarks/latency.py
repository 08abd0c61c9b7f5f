"""Size and latency of a self-distilled network's teacher and student: XLA, and onnxruntime in float32 and in 8 bits.

    python -m benchmarks.latency [--size=288x384] [--widths=64,128,256,512,1024] [--student_widths=256,128,64,32]
        [--steps=50]

The network is that of the recipe `nyuv2:method=sd_mtcnn` (`segnet_sd`; segmentation, depth, normals), with random
weights: time and size do not depend on what was learnt. One image at a time, of a fixed size. Programs are those of
`python -m mtkd_jax.export --size --batch=1`, with `--int8` calibrated on random images, in onnxruntime's own settings;
XLA runs the jitted network. The float32 program is compared with the network before anything is timed.

All sides take turns, in five rounds, so that other work of the machine slows all of them; an idle machine is needed all
the same, and the load before and after is printed. Prints one JSON object, and below it a Markdown table: network,
runtime, parameters, size of the file in MB (10⁶ bytes), median and quartiles in ms, and the teacher's median in the
same runtime ÷ this one: above 1 it is faster than the teacher.
"""

import importlib.metadata
import json
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks.ours import configured, parse_widths, random_network
from benchmarks.timing import cores, in_turns
from mtkd_jax import command
from mtkd_jax.experiment.plans import plans
from mtkd_jax.exporting import programs
from mtkd_jax.reporting.tables import markdown
from mtkd_jax.training import machine
from mtkd_jax.types import STUDENT, TEACHER, UserError

SIZE = flags.DEFINE_string('size', '288x384', 'Height x width of the image.', allow_override=True)
WIDTHS = flags.DEFINE_list(
    'widths', [], "Channels of the teacher's blocks; the paper's by default.", allow_override=True
)
STUDENT_WIDTHS = flags.DEFINE_list(
    'student_widths', [], "Channels of the student's decoder; the paper's by default.", allow_override=True
)
STEPS = flags.DEFINE_integer('steps', 50, 'Timed images of each side.', allow_override=True)
CALIBRATION = 4  # random images
XLA, FLOAT32, INT8 = 'XLA', 'onnxruntime float32', 'onnxruntime int8'


@dataclass(frozen=True)
class Side:
    """A network in a runtime: what runs it once, its parameters, and the bytes of its file."""

    network: str
    runtime: str
    run: Callable[[], Any]
    parameters: int
    size: int | None


def sides(branch: str, method: Any, variables: Any, size: tuple[int, int]) -> Iterator[Side]:
    """One branch in all runtimes."""
    # An extra, which nothing else here needs.
    try:
        from mtkd_jax.exporting import int8
    except ImportError as error:
        raise UserError(f'onnxruntime is needed ({error}): pip install "mtkd_jax[onnx]".') from error

    network = method.network.clone(branches=(branch,))
    found = programs.outputs(method.tasks, (branch,))
    names, predict = [output.name for output in found], programs.function(network, variables, found)
    shape = jax.ShapeDtypeStruct((1, *size, 3), np.float32)
    own = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), shape)
    parameters = sum(x.size for x in jax.tree.leaves(own['params']))
    random = np.random.default_rng(0)
    image = random.uniform(size=shape.shape).astype(np.float32)

    plain = programs.onnx(predict, (1, *size), network.STRIDE, names, {})
    programs.differences(predict, plain, [shape.shape])
    calibration = (random.uniform(size=shape.shape).astype(np.float32) for _ in range(CALIBRATION))
    small = programs.runnable(int8.quantised(plain.content, calibration), names)
    jitted = jax.jit(predict)
    yield Side(branch, XLA, lambda: jax.device_get(jitted(image)), parameters, None)
    yield Side(branch, FLOAT32, lambda: plain.call(image), parameters, len(plain.content))
    yield Side(branch, INT8, lambda: small.call(image), parameters, len(small.content))


def rows(made: Sequence[Side], seconds: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """What was measured of each side."""
    teachers = {
        side.runtime: statistics.median(found)
        for side, found in zip(made, seconds, strict=True)
        if side.network == TEACHER
    }
    return [
        {
            'network': side.network,
            'runtime': side.runtime,
            'parameters': side.parameters,
            'megabytes': None if side.size is None else round(side.size / 1e6, 2),
            'milliseconds': round(1e3 * statistics.median(found), 3),
            'quartiles': [round(1e3 * q, 3) for q in (np.quantile(found, 0.25), np.quantile(found, 0.75))],
            'ratio': round(teachers[side.runtime] / statistics.median(found), 2),
        }
        for side, found in zip(made, seconds, strict=True)
    ]


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    heads = ['network', 'runtime', 'parameters', 'file (MB)', 'median (ms)', 'quartiles (ms)', 'teacher ÷ this']
    body = [
        [
            row['network'],
            row['runtime'],
            f'{row["parameters"]:,}',
            '–' if row['megabytes'] is None else f'{row["megabytes"]:.1f}',
            f'{row["milliseconds"]:.1f}',
            ' to '.join(f'{q:.1f}' for q in row['quartiles']),
            f'{row["ratio"]:.2f}',
        ]
        for row in found
    ]
    return markdown(heads, body)


def main() -> None:
    """Measures, then prints."""
    size, widths = command.parse_size(SIZE.value), parse_widths(WIDTHS.value)
    student = parse_widths(STUDENT_WIDTHS.value, 'student_widths')
    if STEPS.value < 1:
        raise UserError(f'`steps` is {STEPS.value}; it must be at least 1.')
    config = configured('sd_mtcnn', size, 1, 'float32', widths=widths, student_widths=student)
    method = plans(config)[-1].method
    variables = random_network(method, (1, *size, 3), 0)
    load = [os.getloadavg()[0]]
    made = [side for branch in (TEACHER, STUDENT) for side in sides(branch, method, variables, size)]
    found = rows(made, in_turns(made, STEPS.value))
    load.append(os.getloadavg()[0])
    about = {
        'size': list(size),
        'widths': list(config.widths),
        'student_widths': list(config.method_settings.student_widths),
        'weights': 'random',
        'batch': 1,
        'steps': STEPS.value,
        'processor': machine.describe()['processor'],
        'cores': cores(),
        'load_before_and_after': [round(x, 2) for x in load],
        'versions': {name: importlib.metadata.version(name) for name in ('jax', 'onnx', 'onnxruntime', 'mtkd_jax')},
    }
    print(json.dumps({**about, 'rows': found}))
    print(table(found))


if __name__ == '__main__':
    command.start(main)
