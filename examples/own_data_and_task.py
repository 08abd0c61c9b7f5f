"""A data set and a task of one's own, named in a config by their module: how bright a noisy picture really is."""

import tempfile

import numpy as np

import mtkd_jax as mt
from mtkd_jax.configs import base
from mtkd_jax.tasks.strength import strength

DATA = {'height': 32, 'width': 32}
TASKS = {'depth': mt.tasks.depth(), 'brightness': strength('brightness', 'brightness')}


class Pictures:
    def __init__(self, count, first):
        self.count, self.first = count, first

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        rng = np.random.default_rng(self.first + i)
        brightness = np.kron(rng.uniform(0.2, 0.8, (4, 4)), np.ones((8, 8)))[..., None].astype(np.float32)
        image = np.clip(brightness + rng.normal(0, 0.1, (32, 32, 3)), 0, 1).astype(np.float32)
        return {'image': image, 'brightness': brightness, 'depth': 1 + 4 * brightness}


def sources(data):
    return {'train': Pictures(32, 0), 'test': Pictures(8, 1000)}


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        config = base.get_config('method=mtl', dataset='own_data_and_task')
        config.update(widths=(4, 4, 4, 4, 4), epochs=8, learning_rate=1e-2, panel_images=0)
        mt.run(config, f'{folder}/run')
        (row,) = mt.results(f'{folder}/run')
    print(f'error of brightness: {row["baseline.brightness_abs"]:.4f} -> {row["brightness_abs"]:.4f}')
