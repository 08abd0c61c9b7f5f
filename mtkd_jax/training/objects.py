"""Checkpoints in an object store: what Orbax needs to be told there, and what it must not do.

A step is a folder of objects, and whole once it has `COMMIT`, which Orbax writes last. It is told how
tensorstore opens a folder. Its paths are `Literal`: others would take `[`, `*` and `?` in a name for a pattern.
"""

import functools
import os
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import jax
from etils.epath.gpath import PosixGPath

from mtkd_jax.places import ADDRESS, Stored, place, remove_folder
from mtkd_jax.types import UserError

COMMIT = 'commit_success.txt'
KEPT = 2


class Literal(PosixGPath):
    """A path in a store as Orbax wants them, in which a name is a name."""

    def glob(self, pattern: str) -> Iterator['Literal']:
        """What matches in this folder."""
        return (Literal(str(path)) for path in place(str(self)).glob(pattern))

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes this object."""
        place(str(self)).unlink(missing_ok)

    def rmtree(self, missing_ok: bool = False) -> None:
        """Removes this folder."""
        remove_folder(place(str(self)))


def steps(folder: Stored) -> list[int]:
    """The steps whose checkpoints are whole."""
    return sorted(int(step.name) for step in folder.glob('*') if step.name.isdecimal() and (step / COMMIT).is_file())


def remove(folder: Stored, step: int) -> None:
    """Removes the checkpoint of `step`; of several processes the first does."""
    if jax.process_index() == 0:
        # First, so that what is left of an interrupted removal is no checkpoint.
        (folder / str(step) / COMMIT).unlink(missing_ok=True)
        remove_folder(folder / str(step))


def tidy(folder: Stored) -> None:
    """Keeps the newest checkpoints, and nothing of those that are not whole."""
    kept = steps(folder)[-KEPT:]
    for step in folder.glob('*'):
        if step.name.isdecimal() and int(step.name) not in kept:
            remove(folder, int(step.name))


@functools.cache
def teach_orbax() -> None:
    """Lets Orbax store arrays under `s3://`, and under `gs://` also where a name has a `?`.

    These three of its functions decide how tensorstore opens a folder.

    Raises:
        UserError: this version of Orbax does not have them.
    """
    # Here, because they are Orbax's own: where another version has moved them, runs on this machine go on.
    try:
        from orbax.checkpoint._src.path import gcs_utils
        from orbax.checkpoint._src.serialization import tensorstore_utils

        in_gcs, plain = tensorstore_utils._use_gcs_driver, tensorstore_utils._normalize_path
        opened = gcs_utils.get_kvstore_for_gcs
    except (ImportError, AttributeError) as error:
        raise UserError(
            f'Orbax {metadata.version("orbax-checkpoint")} cannot keep checkpoints in a store as this program does '
            f'({error}); install orbax-checkpoint==0.12.8, or choose a --workdir on this machine.'
        ) from error

    def in_store(folder: str) -> bool:
        return ADDRESS.match(folder) is not None or in_gcs(folder)

    def normal(path: str) -> str:
        found = ADDRESS.match(path)
        return plain(path) if found is None else f'{found[1]}://{os.path.normpath(path[found.end() :])}'

    def spec(path: str) -> dict[str, Any]:
        return opened(path) if ADDRESS.match(path) is None else opened_by_tensorstore(path)

    tensorstore_utils._use_gcs_driver, tensorstore_utils._normalize_path = in_store, normal
    gcs_utils.get_kvstore_for_gcs = spec


def opened_by_tensorstore(path: str) -> dict[str, Any]:
    """How tensorstore opens a path in a store; `s3://` where the variables that s3fs reads, too, say."""
    scheme, _, rest = path.partition('://')
    bucket, _, key = rest.partition('/')
    if scheme == 'gs':
        return {'driver': os.environ.get('TENSORSTORE_GCS_BACKEND', 'gcs'), 'bucket': bucket, 'path': key}
    found = {'driver': 's3', 'bucket': bucket, 'path': key}
    region = os.environ.get('AWS_REGION') or os.environ.get('AWS_DEFAULT_REGION')
    if region:
        found['aws_region'] = region
    endpoint = os.environ.get('AWS_ENDPOINT_URL_S3') or os.environ.get('AWS_ENDPOINT_URL')
    if endpoint:
        # Stores that are not Amazon's have one region, by whatever name.
        found |= {'endpoint': endpoint, 'aws_region': region or 'us-east-1'}
    if os.environ.get('AWS_ACCESS_KEY_ID'):
        return {**found, 'aws_credentials': {'type': 'environment'}}
    return found
