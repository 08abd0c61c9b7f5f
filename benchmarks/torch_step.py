"""The KD-MTL step, and that of plain multi-task learning, in PyTorch: what benchmarks/step.py compares with.

Written as PyTorch's users do: eager modules, [b c h w], teachers in evaluation mode without gradients, Adam for the
network and Adam for the adaptors. It leaves out what does not change the result: the teachers' heads. Modules are
called as ours, so that our variables can be copied. Every image must have a labelled pixel for every task.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from flax.traverse_util import flatten_dict
from torch import Tensor, nn

from mtkd_jax.distill import NORM_EPSILON
from mtkd_jax.models import SegNet as Ours
from mtkd_jax.types import Batch, UserError

NAMES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
"""Our name of an array → PyTorch's."""


def named(**layers: nn.Module) -> nn.Sequential:
    """A sequence whose layers have names."""
    return nn.Sequential(OrderedDict(layers))


def block(inside: int, outside: int, convs: int) -> nn.Sequential:
    """`convs` times conv3×3, batch normalisation, ReLU."""
    layers: dict[str, nn.Module] = {}
    for i in range(convs):
        layers[f'conv_{i}'] = nn.Conv2d(outside if i else inside, outside, 3, padding=1)
        layers[f'norm_{i}'] = nn.BatchNorm2d(outside)
        layers[f'relu_{i}'] = nn.ReLU(inplace=True)
    return named(**layers)


class SegNet(nn.Module):
    """Encoder, decoder, and a head for every task of `channels`."""

    def __init__(self, channels: Mapping[str, int], widths: Sequence[int]) -> None:
        super().__init__()
        self.channels = dict(channels)
        inside, mirrored = (3, *widths[:-1]), (widths[0], *widths[:-1])
        for i, convs in enumerate(Ours.CONVS):
            self.add_module(f'encoder_{i}', block(inside[i], widths[i], convs))
            self.add_module(f'decoder_{i}', block(widths[i], mirrored[i], convs))
        for task, count in channels.items():
            head = named(conv=nn.Conv2d(widths[0], widths[0], 3, padding=1), out=nn.Conv2d(widths[0], count, 1))
            self.add_module(f'head_{task}', head)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The feature maps `mid` and `last` of images."""
        blocks, indices = range(len(Ours.CONVS)), []
        for i in blocks:
            x, index = F.max_pool2d(self.get_submodule(f'encoder_{i}')(x), 2, return_indices=True)
            indices.append(index)
        mid = x
        for i in reversed(blocks):
            x = self.get_submodule(f'decoder_{i}')(F.max_unpool2d(x, indices[i], 2))
        return {'mid': mid, 'last': x}

    def forward(self, image: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(raw predictions by task, feature maps)."""
        features = self.features(image)
        return {task: self.get_submodule(f'head_{task}')(features['last']) for task in self.channels}, features


class Losses(nn.Module):
    """Everything that a step computes before its gradient.

    Attributes:
        network: what is trained.
        teachers: by task; empty in plain multi-task learning.
        adaptors: `<task>_<point>` → 1×1 convolution.
    """

    def __init__(self, channels: Mapping[str, int], widths: Sequence[int], points: Sequence[str], half: bool) -> None:
        super().__init__()
        self.points, self.half = points, half
        self.network = SegNet(channels, widths)
        taught = channels.items() if points else ()
        self.teachers = nn.ModuleDict({task: SegNet({task: count}, widths) for task, count in taught})
        width = {'mid': widths[-1], 'last': widths[0]}
        self.adaptors = nn.ModuleDict(
            {f'{t}_{p}': nn.Conv2d(width[p], width[p], 1, bias=False) for t in self.teachers for p in points}
        )

    def train(self, mode: bool = True) -> 'Losses':
        """Teachers stay in evaluation mode."""
        super().train(mode)
        self.teachers.eval().requires_grad_(False)
        return self

    def forward(self, image: Tensor, targets: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """`loss/<task>` and `distillation/<task>`; `targets`: task → (values [b c h w], mask [b h w])."""
        pairs = {}
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.half):
            predictions, own = self.network(image)
            for task, teacher in self.teachers.items():
                with torch.no_grad():
                    taught = teacher.features(image)
                pairs[task] = [(self.adaptors[f'{task}_{p}'](own[p]), taught[p]) for p in self.points]
        found = {f'loss/{t}': LOSS[t](predictions[t].float(), *targets[t]) for t in predictions}
        for task, of_task in pairs.items():
            found[f'distillation/{task}'] = sum(apart(a.float(), b.float()) for a, b in of_task)
        return found


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of [b h w] where `mask` is true."""
    return torch.where(mask, values, 0.0).sum() / mask.sum()


LOSS = {
    'segmentation': lambda raw, target, mask: F.cross_entropy(raw, target[:, 0], ignore_index=-1),
    'depth': lambda raw, target, mask: mean((raw - target).abs()[:, 0], mask),
    'normals': lambda raw, target, mask: mean(1 - (F.normalize(raw) * target).sum(1), mask),
}


def apart(own: Tensor, taught: Tensor) -> Tensor:
    """The squared distance of features that are normalised over channels, averaged over positions."""
    a, b = (x / (x.square().sum(1, keepdim=True) + NORM_EPSILON).sqrt() for x in (own, taught))
    return (a - b).square().sum(1).mean()


def load(module: nn.Module, variables: Mapping[str, Any]) -> None:
    """Copies our variables (params and batch_stats) into a module whose parts have the same names."""
    state = {}
    for collection in ('params', 'batch_stats'):
        for path, array in flatten_dict(variables.get(collection, {})).items():
            array = np.array(array)
            if path[-1] == 'kernel':
                array = array.transpose(3, 2, 0, 1)
            state['.'.join((*path[:-1], NAMES[path[-1]]))] = torch.from_numpy(array.copy())
    kept = {name: value for name, value in module.state_dict().items() if name.endswith('num_batches_tracked')}
    module.load_state_dict({**kept, **state})


class Step:
    """The training step, with our weights."""

    def __init__(
        self,
        variables: Mapping[str, Any],
        frozen: Mapping[str, Any],
        batch: Batch,
        *,
        distillation: Mapping[str, Any] | None,
        widths: Sequence[int],
        rate: float,
        how: str,
        threads: int,
        device: str,
        half: bool,
        tf32: bool,
    ) -> None:
        """`distillation`: the settings of `kd_mtl`, or None: there is none. `half`: autocast to bfloat16."""
        if device == 'cuda' and not torch.cuda.is_available():
            raise UserError('JAX runs on an accelerator that this PyTorch does not see; set JAX_PLATFORMS=cpu.')
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = True  # XLA tries its kernels, too
        self._tf32, self._half, self._cuda = tf32, half, device == 'cuda'
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        points = tuple(distillation['points']) if distillation else ()
        self._weights = distillation['weights'] if distillation else {}
        channels = {task: variables['params']['network'][f'head_{task}']['out']['bias'].size for task in LOSS}
        self._losses = Losses(channels, widths, points, half)
        network = {'params': variables['params']['network'], 'batch_stats': variables['batch_stats']}
        load(self._losses.network, network)
        for task in self._losses.teachers:
            load(self._losses.teachers[task], frozen[task])
        self._layout = torch.contiguous_format if how == 'torch' else torch.channels_last
        self._device = device
        self.take(tensor(batch.image), {t: (tensor(x.value), tensor(x.mask)[:, 0]) for t, x in batch.targets.items()})
        if distillation:
            load(self._losses.adaptors, {'params': variables['params']['adaptors']})
        self._losses.to(device, memory_format=self._layout).train()
        self._optimizers = [torch.optim.Adam(self._losses.network.parameters(), rate)]
        if distillation:
            own, l2 = distillation['adaptor_learning_rate'], distillation['adaptor_l2']
            self._optimizers.append(torch.optim.Adam(self._losses.adaptors.parameters(), own, weight_decay=l2))
        self._compute = torch.compile(self._losses) if how == 'torch_compile' else self._losses

    def take(self, image: Tensor, targets: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """The batch of the next steps, sent to the device; `targets`: task → (values [b c h w], mask [b h w])."""
        self._image = image.to(self._device, memory_format=self._layout)
        self._targets = {t: (value.to(self._device), mask.to(self._device)) for t, (value, mask) in targets.items()}
        value, mask = self._targets['segmentation']
        self._targets['segmentation'] = (value.long(), mask)

    def _backward(self, compute: Any) -> dict[str, Tensor]:
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        found = compute(self._image, self._targets)
        parts = [found[f'loss/{task}'] for task in LOSS]
        parts += [weight * found[f'distillation/{task}'] for task, weight in self._weights.items()]
        sum(parts).backward()
        return found

    def run(self) -> dict[str, Tensor]:
        """One step, its losses; returns when the device has finished it."""
        allow_tf32(self._tf32)
        found = self._backward(self._compute)
        for optimizer in self._optimizers:
            optimizer.step()
        if self._cuda:
            torch.cuda.synchronize()
        return found

    def exactly(self) -> dict[str, float]:
        """Losses and `gradient_norm` of the weights as they are, in float32 with full precision; nothing is updated."""
        allow_tf32(False)
        self._losses.half = False
        # Not compiled: for other types and another precision, all would be compiled again.
        found = self._backward(self._losses)
        self._losses.half = self._half
        gradients = [p.grad for p in self._losses.parameters() if p.grad is not None]
        found['gradient_norm'] = torch.nn.utils.get_total_norm(gradients)
        return {name: value.item() for name, value in found.items()}

    def facts(self) -> dict[str, Any]:
        """What the results say of this side; memory on a GPU only."""
        peak = torch.cuda.max_memory_allocated() / 2**30 if self._cuda else None
        return {
            'torch': torch.__version__,
            'torch_tf32': self._tf32 if self._cuda else None,
            'torch_threads': torch.get_num_threads(),
            'other_peak_memory_gib': peak and round(peak, 2),
        }


def tensor(array: Any) -> Tensor:
    """[b h w c] as [b c h w]."""
    return torch.from_numpy(np.array(array)).permute(0, 3, 1, 2).contiguous()


def allow_tf32(allowed: bool) -> None:
    """In matrix products and in convolutions, on a GPU."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
