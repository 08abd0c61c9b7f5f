"""Time, operations and memory of a training step, beside what the device can do and beside PyTorch.

    python -m benchmarks.step --method=kd_mtl [--backbone=segnet] [--widths=64,128,256,512,512] [--size=96x128]
        [--batch=2] [--dtype=float32] [--steps=10] [--points=mid,last] [--remat]
        [--against=torch|torch_channels_last|torch_compile] [--threads=0]

The step is that of the recipe `nyuv2:method=METHOD,backbone=BACKBONE`, on random images with random weights: `kd_mtl`
with three teachers, `sd_mtcnn`, or a weighting such as `uniform` and `mgda`. A step ends when the device has finished
it. Prints one JSON object, and below it a row of a Markdown table: method, backbone, size, batch, type, device, seconds
per step, their range, 10⁹ operations, seconds at least, share of that, peak memory in GiB; with `--against` also what
was compared, its seconds, their range, and the ratio.

- Operations per step are those that XLA counts before it optimises, bytes those of the compiled program.
- `bound_seconds` is the larger of operations ÷ rate of a matrix product and bytes ÷ bandwidth. Both rates are measured
  on the same device, the first in the same type and precision. XLA counts bytes as if nothing stayed in a cache, so
  small steps can be faster than this bound. So can steps on a CPU, where wide convolutions take fewer products than
  are counted (`models/convolution.py`). `share_of_bound` is the bound ÷ the median step.
- Peak memory: of the accelerator, or, on a CPU, of the process with its compiler; before PyTorch is loaded.
  `intermediate_mib`: what XLA sets aside for the intermediate values of a step.

With `--against`, the step in PyTorch (benchmarks/torch_step.py; `kd_mtl` and `uniform` on `segnet`) starts from the
same weights, on the same batch, on the same device. Before anything is timed, both are computed once in float32 with
full precision: every loss must agree to 1e-3, and the norm of the gradient to 5e-2. Then they take turns, in five
rounds, so that other work of the machine slows both. `ratio` is PyTorch's median ÷ ours: above 1 we are faster. On a
GPU, both may use TF32 or neither, as `JAX_DEFAULT_MATMUL_PRECISION` says (JAX's default: both). On a CPU, PyTorch has
as many threads as this process may use cores, or `--threads`; `taskset -c 0` gives both sides one core. Its threads
wait asleep (`OMP_WAIT_POLICY=passive`, unless it is set): spinning, they lose most of their time where other jobs run.
"""

import json
import os
import statistics

import jax
from absl import flags
from ml_collections import ConfigDict

from benchmarks.against import AGAINST, Exact, check_against, compared, in_torch
from benchmarks.ours import Ours, configured, parse_widths
from benchmarks.random_batch import random_batch
from benchmarks.timing import Side, bandwidth, in_turns, matrix_precision, matrix_product_rate, rounded
from mtkd_jax import command
from mtkd_jax.training import device, sharding
from mtkd_jax.types import UserError

METHOD = flags.DEFINE_string(
    'method', 'kd_mtl', 'A method or a weighting, as in a recipe: kd_mtl, sd_mtcnn, uniform, mgda.', allow_override=True
)
BACKBONE = flags.DEFINE_string('backbone', '', "The network; the method's own by default.", allow_override=True)
WIDTHS = flags.DEFINE_list(
    'widths', [], "Channels of the network's blocks; the paper's by default.", allow_override=True
)
SIZE = flags.DEFINE_string('size', '96x128', 'Height x width.', allow_override=True)
BATCH = flags.DEFINE_integer('batch', 2, 'Images per step.', allow_override=True)
DTYPE = flags.DEFINE_enum('dtype', 'float32', ['float32', 'bfloat16'], 'Compute type.', allow_override=True)
CACHED = flags.DEFINE_bool('cached', False, 'Ours reads what teachers say of the images, as with `cache_teachers`.')
REMAT = flags.DEFINE_bool('remat', False, 'Ours computes intermediate values again (`config.remat`).')
THREADS = flags.DEFINE_integer('threads', 0, 'Threads of PyTorch on a CPU; 0: a thread per core.', allow_override=True)
STEPS = flags.DEFINE_integer('steps', 10, 'Timed steps of each side.', allow_override=True)
POINTS = flags.DEFINE_list('points', [], 'Distilled features of kd_mtl; all by default.', allow_override=True)
COMPARED = flags.DEFINE_enum('against', None, AGAINST, 'A step in PyTorch to compare with.', allow_override=True)


def config_of() -> ConfigDict:
    """The config that the flags describe, checked."""
    config = configured(
        METHOD.value,
        command.parse_size(SIZE.value),
        BATCH.value,
        DTYPE.value,
        backbone=BACKBONE.value,
        widths=parse_widths(WIDTHS.value),
        points=POINTS.value,
        remat=REMAT.value,
    )
    if CACHED.value and 'teachers' not in config.method_settings:
        raise UserError(f'--cached is given, but {METHOD.value} has no teachers; leave it out.')
    if STEPS.value < 1:
        raise UserError(f'`steps` is {STEPS.value}; it must be at least 1.')
    if THREADS.value < 0:
        raise UserError(f'`threads` is {THREADS.value}; give a number, or 0 for a thread per core.')
    return config


def measure() -> None:
    """Builds the step, times it, prints."""
    config = config_of()
    if COMPARED.value:
        check_against(METHOD.value, config.backbone)
        # Both sides share an accelerator: ours must not take most of its memory at once.
        os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
        os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    batch = random_batch(config.batch_size, config.data.height, config.data.width)
    mesh = sharding.make_mesh(1)
    ours = Ours(config, batch, CACHED.value)
    ours.run()
    memory = device.peak_memory_bytes(mesh) / 2**30
    sides: list[Side] = [ours]
    if COMPARED.value:
        exact = Exact(config, batch)
        other = in_torch(config, exact, batch, command.value(COMPARED), THREADS.value)
        agreement = compared(exact, other)
        sides.append(other)
    own, *others = in_turns(sides, STEPS.value)
    step = statistics.median(own)
    rate, bytes_per_second = matrix_product_rate(config.compute_dtype), bandwidth()
    bound = max(ours.operations / rate, ours.transferred / bytes_per_second)
    found = {
        'method': METHOD.value,
        'cached_teachers': CACHED.value,
        'backbone': config.backbone,
        'widths': list(config.widths),
        'points': list(config.method_settings.get('points', ())),
        'size': SIZE.value,
        'batch': config.batch_size,
        'dtype': config.compute_dtype,
        'remat': config.remat,
        'device': device.describe(mesh),
        'jax': jax.__version__,
        'jax_matmul_precision': matrix_precision(),
        'steps': STEPS.value,
        'step_seconds': round(step, 6),
        'step_seconds_range': rounded(own),
        'images_per_second': round(config.batch_size / step, 3),
        'compile_seconds': round(ours.compile_seconds, 1),
        'gigaoperations_per_step': round(ours.operations / 1e9, 3),
        'gigabytes_per_step': round(ours.transferred / 1e9, 3),
        'matrix_product_gigaoperations_per_second': round(rate / 1e9, 1),
        'bandwidth_gigabytes_per_second': round(bytes_per_second / 1e9, 1),
        'bound_seconds': round(bound, 6),
        'share_of_bound': round(bound / step, 3),
        'peak_memory_gib': round(memory, 2),
        'intermediate_mib': round(ours.intermediate / 2**20, 1),
    }
    row = [
        METHOD.value,
        config.backbone,
        SIZE.value.replace('x', '×'),
        config.batch_size,
        config.compute_dtype,
        f'{step:.3g}',
        '{:.3g} to {:.3g}'.format(*rounded(own)),
        f'{ours.operations / 1e9:.4g}',
        f'{bound:.3g}',
        f'{100 * bound / step:.0f} %',
        f'{memory:.2g}',
    ]
    if others:
        median = statistics.median(others[0])
        found |= {
            'against': COMPARED.value,
            **other.facts(),
            'other_step_seconds': round(median, 6),
            'other_step_seconds_range': rounded(others[0]),
            'ratio': round(median / step, 3),
            **agreement,
        }
        row += [COMPARED.value, f'{median:.3g}', '{:.3g} to {:.3g}'.format(*rounded(others[0])), f'{median / step:.2f}']
    print(json.dumps(found, indent=1))
    print('|', ' | '.join(map(str, row)), '|')


if __name__ == '__main__':
    command.start(measure)
