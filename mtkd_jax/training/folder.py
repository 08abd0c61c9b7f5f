"""Model folders: `model.json` (what the network is) beside `weights.npz` (its variables, by path).

Written by training and by `convert`; read by `evaluate`, `predict` and as teachers.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mtkd_jax.files import checksums, content_checksum, read_json, read_npz, write_json, write_npz
from mtkd_jax.training import processes, sharding
from mtkd_jax.types import UserError

FORMAT = 3
"""Of model folders; the first with checksums. Formats 1 and 2 are also read, and converted to this one."""


def save_model(folder: Path, spec: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """Writes a model folder. `spec` must be JSON; `variables` are the bare network's (`params`, `batch_stats`).

    Each file is complete or absent, and `model.json` is written last: a folder that has it is whole. Of several
    processes, all must ask, and the first one writes.
    """
    whole = sharding.fetched(dict(variables))
    if not processes.first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'model.json').unlink(missing_ok=True)
    flat = {'/'.join(path): _plain(x) for path, x in flatten_dict(whole).items()}
    write_npz(folder / 'weights.npz', flat)
    content = {**spec, 'format': FORMAT, 'arrays': checksums(flat)}
    write_json(folder / 'model.json', {**content, 'checksum': content_checksum(content)})


def _plain(x: Any) -> np.ndarray:
    """`x` in a type that `.npz` files have: bfloat16 as float32, which loses nothing."""
    array = np.asarray(x)
    return array.astype(np.float32) if array.dtype.kind == 'V' else array


def load_model(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(spec, variables) of a model folder.

    Raises:
        UserError: it is not a model folder, is damaged, has NaN among its weights, or was written by a newer format.
    """
    file = folder / 'model.json'
    if not file.is_file():
        raise UserError(
            f'{folder} is no model folder: it has no model.json. Give a folder written by training '
            '(WORKDIR/stages/STAGE/model) or by `python -m mtkd_jax.convert`.'
        )
    spec = read_json(file, 'write the model folder again')
    if spec.get('format') not in (1, 2, FORMAT):
        raise UserError(f'{file} has format {spec.get("format")!r}; this version reads 1 to {FORMAT}. Update mtkd_jax.')
    written, expected = spec.pop('checksum', None), spec.get('arrays', {})
    if spec['format'] == FORMAT and written != content_checksum(spec):
        raise UserError(f'{file} is not what was written (its checksum differs); write the model folder again.')
    spec.pop('arrays', None)
    needed = ('backbone', 'tasks', 'compute_dtype', 'data', *(('classes',) if spec['format'] == 1 else ('network',)))
    lacking = [name for name in needed if name not in spec]
    if lacking:
        raise UserError(f'{file} lacks `{"`, `".join(lacking)}`; write the model folder again.')
    if spec['format'] == 1:
        spec = _from_first_format(spec)
    arrays = read_npz(folder / 'weights.npz')
    if spec['format'] == FORMAT:
        _check_written(folder / 'weights.npz', checksums(arrays), expected)
    spec['format'] = FORMAT
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f'{folder / "weights.npz"}: the array {name} has NaN or infinite values; train it again.')
    return spec, unflatten_dict({tuple(name.split('/')): array for name, array in arrays.items()})


def _check_written(file: Path, found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    other = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if other:
        raise UserError(
            f'{file} is not what was written (the checksum of {other[0]} differs); write the model folder again.'
        )


def _from_first_format(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The same in format 2: options of the network in `network`, all that data sets read in `data`."""
    known = {'branches': 'branches', 'attention': 'attention', 'student_widths': 'student_widths'}
    known |= {'renormalise_normals': 'renormalise'}
    moved = ('format', 'classes', 'depth_maximum', *known)
    return {
        **{name: value for name, value in spec.items() if name not in moved},
        'format': 2,
        'network': {new: spec[old] for old, new in known.items() if old in spec},
        'data': {'classes': spec['classes'], 'depth_maximum': spec['depth_maximum'], **spec['data']},
    }


def weights_digest(folder: Path) -> str:
    """Identifies the weights of a model folder: the SHA-256 of their names and values."""
    digest = hashlib.sha256()
    for name, array in sorted(read_npz(folder / 'weights.npz').items()):
        digest.update(f'{name} {array.dtype} {array.shape}'.encode() + array.tobytes())
    return f'sha256:{digest.hexdigest()}'
