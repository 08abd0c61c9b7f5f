"""Files that are read whole or refused, and written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.types import UserError


def read_npz(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by name.

    Raises:
        UserError: it does not exist, is damaged or no `.npz`, or holds Python objects.
    """
    if not os.path.isfile(file):
        raise UserError(f'{file} does not exist. Check the path.')
    try:
        with file.open('rb') as stream, np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    # Headers are parsed as Python, members are inflated: damage shows in many ways.
    except Exception as error:
        raise UserError(f'{file} is no .npz of arrays ({error}); write it again with numpy.savez.') from error


def read_json(file: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in `file`.

    Raises:
        UserError: it is damaged (half, empty, not UTF-8) or no object; ends with `remedy`, what to do about it.
    """
    try:
        content = json.loads(file.read_bytes().decode())
    except ValueError as error:
        raise UserError(f'{file} is not valid JSON ({error}); {remedy}.') from error
    if not isinstance(content, dict):
        raise UserError(f'{file} is not valid JSON (no object with names); {remedy}.')
    return content


def write_json(file: Path, content: Any) -> None:
    """Writes `content` to `file`, whole or not at all."""
    partial = file.with_name(file.name + '.tmp')
    partial.write_text(json.dumps(content, indent=1) + '\n')
    os.replace(partial, file)


def write_npz(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes `arrays` to `file`, whole or not at all."""
    partial = file.with_name(file.name + '.tmp')
    with partial.open('wb') as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    os.replace(partial, file)
