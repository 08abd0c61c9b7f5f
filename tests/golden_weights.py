"""Weights of the golden numbers: every tensor of a reference checkpoint comes from its name (papers.md D)."""

import json
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / 'golden'


def tensor(tag: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor called `name` in the model `tag`."""
    rng = np.random.default_rng([zlib.crc32(f'{tag}/{name}'.encode()), 0])
    if name.endswith('num_batches_tracked'):
        return np.zeros(shape, np.float32)
    if name.endswith('running_var') or (len(shape) == 1 and name.endswith('weight')):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith('running_mean'):
        values = 0.1 * rng.standard_normal(shape)
    elif name.endswith('bias') or len(shape) == 1:
        values = 0.05 * rng.standard_normal(shape)
    elif name.startswith('cs_unit'):
        values = rng.uniform(0.1, 0.6, shape)
    else:
        values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return values.astype(np.float32)


def state_dict(tag: str, model: str = 'kd4mtl_segnet') -> dict[str, np.ndarray]:
    """The whole checkpoint of `model` under the tag `tag`."""
    return {name: tensor(tag, name, shape) for name, shape in shapes(model).items()}


def shapes(model: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of `model`."""
    found = json.loads((FOLDER / f'{model}.state_dict.json').read_text())
    return {name: tuple(shape) for name, shape in found.items()}


def arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of a golden file."""
    with np.load(FOLDER / f'{name}.npz') as file:
        return {key: file[key] for key in file.files}
