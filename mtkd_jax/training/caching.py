"""Whether and where a stage keeps what its teachers say of the training images."""

import dataclasses
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from mtkd_jax import records
from mtkd_jax.data.pipeline import Split
from mtkd_jax.places import Stored
from mtkd_jax.training import processes, resident, taught
from mtkd_jax.training.folder import weights_digest
from mtkd_jax.training.programs import Compile
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.taught import Cache, Memory
from mtkd_jax.types import Batches, UserError, Variables


def cache_of(
    stage: Stage,
    frozen: Variables,
    asked: Split,
    batches: Callable[[], Batches],
    mesh: Mesh,
    compiled: Compile,
    folder: Path,
    say: Callable[[str], None],
) -> Cache | None:
    """What the teachers say of every image, where it is worth keeping: None elsewhere.

    Args:
        stage: whose teachers; `cache_teachers` decides, or what `auto` meant when it was begun.
        frozen: the teachers' variables.
        asked: the training split, in the batches of `batches`.
        batches: makes those of `asked.ordered()`, on the devices, where the teachers are asked.
        mesh, compiled, folder: the stage's devices, what compiles for it, its folder.
        say: is told what is kept, and how large that is.

    Raises:
        UserError: a cache is wanted, but what the teachers say of an image is not always the same.
    """
    method = stage.method
    before = processes.from_first(lambda: records.read_choices(folder).get('cache_teachers', 'auto'))
    if before == 'disk' and processes.several():
        # Files are for one process.
        before = 'auto'
    wanted = before if stage.cache_teachers == 'auto' else stage.cache_teachers
    if not frozen or wanted == 'off':
        return None
    key = _key(stage, len(asked.source))

    def made() -> Cache | None:
        needed = taught.size(taught.types(method, frozen, asked), asked, stage.cache_dtype)
        if wanted == 'auto' and not processes.from_first(lambda: pays(stage, needed, mesh)):
            return None
        if not _possible(stage):
            raise UserError(
                f'Stage {stage.name}: `cache_teachers` is {wanted!r}, but what its teachers say of an '
                "image depends on the step (`data.augment`) or on the batch (`teacher_batch_stats`); set it to 'off'."
            )
        where = 'on disk' if wanted == 'disk' else 'in memory'
        say(f'{stage.name}: keeps what its teachers say of {len(asked.source)} images {where} ({needed / 1e9:.2f} GB)')
        return taught.fill(
            method,
            frozen,
            asked,
            batches(),
            mesh,
            compiled,
            dtype=stage.cache_dtype,
            folder=_files(folder) if wanted == 'disk' else None,
            key=key,
        )

    cache = made() if stage.taught is None else stage.taught.of(key, made)
    # The seconds of a stage are its own, whoever has filled the cache.
    return cache.compiled_by(compiled) if isinstance(cache, Memory) else cache


def kept(stage: Stage, frozen: Variables, mesh: Mesh) -> Any:
    """Shapes of what the teachers say of a batch, where a stage that begins now keeps that; None elsewhere.

    `frozen`: shapes of the teachers' variables.
    """
    if not frozen or stage.cache_teachers == 'off':
        return None
    asked = dataclasses.replace(stage.data.train, batch_size=stage.data.train.train_batch_size)
    found = taught.types(stage.method, frozen, asked)
    needed = taught.size(found, asked, stage.cache_dtype)
    return found if stage.cache_teachers != 'auto' or pays(stage, needed, mesh) else None


def pays(stage: Stage, needed: int, mesh: Mesh) -> bool:
    """Whether `auto` keeps what the teachers say, which takes `needed` bytes, also where each stage beside it does."""
    fits = resident.fits(stage.at_once * needed, mesh, stage.sharers)
    return _possible(stage) and stage.cadence.epochs > 1 and fits


def _possible(stage: Stage) -> bool:
    return stage.method.teaches_one_by_one and stage.augment == 'none'


def _files(folder: Path) -> Path:
    """Where files of the cache go: to the stage, or, where that is in a store, to a folder of this machine."""
    if not isinstance(folder, Stored):
        return folder / taught.FOLDER
    return Path(tempfile.gettempdir()) / f'mtkd_jax_{taught.FOLDER}_{zlib.crc32(str(folder).encode()):08x}'


def _key(stage: Stage, count: int) -> dict[str, Any]:
    """What all that the teachers say depends on."""
    return {
        'teachers': {name: weights_digest(path) for name, path in sorted(stage.teachers.items())},
        'method': stage.settings.get('method_settings', {}),
        'data': stage.settings.get('data', {}),
        'count': count,
        'dtype': stage.cache_dtype,
        'teacher_dtype': stage.settings.get('teacher_dtype', stage.settings.get('compute_dtype')),
    }
