"""benchmarks/scaling.py: what a step exchanges is what compiled programs show; times and efficiencies by hand."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import scaling
from benchmarks.scaling import Chip, Step
from mtkd_jax import methods, models, weighting
from tests import small

SEGNET = methods.Supervised(models.SegNet(small.TASKS, small.WIDTHS), small.TASKS)


@pytest.mark.parametrize(
    ('method', 'weighter', 'gramian_of', 'expected'),
    [
        (SEGNET, weighting.uniform(), 'parameters', 4769),
        (SEGNET, weighting.mgda(), 'parameters', 13891),
        (SEGNET, weighting.mgda(), 'features', 4778),
        (small.kd_mtl(), weighting.mgda(), 'parameters', 1767),
    ],
)
def test_a_step_exchanges_what_its_program_does(method, weighter, gramian_of, expected):
    """As `benchmarks.collectives` counted the numbers in programs compiled for four devices, scalars left out."""
    variables = jax.eval_shape(method.init, jax.random.key(0), jnp.zeros((1, *small.SIZE, 3)))
    assert scaling.exchanged(method, variables, weighter, gramian_of) == expected


def test_an_all_reduce_by_hand():
    pod, gpu = Chip('pod', 1.0, 4.0, 16, mesh=True), Chip('gpu', 1.0, 4.0, 8, network=1.0)
    assert pod.seconds(1, 100) == gpu.seconds(1, 100) == 0
    assert pod.seconds(4, 100) == pytest.approx(2 * 100 * 3 / 4 / 2)  # half of the links
    assert pod.seconds(16, 100) == pytest.approx(2 * 100 * 15 / 16 / 4)
    # Within the node; then an eighth of the bytes over the network, between two nodes.
    assert gpu.seconds(16, 100) == pytest.approx(2 * 100 * 7 / 8 / 4 + 2 * 100 / 8 * 1 / 2)


def test_efficiency_by_hand():
    step = Step(parameters=0, exchanged=25, waits=4, operations=80.0, images=8)
    chip = Chip('gpu', 20.0, 4.0, 8)
    # 40 operations at half the peak; 100 bytes, half of them twice over the links; 4 waits of 0.25 s.
    assert step.efficiency(chip, 2, 4, 0.5, 0.25) == pytest.approx(4 / (4 + 25 + 1))
    assert step.efficiency(chip, 1, 4, 0.5, 0.25) == 1
