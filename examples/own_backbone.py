"""A backbone of one's own, named in a recipe by its module. Every method and weighting runs on it."""

import json
import tempfile
from pathlib import Path
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
        config.data.update(data_dir=folder, height=16, width=24, train_images=16, test_images=4)
        config.update(widths=(8,), epochs=20, devices=1, log_every_steps=10, panel_images=0, learning_rate=1e-2)
        mt.run(config, f'{folder}/run')
        lines = Path(f'{folder}/run/stages/mgda/metrics.jsonl').read_text().splitlines()
    seen = [record for record in map(json.loads, lines) if record['split'] == 'train']
    print(f'depth: {seen[0]["loss/depth"]:.4f} -> {seen[-1]["loss/depth"]:.4f}')
