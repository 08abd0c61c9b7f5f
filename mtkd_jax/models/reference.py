"""Published reference checkpoints: which of their tensors is which of our variables.

A reference checkpoint is a mapping from PyTorch names to arrays (kernels OIHW). Each backbone's table says where every
tensor goes; tensors that no table entry names are an error, not a shrug.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from mtkd_jax.models.segnet import CONVS
from mtkd_jax.types import UserError

IGNORED = ('num_batches_tracked', 'logsigma', 'logsigma_dist')
HEADS = {'segmentation': 'pred_task1', 'depth': 'pred_task2', 'normals': 'pred_task3'}

Path = tuple[str, ...]


def _conv(reference: str, path: Path) -> Iterator[tuple[str, Path]]:
    yield f'{reference}.weight', ('params', *path, 'kernel')
    yield f'{reference}.bias', ('params', *path, 'bias')


def _norm(reference: str, path: Path) -> Iterator[tuple[str, Path]]:
    yield f'{reference}.weight', ('params', *path, 'scale')
    yield f'{reference}.bias', ('params', *path, 'bias')
    yield f'{reference}.running_mean', ('batch_stats', *path, 'mean')
    yield f'{reference}.running_var', ('batch_stats', *path, 'var')


def segnet_table(tasks: Sequence[str]) -> dict[str, Path]:
    """Reference name → our path for `kd4mtl_segnet` (a trunk and the heads of `tasks`)."""
    table: dict[str, Path] = {}
    for side, first, rest in (
        ('encoder', 'encoder_block', 'conv_block_enc'),
        ('decoder', 'decoder_block', 'conv_block_dec'),
    ):
        for block, convs in enumerate(CONVS):
            for i in range(convs):
                # The reference nests a further level only where a block has more than two convolutions.
                inner = f'{rest}.{block}' if convs == 2 else f'{rest}.{block}.{i - 1}'
                reference = f'{first}.{block}' if i == 0 else inner
                table.update(_conv(f'{reference}.0', (f'{side}_{block}', f'conv_{i}')))
                table.update(_norm(f'{reference}.1', (f'{side}_{block}', f'norm_{i}')))
    for task in tasks:
        table.update(_conv(f'{HEADS[task]}.0', (f'head_{task}', 'conv')))
        table.update(_conv(f'{HEADS[task]}.1', (f'head_{task}', 'out')))
    return table


def from_reference(state: Mapping[str, np.ndarray], table: Mapping[str, Path]) -> dict[str, Any]:
    """Our variables from a reference checkpoint.

    Raises:
        UserError: a tensor is missing, or one is left over that is neither known to be unused nor another task's head.
    """
    missing = [name for name in table if name not in state]
    other_heads = tuple(f'{head}.' for head in HEADS.values())
    spare = [
        name for name in state if name not in table and not name.endswith(IGNORED) and not name.startswith(other_heads)
    ]
    if missing or spare:
        raise UserError(
            f'The checkpoint does not hold this model: {len(missing)} tensors are missing (first: {missing[:3]}), '
            f'{len(spare)} are unknown (first: {spare[:3]}). Check `--model` and `--tasks`.'
        )
    return unflatten_dict({path: _convert(state[name], path) for name, path in table.items()})


def _convert(tensor: np.ndarray, path: Path) -> np.ndarray:
    array = np.asarray(tensor, np.float32)
    return array.transpose(2, 3, 1, 0) if path[-1] == 'kernel' else array
