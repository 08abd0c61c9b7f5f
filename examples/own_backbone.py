"""A backbone of one's own, named in a recipe by its module. Every method and weighting runs on it."""

import tempfile
from typing import Any

import flax.linen as nn

import mtkd_jax as mt


class Backbone(nn.Module):
    """Two 3×3 convolutions for all tasks, one 1×1 for each."""

    tasks: Any
    widths: tuple[int, ...] = (12,)
    dtype: Any = None

    POINTS, STRIDE, SHARED_FEATURE = ('last',), 1, None

    def own(self, path):
        return next((task.name for task in self.tasks if path[0] == f'head_{task.name}'), None)

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.relu(nn.Conv(self.widths[0], (3, 3), name='first')(image))
        x = nn.relu(nn.Conv(self.widths[0], (3, 3), name='second')(x))
        heads = {t.name: t.activate(nn.Conv(t.channels, (1, 1), name=f'head_{t.name}')(x)) for t in self.tasks}
        return mt.Outputs({'main': heads}, {'last': x})


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        config = mt.get_config('rooms:method=mgda,backbone=own_backbone,tasks=segmentation+depth')
        config.data.update(data_dir=folder, height=16, width=24, train_images=64, test_images=16)
        config.update(widths=(16,), epochs=12, devices=1, panel_images=0, learning_rate=1e-2)
        mt.run(config, f'{folder}/run')
        (row,) = mt.results(f'{folder}/run')
    print(f'error of depth: {row["baseline.depth_rel"]:.4f} -> {row["depth_rel"]:.4f}')
