"""Data sets as tensorflow-datasets builders, prepared into ArrayRecord files and read without TensorFlow.

In all functions `data_dir` None stands for tensorflow-datasets' own folder ($TFDS_DATA_DIR or ~/tensorflow_datasets).
"""

from pathlib import Path
from typing import Any

from mtkd_jax.data import cityscapes_files, taskonomy_files
from mtkd_jax.data.builders import base, writing
from mtkd_jax.data.builders.base import Prepared, Progress
from mtkd_jax.data.builders.cityscapes import Cityscapes, CityscapesConfig
from mtkd_jax.data.builders.frames import FramesBuilder, check_space
from mtkd_jax.data.builders.glyphs import Glyphs, GlyphsConfig
from mtkd_jax.data.builders.labelled import describe as describe_parts
from mtkd_jax.data.builders.nyuv2 import Nyuv2, Nyuv2Config, open_source
from mtkd_jax.data.builders.rooms import Renderer, Rooms, RoomsConfig
from mtkd_jax.data.builders.svhn_omniglot import SIZE, SvhnOmniglot, SvhnOmniglotConfig
from mtkd_jax.data.builders.taskonomy import SIZE as TASKONOMY_SIZE
from mtkd_jax.data.builders.taskonomy import Taskonomy, TaskonomyConfig
from mtkd_jax.data.builders.verification import verify
from mtkd_jax.data.decathlon import Decathlon
from mtkd_jax.data.errors import DataNotPrepared
from mtkd_jax.data.frames import Reader
from mtkd_jax.data.glyphs import CHARACTERS, DIGITS
from mtkd_jax.data.scenes import CLASSES
from mtkd_jax.types import UserError

__all__ = [
    'DATASETS',
    'Prepared',
    'Progress',
    'class_names',
    'describe_parts',
    'open_source',
    'prepare_cityscapes',
    'prepare_frames',
    'prepare_glyphs',
    'prepare_nyuv2',
    'prepare_rooms',
    'prepare_svhn_omniglot',
    'prepare_taskonomy',
    'prepared',
    'verify',
]

DATASETS: dict[str, tuple[Any, Any]] = {
    'nyuv2': (Nyuv2, Nyuv2Config),
    'cityscapes': (Cityscapes, CityscapesConfig),
    'taskonomy': (Taskonomy, TaskonomyConfig),
    'rooms': (Rooms, RoomsConfig),
    'svhn_omniglot': (SvhnOmniglot, SvhnOmniglotConfig),
    'glyphs': (Glyphs, GlyphsConfig),
}
CLASS_NAMES = {
    ('nyuv2', 'segmentation'): CLASSES,
    ('rooms', 'segmentation'): CLASSES,
    ('glyphs', 'digits'): DIGITS,
    ('glyphs', 'characters'): CHARACTERS,
}

BY_COUNT = {'cityscapes': cityscapes_files.class_names, 'taskonomy': taskonomy_files.class_names}


def prepared(name: str, data_dir: str | None = None, **config: Any) -> Prepared:
    """Opens a prepared data set; `config` as the fields of its builder config (nyuv2: height, width).

    Raises:
        UserError: there is no data set `name`.
        DataNotPrepared: it is not in `data_dir`; says which commands make it.
    """
    if name not in DATASETS:
        raise UserError(f'`dataset` is {name!r}; there are {", ".join(DATASETS)}.')
    make, make_config = DATASETS[name]
    builder = make(data_dir=base.root(data_dir), config=make_config(**config))
    folder = Path(builder.data_dir)
    if not base.is_complete(folder):
        raise DataNotPrepared(_how_to_prepare(name, folder, data_dir, builder.builder_config))
    return base.open_prepared(builder)


def class_names(name: str, task: str, classes: int) -> tuple[str, ...]:
    """Names of the classes of a task of data set `name` in the order of their ids; () where they are not known."""
    if name in BY_COUNT:
        return BY_COUNT[name](classes) if task == 'segmentation' else ()
    known = CLASS_NAMES.get((name, task), ())
    # Fewer characters are the first of all.
    return known[:classes] if len(known) == classes or (known is CHARACTERS and classes < len(known)) else ()


def prepare_rooms(
    data_dir: str | None,
    height: int,
    width: int,
    train: int,
    test: int,
    seed: int,
    progress: Progress = base.quiet,
    overwrite: bool = False,
) -> Prepared:
    """The rooms of these settings, rendered when they are not there yet (or `overwrite`)."""

    config = RoomsConfig(height=height, width=width, train=train, test=test, seed=seed)
    return prepare_frames(Rooms, config, Renderer(config), data_dir, progress, overwrite)


def prepare_glyphs(
    data_dir: str | None, progress: Progress = base.quiet, overwrite: bool = False, **config: Any
) -> Prepared:
    """The glyphs of these settings (fields of `GlyphsConfig`), rendered when they are not there yet."""

    def make(folder: Path) -> Glyphs:
        builder = Glyphs(data_dir=folder, config=GlyphsConfig(**config))
        builder.progress = progress
        return builder

    return writing.write(make, data_dir, overwrite)


def prepare_svhn_omniglot(
    source: str,
    data_dir: str | None = None,
    size: tuple[int, int] | None = None,
    partial: bool = False,
    progress: Progress = base.quiet,
    overwrite: bool = False,
) -> Prepared:
    """SVHN and Omniglot from the Visual Decathlon's files in the folder `source`, images resized to `size`.

    Raises:
        DataError: a file is not what it should be, or, unless `partial`, there is less than the official data.
    """
    height, width = size or SIZE
    reader = Decathlon(Path(source).expanduser(), (height, width), partial)

    def make(folder: Path) -> SvhnOmniglot:
        config = SvhnOmniglotConfig(height=height, width=width, partial=partial)
        builder = SvhnOmniglot(data_dir=folder, config=config)
        builder.reader, builder.progress = reader, progress
        return builder

    return writing.write(make, data_dir, overwrite)


def prepare_nyuv2(
    reader: Reader, data_dir: str | None = None, progress: Progress = base.quiet, overwrite: bool = False
) -> Prepared:
    """NYUv2 at the reader's size (`open_source`), made from its files when it is not there yet (or `overwrite`).

    Raises:
        DataError: a file is not what it should be, or the disk is too small.
    """
    height, width = reader.size
    return prepare_frames(Nyuv2, Nyuv2Config(height=height, width=width), reader, data_dir, progress, overwrite)


def prepare_cityscapes(
    source: str,
    data_dir: str | None = None,
    size: tuple[int, int] | None = None,
    classes: int = 7,
    depth: str = 'inverse',
    progress: Progress = base.quiet,
    overwrite: bool = False,
) -> Prepared:
    """Cityscapes from the preprocessed folder or the raw layout in `source` (`cityscapes_files.open_source`).

    Raises:
        DataError: a file is not what it should be, or the disk is too small.
    """
    reader = cityscapes_files.open_source(source, size, classes, depth)
    height, width = reader.size
    config = CityscapesConfig(height=height, width=width, classes=classes, depth=depth)
    return prepare_frames(Cityscapes, config, reader, data_dir, progress, overwrite)


def prepare_taskonomy(
    source: str,
    data_dir: str | None = None,
    size: tuple[int, int] | None = None,
    progress: Progress = base.quiet,
    overwrite: bool = False,
) -> Prepared:
    """Mini-Taskonomy's tiny split from the official tree in `source`, resized to `size` (256×256), with all 18 classes.

    Raises:
        DataError: the tree is not what it should be, or the disk is too small.
    """
    height, width = size or TASKONOMY_SIZE
    reader = taskonomy_files.Tree(Path(source).expanduser(), (height, width))
    config = TaskonomyConfig(height=height, width=width, classes=len(taskonomy_files.CLASSES))
    return prepare_frames(Taskonomy, config, reader, data_dir, progress, overwrite)


def prepare_frames(
    kind: type[FramesBuilder], config: Any, reader: Reader, data_dir: str | None, progress: Progress, overwrite: bool
) -> Prepared:
    """The data set of a reader's frames, made when it is not there yet (or `overwrite`).

    Raises:
        DataError: a file is not what it should be, or the disk is too small.
    """

    def make(folder: Path) -> FramesBuilder:
        builder = kind(data_dir=folder, config=config)
        builder.reader, builder.progress = reader, progress
        return builder

    builder = make(base.root(data_dir))
    if overwrite or not base.is_complete(Path(builder.data_dir)):
        check_space(builder, base.root(data_dir), writing.kept(Path(builder.data_dir)))
    return writing.write(make, data_dir, overwrite)


def _how_to_prepare(name: str, folder: Path, data_dir: str | None, config: Any) -> str:
    where = f' --data_dir={data_dir}' if data_dir else ''
    field = f' --config.data.data_dir={data_dir}' if data_dir else ''
    main = f'python -m mtkd_jax.main --config=configs/{name}.py --workdir=runs/{name}{field}'
    others = sorted(p.parts[-3] for p in folder.parents[1].glob(f'*/{folder.name}/dataset_info.json'))
    have = f' Prepared there are: {", ".join(others)}.' if others else ''
    return (
        f'{name} {config.height}x{config.width} is not prepared: there is nothing in {folder}.{have} '
        'Prepare it, then train:\n'
        f'  python -m mtkd_jax.prepare --dataset={name} {config.flags}{where}\n'
        f'  {main}'
    )
