"""Model folders: `model.json` (what the network is) beside `weights.npz` (its variables, by path).

Written by training and by `convert`; read by `evaluate`, `predict` and as teachers.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mtkd_jax.types import UserError

FORMAT = 1


def save_model(folder: Path, spec: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """Writes a model folder. `spec` must be JSON; `variables` are the bare network's (`params`, `batch_stats`).

    Each file is complete or absent, and `model.json` is written last: a folder that has it is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'model.json').unlink(missing_ok=True)
    flat = {'/'.join(path): np.asarray(x) for path, x in flatten_dict(jax.device_get(dict(variables))).items()}
    with tempfile.NamedTemporaryFile(dir=folder, suffix='.tmp', delete=False) as file:
        np.savez(file, allow_pickle=False, **flat)
    os.replace(file.name, folder / 'weights.npz')
    write_json(folder / 'model.json', {'format': FORMAT, **spec})


def load_model(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(spec, variables) of a model folder.

    Raises:
        UserError: it is not a model folder.
        UserError: it was written by a newer format.
    """
    file = folder / 'model.json'
    if not file.is_file():
        raise UserError(
            f'{folder} is no model folder: it has no model.json. Give a folder written by training '
            '(WORKDIR/stages/STAGE/model) or by `python -m mtkd_jax.convert`.'
        )
    spec = json.loads(file.read_text())
    if spec.get('format') != FORMAT:
        raise UserError(f'{file} has format {spec.get("format")!r}; this version reads {FORMAT}. Update mtkd_jax.')
    with np.load(folder / 'weights.npz') as arrays:
        variables = unflatten_dict({tuple(name.split('/')): arrays[name] for name in arrays.files})
    return spec, variables


def write_json(file: Path, content: Any) -> None:
    """Writes `content` to `file`, whole or not at all."""
    partial = file.with_name(file.name + '.tmp')
    partial.write_text(json.dumps(content, indent=1) + '\n')
    os.replace(partial, file)
