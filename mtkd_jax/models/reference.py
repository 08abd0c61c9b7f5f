"""Published reference checkpoints: which of their tensors is which of our variables.

A reference checkpoint is a mapping from PyTorch names to arrays (kernels OIHW). Each backbone's table says where every
tensor goes; a tensor that no entry names is an error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from mtkd_jax.models.segnet import SegNet, SplitDeep
from mtkd_jax.types import UserError

IGNORED = ('num_batches_tracked', 'logsigma', 'logsigma_dist')
HEADS = {'segmentation': 'pred_task1', 'depth': 'pred_task2', 'normals': 'pred_task3'}
SIDES = (('encoder', 'enc'), ('decoder', 'dec'))

Path = tuple[str, ...]
Table = dict[str, Path]


def _conv(reference: str, path: Path) -> Iterator[tuple[str, Path]]:
    yield f'{reference}.weight', ('params', *path, 'kernel')
    yield f'{reference}.bias', ('params', *path, 'bias')


def _norm(reference: str, path: Path) -> Iterator[tuple[str, Path]]:
    yield f'{reference}.weight', ('params', *path, 'scale')
    yield f'{reference}.bias', ('params', *path, 'bias')
    yield f'{reference}.running_mean', ('batch_stats', *path, 'mean')
    yield f'{reference}.running_var', ('batch_stats', *path, 'var')


def _sequence(reference: str, module: str, convs: int, first: int = 0) -> Table:
    """A sequence of (convolution, batch norm, activation) → our `conv_<i>` and `norm_<i>`, i from `first`."""
    table: Table = {}
    for i in range(convs):
        table.update(_conv(f'{reference}.{3 * i}', (module, f'conv_{first + i}')))
        table.update(_norm(f'{reference}.{3 * i + 1}', (module, f'norm_{first + i}')))
    return table


def _heads(tasks: Sequence[str]) -> Table:
    table: Table = {}
    for task in tasks:
        table.update(_conv(f'{HEADS[task]}.0', (f'head_{task}', 'conv')))
        table.update(_conv(f'{HEADS[task]}.1', (f'head_{task}', 'out')))
    return table


def _layers(side: str, short: str, block: int, layers: int) -> Iterator[str]:
    """Where the reference's SegNet keeps the layers of a block, in order."""
    yield f'{side}_block.{block}'
    for i in range(layers - 1):
        # A further level of names only where a block has more than two layers.
        yield f'conv_block_{short}.{block}' + ('' if layers == 2 else f'.{i}')


def segnet_table(tasks: Sequence[str], convs: int = 1) -> Table:
    """Reference name → our path for a trunk and the heads of `tasks`; `convs`: convolutions in each of its layers."""
    table = _heads(tasks)
    for side, short in SIDES:
        for block, layers in enumerate(SegNet.CONVS):
            for i, reference in enumerate(_layers(side, short, block, layers)):
                table |= _sequence(reference, f'{side}_{block}', convs, first=i * convs)
    return table


def split_deep_table(tasks: Sequence[str]) -> Table:
    """As `segnet_table`, with two convolutions where SegNet has one."""
    return segnet_table(tasks, convs=SplitDeep.CONVS[0] // SegNet.CONVS[0])


def dense_table(tasks: Sequence[str]) -> Table:
    """A trunk, and a tower and a head for each of `tasks`; the trunk's `decoder_block.0` is read by nothing."""
    table = _heads(tasks)
    for side, _ in SIDES:
        for block, convs in enumerate(SegNet.CONVS):
            if (side, block) != ('decoder', 0):
                table |= _sequence(f'{side}_block.{block}', f'{side}_{block}', convs)
            for task in tasks:
                reference = f'{side}_block_t.{list(HEADS).index(task)}.{block}'
                table |= _sequence(reference, f'{side}_{block}_{task}', convs)
    return table


def cross_stitch_table(tasks: Sequence[str]) -> Table:
    """All towers and their mixes.

    Raises:
        UserError: `tasks` are not the checkpoint's, in the same order: every tower feeds every task.
    """
    if tuple(tasks) != tuple(HEADS):
        raise UserError(
            f'`tasks` is {"+".join(tasks)}; a cross-stitch network mixes all its towers: keep {"+".join(HEADS)}.'
        )
    table = _heads(tasks)
    for side, _ in SIDES:
        table[f'cs_unit_{side}'] = ('params', f'mix_{side}')
        for block, convs in enumerate(SegNet.CONVS):
            for j, task in enumerate(tasks):
                last = (side, block) == ('decoder', 0)
                module = f'{side}_{block}_{task}' if last else f'tower_{j}_{side}_{block}'
                table |= _sequence(f'{side}_block_t.{j}.{block}', module, convs)
    return table


def mtan_table(tasks: Sequence[str]) -> Table:
    """The shared SegNet with the convolutions that pass on, and the masks and the head of each of `tasks`."""
    table = _heads(tasks)
    for side, short in SIDES:
        for block, layers in enumerate(SegNet.CONVS):
            for i, reference in enumerate(_layers(side, short, block, layers)):
                module = f'{side}_{block}_rest' if i else f'{side}_{block}_first'
                table |= _sequence(reference, module, 1, first=max(0, i - 1))
            table |= _sequence(f'{side}_block_att.{block}', f'{side}_pass_{block}', 1)
            for task in tasks:
                reference = f'{side}_att.{list(HEADS).index(task)}.{block}'
                table |= _sequence(reference, f'{side}_attention_{block}_{task}', 2)
    return table


@dataclass(frozen=True)
class Reference:
    """A published model.

    Attributes:
        backbone: what it is called here.
        table: tasks → reference name → our path.
        encoder: the convolution that has the width of encoder block {}.
        unread: prefixes of tensors that the model has and never reads.
    """

    backbone: str
    table: Callable[[Sequence[str]], Table]
    encoder: str = 'encoder_block.{}.0.weight'
    unread: tuple[str, ...] = ()

    def variables(self, state: Mapping[str, np.ndarray], tasks: Sequence[str]) -> dict[str, Any]:
        """Our variables for `tasks`; what belongs to other tasks alone is left out. See `from_reference`."""
        return from_reference(state, self.table(tasks), (*self.table(tuple(HEADS)), *self.unread))

    def widths(self, state: Mapping[str, np.ndarray]) -> list[int]:
        """Channels of the encoder blocks of a checkpoint."""
        return [state[self.encoder.format(i)].shape[0] for i in range(len(SegNet.CONVS))]


REFERENCES = {
    'kd4mtl_segnet': Reference('segnet', segnet_table),
    'kd4mtl_mtan': Reference('mtan', mtan_table),
    'mtan_split_standard': Reference('split_standard', segnet_table),
    'mtan_split_wide': Reference('split_wide', segnet_table),
    'mtan_split_deep': Reference('split_deep', split_deep_table),
    'mtan_dense': Reference('dense', dense_table, unread=('decoder_block.0.',)),
    'mtan_cross_stitch': Reference('cross_stitch', cross_stitch_table, 'encoder_block_t.0.{}.0.weight'),
}


def from_reference(
    state: Mapping[str, np.ndarray], table: Mapping[str, Path], unused: Sequence[str] = ()
) -> dict[str, Any]:
    """Our variables from a reference checkpoint; `unused`: prefixes of tensors that may be left over.

    Raises:
        UserError: a tensor is missing, or one is left over that is neither known to be unused nor another task's head.
    """
    missing = [name for name in table if name not in state]
    known = (*unused, *(f'{head}.' for head in HEADS.values()))
    spare = [name for name in state if name not in table and not name.endswith(IGNORED) and not name.startswith(known)]
    if missing or spare:
        raise UserError(
            f'The checkpoint does not hold this model: {len(missing)} tensors are missing (first: {missing[:3]}), '
            f'{len(spare)} are unknown (first: {spare[:3]}). Check `--model` and `--tasks`.'
        )
    return unflatten_dict({path: _convert(state[name], path) for name, path in table.items()})


def _convert(tensor: np.ndarray, path: Path) -> np.ndarray:
    array = np.asarray(tensor, np.float32)
    return array.transpose(2, 3, 1, 0) if path[-1] == 'kernel' else array
