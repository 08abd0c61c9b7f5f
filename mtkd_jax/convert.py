"""Turns a published reference checkpoint into a model folder.

    python -m mtkd_jax.convert --model=kd4mtl_segnet --weights=FILE --out=DIR [--tasks=depth]

FILE: `.pth` or `.pth.tar` (extra `torch`; `weights_only=True`), or `.npz` / `.safetensors` holding tensors of the same
names. A single-task checkpoint of the reference has the heads of all tasks, of which one is trained: name it with
`--tasks`. A `mtan_cross_stitch` checkpoint is converted with all its tasks only.
"""

import pickle
from pathlib import Path

import numpy as np
from absl import flags

from mtkd_jax import command
from mtkd_jax.errors import UserError
from mtkd_jax.files import read_npz, write_text
from mtkd_jax.places import place

MODELS = (
    *('kd4mtl_segnet', 'kd4mtl_mtan', 'mtan_split_standard', 'mtan_split_wide', 'mtan_split_deep', 'mtan_dense'),
    'mtan_cross_stitch',
)
"""The names of `models.reference.REFERENCES`, which --help lists without jax."""

MODEL = flags.DEFINE_enum(
    'model',
    'kd4mtl_segnet',
    list(MODELS),
    'Which published model the checkpoint is of.',
    allow_override=True,
)
WEIGHTS = flags.DEFINE_string('weights', None, 'The checkpoint.', allow_override=True)
OUT = flags.DEFINE_string('out', None, 'The model folder to write.', allow_override=True)
TASKS = flags.DEFINE_string(
    'tasks', 'segmentation+depth+normals', 'The tasks whose heads to keep.', allow_override=True
)
DATASET = flags.DEFINE_enum(
    'dataset', 'nyuv2', ['nyuv2'], 'The prepared data set that evaluate reads.', allow_override=True
)
SIZE = flags.DEFINE_string('size', '288x384', 'Height × width of its images.', allow_override=True)


def read_weights(file: Path) -> dict[str, np.ndarray]:
    """Tensors by name, without the prefix that data-parallel training leaves.

    Raises:
        UserError: the file does not exist, is of another kind, or its reader is not installed.
    """
    if not file.is_file():
        raise UserError(f'`weights` is {file}, which does not exist.')
    if file.suffix == '.npz':
        state = read_npz(file)
    elif file.suffix == '.safetensors':
        state = _read_safetensors(file)
    elif file.name.endswith(('.pth', '.pt', '.pth.tar')):
        state = _read_torch(file)
    else:
        raise UserError(f'`weights` is {file}; give a .pth, .pth.tar, .npz or .safetensors file.')
    return {name.removeprefix('module.'): tensor for name, tensor in state.items()}


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise UserError(f'Reading {file} needs safetensors: pip install "mtkd_jax[torch]".') from error
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f'`weights` {file} cannot be read ({error}); download or write it again.') from error


def _read_torch(file: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f'Reading {file} needs PyTorch: pip install "mtkd_jax[torch]"; or save its state dict as .npz elsewhere.'
        ) from error
    try:
        # `weights_only`: a checkpoint from the internet must not run code here.
        loaded = torch.load(file, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f'`weights` {file} holds more than tensors; save its state dict alone.') from error
    state = loaded.get('state_dict', loaded) if isinstance(loaded, dict) else {}
    tensors = {name: value.numpy() for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f'`weights` {file} holds no tensors by name; save a state dict.')
    return tensors


def convert(
    state: dict[str, np.ndarray], tasks: list[str], dataset: str, size: str, out: Path, model: str = 'kd4mtl_segnet'
) -> None:
    """Writes the model folder of a checkpoint of `model`; widths and classes are read off its tensors."""
    # Here, because --help does without jax and what imports it.
    from flax.traverse_util import flatten_dict

    from mtkd_jax import models
    from mtkd_jax.experiment.models import build_tasks, check_fits
    from mtkd_jax.models import reference
    from mtkd_jax.records import CARD
    from mtkd_jax.reporting import card
    from mtkd_jax.training.folder import save_model

    for name in tasks:
        if name not in reference.HEADS:
            raise UserError(f'`tasks` has {name!r}; the checkpoint holds {", ".join(reference.HEADS)}.')
    if len(set(tasks)) < len(tasks):
        raise UserError(f'`tasks` is {"+".join(tasks)}; name each task once.')
    published = reference.REFERENCES[model]
    variables = published.variables(state, tasks)
    height, width = command.parse_size(size)
    if height % models.SegNet.STRIDE or width % models.SegNet.STRIDE:
        raise UserError(f'`size` is {size}; the network needs multiples of {models.SegNet.STRIDE}.')
    classes = state['pred_task1.1.weight'].shape[0] if 'segmentation' in tasks else 13
    spec = {
        'backbone': published.backbone,
        'widths': published.widths(state),
        'network': {},
        'tasks': tasks,
        'compute_dtype': 'float32',
        'data': {'dataset': dataset, 'height': height, 'width': width, 'classes': classes, 'depth_maximum': 10.0},
    }
    check_fits(spec, variables)
    count = sum(x.size for x in flatten_dict(variables['params']).values())
    out.mkdir(parents=True, exist_ok=True)
    # First, because a folder with model.json is whole.
    write_text(out / CARD, card.converted(spec, build_tasks(spec), count, model))
    save_model(out, spec, variables)


def main() -> None:
    """Reads, converts, writes."""
    out = place(command.value(OUT))
    if (out / 'model.json').exists():
        raise UserError(f'`out` is {out}, which already holds a model; choose another folder.')
    state = read_weights(Path(command.value(WEIGHTS)))
    convert(state, TASKS.value.split('+'), DATASET.value, SIZE.value, out, MODEL.value)
    print(f'{MODEL.value} with tasks {TASKS.value}: {out}')


if __name__ == '__main__':
    command.start(main)
