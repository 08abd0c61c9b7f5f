"""What frozen teachers say of the training images, computed once and kept: they never change their minds.

Only where a teacher treats images one by one, and always sees the same image (no augmentation).
"""

import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from mtkd_jax.data.pipeline import Split
from mtkd_jax.files import read_json, write_json
from mtkd_jax.methods import Method
from mtkd_jax.models.convolution import tiles_on_cpus
from mtkd_jax.training import sharding
from mtkd_jax.training.compiled import compiler_options
from mtkd_jax.training.programs import Compile, Program
from mtkd_jax.types import Batches, UserError, Variables

FOLDER, KEY = 'taught', 'key.json'
CHOICES = ('auto', 'memory', 'disk', 'off')
DTYPES = ('float32', 'bfloat16')
"""What a cache may store; float32 changes no result."""


@runtime_checkable
class Cache(Protocol):
    """Rows of what was taught, by numbers of examples in the split's source."""

    def rows(self, index: Int[np.ndarray, 'b']) -> Any:
        """What was taught of these examples: a tree of arrays [b ...], split over the devices."""
        ...


class Memory:
    """On the devices, split among them along the first axis."""

    def __init__(self, arrays: Any, types: Any, mesh: Mesh, compiled: Compile) -> None:
        self.arrays, self.types, self._mesh = arrays, types, mesh
        split, everywhere = sharding.batched(mesh), sharding.replicated(mesh)
        picking = jax.jit(self.pick, in_shardings=(split, everywhere), out_shardings=split)
        self._pick = Program(picking, compiled)

    def rows(self, index: Int[np.ndarray, 'b']) -> Any:
        """See `Cache.rows`."""
        return self._pick(self.arrays, index)

    def compiled_by(self, compiled: Compile) -> 'Memory':
        """The same arrays for another stage."""
        return Memory(self.arrays, self.types, self._mesh, compiled)

    def pick(self, arrays: Any, index: Int[Array, 'b']) -> Any:
        """The same in a function that is being compiled."""
        taken = jax.tree.map(lambda x: jnp.take(x, index, axis=0, mode='clip'), arrays)
        return jax.tree.map(lambda x, t: x.astype(t.dtype), taken, self.types)


class Disk:
    """In memory-mapped files."""

    def __init__(self, arrays: Any, types: Any, mesh: Mesh) -> None:
        self._arrays, self._types, self._sharding = arrays, types, sharding.batched(mesh)

    def rows(self, index: Int[np.ndarray, 'b']) -> Any:
        """See `Cache.rows`."""
        taken = jax.tree.map(lambda x, t: np.asarray(x[index], t.dtype), self._arrays, self._types)
        return jax.device_put(taken, self._sharding)


class Shared:
    """The last cache of stages that ask the same teachers about the same data: those of several seeds.

    Threads may share it; one that asks for what another is making waits.
    """

    def __init__(self) -> None:
        self._key, self._lock = '', threading.Lock()
        self._cache: Cache | None = None

    def of(self, key: Mapping[str, Any], make: Callable[[], Cache | None]) -> Cache | None:
        """The cache of this key, by `make` where there is none yet; one of another key is let go."""
        with self._lock:
            if self._cache is None or self._key != json.dumps(key):
                self._key, self._cache = json.dumps(key), None
                self._cache = make()
            return self._cache


def types(method: Method, frozen: Variables, split: Split) -> Any:
    """Shapes and types of what is taught of one batch."""
    shape = jax.ShapeDtypeStruct(split.image_shape, jnp.float32)
    return jax.eval_shape(method.teach, frozen, shape)


def size(taught: Any, split: Split, dtype: str) -> int:
    """Bytes that a cache of all examples of `split.source` takes."""
    each = sum(int(np.prod(x.shape[1:])) * _stored(x.dtype, dtype).itemsize for x in jax.tree.leaves(taught))
    return each * len(split.source)


def asking(method: Method, mesh: Mesh, dtype: str) -> Any:
    """(frozen variables, image [b h w 3]) → what is taught of it, as a cache of `dtype` stores it; jitted."""
    everywhere, spread = sharding.replicated(mesh), sharding.batched(mesh)

    @tiles_on_cpus()
    def ask(frozen: Variables, image: Array) -> Any:
        frozen = jax.lax.with_sharding_constraint(frozen, everywhere)
        return jax.tree.map(lambda x: x.astype(_stored(x.dtype, dtype)), method.teach(frozen, image))

    return jax.jit(ask, in_shardings=(None, spread), out_shardings=spread, compiler_options=compiler_options(mesh))


def fill(
    method: Method,
    frozen: Variables,
    split: Split,
    batches: Batches,
    mesh: Mesh,
    compiled: Compile,
    *,
    dtype: str,
    folder: Path | None,
    key: Mapping[str, Any],
) -> Cache:
    """Asks the teachers about all examples of `split`; `batches`: those of `Split.ordered`, on the devices.

    Args:
        method, frozen: who is asked.
        split, batches: about what.
        mesh: the devices.
        compiled: compiles what asks and stores.
        dtype: one of `DTYPES`; integers stay what they are.
        folder: where files go; None: the cache stays in memory.
        key: what the content depends on. Files of the same key are taken as they are, others removed.

    Raises:
        UserError: the file of a key is damaged.
    """
    given = types(method, frozen, split)
    count = len(split.source)
    if folder is not None and (found := _opened(folder, given, key)) is not None:
        return Disk(found, given, mesh)
    spread = sharding.batched(mesh)
    teach = Program(asking(method, mesh, dtype), compiled)
    write: Callable[[Any, Int[np.ndarray, 'b'], Any], Any]
    if folder is None:
        rows = -(-count // mesh.size) * mesh.size

        def blank() -> Any:
            return jax.tree.map(lambda x: jnp.zeros((rows, *x.shape[1:]), _stored(x.dtype, dtype)), given)

        # Made where they stay: one device need not have room for all.
        kept = Program(jax.jit(blank, out_shardings=spread), compiled)()
        # A number beyond the end is of an example that fills up a batch, and is dropped.
        storing = jax.jit(
            lambda kept, index, x: jax.tree.map(lambda k, v: k.at[index].set(v, mode='drop'), kept, x),
            donate_argnums=0,
            out_shardings=spread,
        )
        write = Program(storing, compiled)
    else:
        kept, write = _made(folder, given, count, dtype), _write
    for index, batch in zip(split.numbers(), batches, strict=True):
        kept = write(kept, np.where(index < 0, count + mesh.size, index), teach(frozen, batch.image))
    if folder is None:
        # The teachers have been asked once this is left.
        return Memory(jax.block_until_ready(kept), given, mesh, compiled)
    for array in jax.tree.leaves(kept):
        array.flush()
    # Written last: files that have it are whole.
    write_json(folder / KEY, {**key, 'checksums': [_checksum(array) for array in jax.tree.leaves(kept)]})
    return Disk(kept, given, mesh)


def _stored(dtype: Any, wanted: str) -> np.dtype:
    return np.dtype(jnp.bfloat16 if wanted == 'bfloat16' and jnp.issubdtype(dtype, jnp.floating) else dtype)


def _write(kept: Any, index: Int[np.ndarray, 'b'], taught: Any) -> Any:
    def put(file: np.memmap, values: Array) -> None:
        inside = index < len(file)
        file[index[inside]] = np.asarray(values)[inside]

    jax.tree.map(put, kept, taught)
    return kept


def _made(folder: Path, given: Any, count: int, dtype: str) -> Any:
    """New files in `folder`, in place of what was there."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    needed = sum(int(np.prod(x.shape[1:])) * _stored(x.dtype, dtype).itemsize for x in jax.tree.leaves(given)) * count
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f'{folder}: what teachers say takes {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free; make room, or '
            "set `cache_teachers` to 'off'."
        )

    def make(number: int, x: Any) -> np.memmap:
        shape, stored = (count, *x.shape[1:]), _stored(x.dtype, dtype)
        file = folder / f'{number}.bin'
        with file.open('wb') as stream:
            # A disk that has no room says so now; a store into the map would kill the process.
            if hasattr(os, 'posix_fallocate'):
                os.posix_fallocate(stream.fileno(), 0, int(np.prod(shape)) * stored.itemsize)
            else:
                stream.truncate(int(np.prod(shape)) * stored.itemsize)
        return np.memmap(file, stored, 'r+', shape=shape)

    leaves, structure = jax.tree.flatten(given)
    return jax.tree.unflatten(structure, [make(i, x) for i, x in enumerate(leaves)])


def _checksum(array: np.memmap) -> int:
    """The CRC-32 of a file's rows, read one after the other."""
    checksum = 0
    for row in array:
        checksum = zlib.crc32(np.ascontiguousarray(row).tobytes(), checksum)
    return checksum


def _opened(folder: Path, given: Any, key: Mapping[str, Any]) -> Any | None:
    """The files of a cache with this key, or None."""
    if not (folder / KEY).is_file():
        return None
    written = read_json(folder / KEY, f'remove {folder}')
    expected = written.pop('checksums', [])
    if written != json.loads(json.dumps(key)):
        return None
    leaves, structure = jax.tree.flatten(given)

    def opened(number: int, x: Any) -> np.memmap:
        file, shape = folder / f'{number}.bin', (key['count'], *x.shape[1:])
        stored = _stored(x.dtype, key['dtype'])
        whole = file.is_file() and file.stat().st_size == int(np.prod(shape)) * stored.itemsize
        found = np.memmap(file, stored, 'r', shape=shape) if whole else None
        if found is None or [_checksum(found)] != expected[number : number + 1]:
            raise UserError(f'{file} is not what was written; remove {folder} and run the same command again.')
        return found

    return jax.tree.unflatten(structure, [opened(i, x) for i, x in enumerate(leaves)])
