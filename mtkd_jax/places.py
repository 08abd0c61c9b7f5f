"""Places: folders of this machine, and those of object stores (`gs://`, `s3://`), as paths with the same methods.

A store has objects with names and no folders: a folder is there while an object's name begins with its own. An object
is written whole or not at all, and there for everybody once that returns; nothing is renamed or appended to.
"""

import fnmatch
import functools
import glob
import importlib.util
import io
import os
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PosixPath
from typing import Any, NamedTuple

from mtkd_jax.errors import UserError

# A path of the system has one slash where an address has two.
ADDRESS = re.compile(r'(gs|s3):/+')
PACKAGES = {'gs': ('gcsfs', 'gcs'), 's3': ('s3fs', 's3')}
"""By the beginning of an address: the package that reaches the store, and this package's extra that brings it."""

_LOST: set[Path] = set()  # folders that another process writes now


class Stat(NamedTuple):
    """Of an object: bytes, and when it was written, in ns since 1970."""

    st_size: int
    st_mtime_ns: int


class Stored(PosixPath):
    """A place in an object store. What a folder of this machine can and a store cannot, raises.

    Raises:
        UserError: the store cannot be reached, or does not allow it.
        FileNotFoundError: there is no such object to read.
    """

    def __str__(self) -> str:
        return ADDRESS.sub(r'\1://', super().__str__(), count=1)

    @property
    def _key(self) -> str:
        return str(self).partition('://')[2]

    @property
    def _store(self) -> Any:
        return _store(str(self).partition('://')[0])

    def _info(self) -> dict[str, Any] | None:
        try:
            with self._reached('read'):
                found: dict[str, Any] = self._store.info(self._key)
                return found
        except FileNotFoundError:
            return None

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        try:
            yield
        except (UserError, FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # a store's package raises anything about networks, rights and itself
            reason = ' '.join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f'{self} cannot be {what} ({reason}); see to the network and your rights, and run the same command '
                'again.'
            ) from error

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """See `pathlib.Path`, here and below."""
        return self._info() is not None

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return (self._info() or {}).get('type') == 'directory'

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return (self._info() or {}).get('type') == 'file'

    def is_symlink(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        found = self._info()
        if found is None:
            raise FileNotFoundError(f'{self} does not exist.')
        written = found.get('LastModified', found.get('mtime'))
        seconds = written.timestamp() if isinstance(written, datetime) else 0.0
        return Stat(int(found.get('size') or 0), int(seconds * 1e9))

    def absolute(self) -> 'Stored':
        return self

    def resolve(self, strict: bool = False) -> 'Stored':
        return self

    def expanduser(self) -> 'Stored':
        return self

    def iterdir(self) -> Generator['Stored', None, None]:
        with self._reached('listed'):
            names = self._store.ls(self._key, detail=False)
        inside = (name.rstrip('/').removeprefix(f'{self._key}/') for name in names)
        yield from (self / name for name in sorted(set(inside)) if name and '/' not in name)

    def glob(self, pattern: str, **options: Any) -> Iterator['Stored']:  # type: ignore[override]
        first, _, rest = pattern.partition('/')
        try:
            found = [path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, first)]
        except FileNotFoundError:
            return
        for path in found:
            yield from path.glob(rest) if rest else [path]

    def open(self, mode: str = 'r', *arguments: Any, **options: Any) -> Any:
        if mode not in ('r', 'rb'):
            raise ValueError(f'{self} cannot be opened with {mode!r}; objects are written whole (`files.whole`).')
        content = io.BytesIO(self.read_bytes())
        return content if mode == 'rb' else io.TextIOWrapper(content, encoding='utf-8')

    def read_bytes(self) -> bytes:
        with self._reached('read'):
            content: bytes = self._store.cat_file(self._key)
            return content

    def read_text(self, *arguments: Any, **options: Any) -> str:
        return self.read_bytes().decode()

    def copy_to(self, file: Path) -> None:
        """Copies an object to a file, without holding it in memory."""
        with self._reached('read'):
            self._store.get_file(self._key, str(file))

    def write_bytes(self, data: Any) -> int:
        """Raises a UserError as well where `lose` has been called for a folder that this is in."""
        check_ours(self)
        self.put(bytes(data))
        return len(data)

    def write_text(self, data: str, *arguments: Any, **options: Any) -> int:
        return self.write_bytes(data.encode())

    def create(self, data: bytes) -> bool:
        """Writes an object where there is none, and says whether there was none.

        A store that does not know the condition writes it anyway.
        """
        try:
            self.put(data, mode='create')
        except FileExistsError:
            return False
        return True

    def put(self, data: bytes, **options: Any) -> None:
        """Writes an object, also where another process writes now."""
        try:
            with self._reached('written'):
                self._store.pipe_file(self._key, data, **options)
        except FileNotFoundError as error:
            raise UserError(f'{self} cannot be written: there is no such bucket; make it, or give another.') from error

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            with self._reached('removed'):
                self._store.rm_file(self._key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a folder is there with its first object."""

    def objects(self) -> list['Stored']:
        """All that is in the folder, at any depth."""
        with self._reached('listed'):
            names = self._store.find(self._key)
        return [self / name.removeprefix(f'{self._key}/') for name in sorted(names) if name != self._key]


def place(text: str | Path) -> Path:
    """The path of that name, on this machine or in a store.

    Raises:
        UserError: what reaches the store is not installed.
    """
    found = ADDRESS.match(str(text))
    if found is None:
        return Path(text)
    if found.end() == len(str(text)):
        raise UserError(f'{text} names no bucket; give {found[1]}://BUCKET/FOLDER.')
    _store(found[1])
    return Stored(text)


@functools.cache
def _store(scheme: str) -> Any:
    package, extra = PACKAGES[scheme]
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f'{scheme}:// needs the package {package}, which is not installed; pip install "mtkd_jax[{extra}]".'
        )
    # Here, because it comes with the extras and takes a moment; Orbax, too, asks it.
    import fsspec

    # Other processes write, too: what a folder had a minute ago says nothing.
    for name in {scheme, extra}:
        fsspec.config.conf.setdefault(name, {}).setdefault('use_listings_cache', False)
    return fsspec.filesystem(scheme)


def in_store(text: str | Path) -> bool:
    """Whether it is an address in a store."""
    return isinstance(place(text), Stored)


def is_dir(text: str | Path) -> bool:
    """Whether it is a folder."""
    path = place(text)
    return path.is_dir() if isinstance(path, Stored) else os.path.isdir(text)


def is_file(text: str | Path) -> bool:
    """Whether it is a file, or an object."""
    path = place(text)
    return path.is_file() if isinstance(path, Stored) else os.path.isfile(text)


def matches(pattern: str) -> list[str]:
    """Names that match it, as `glob.glob`."""
    found = ADDRESS.match(pattern)
    if found is None:
        return glob.glob(pattern)
    bucket, _, rest = pattern[found.end() :].partition('/')
    return [str(path) for path in place(f'{found[1]}://{bucket}').glob(rest)] if rest else []


def local(text: str | Path, field: str, why: str) -> Path:
    """The path of that name on this machine.

    Raises:
        UserError: it is in a store; names the `field` it was given for, and `why` it cannot.
    """
    path = place(text)
    if isinstance(path, Stored):
        raise UserError(f'`{field}` is {path}, but {why}; give a folder of this machine.')
    return path


def remove_folder(folder: Path) -> None:
    """Removes a folder and all in it, and takes its name for a name, not for a pattern."""
    if not isinstance(folder, Stored):
        shutil.rmtree(folder)
        return
    for item in folder.objects():
        item.unlink(missing_ok=True)


def lose(folder: Path) -> None:
    """From now on this process writes nothing into `folder`: another one does."""
    _LOST.add(folder)


def gain(folder: Path) -> None:
    """This process may write into `folder` again."""
    _LOST.discard(folder)


def check_ours(path: Path) -> None:
    """Raises a UserError where another process writes now."""
    lost = next((folder for folder in tuple(_LOST) if folder == path or folder in path.parents), None)
    if lost is not None:
        raise UserError(
            f'{lost} has been taken by another process, because this one was not heard of for too long; run the same '
            'command again to wait for the other.'
        )
