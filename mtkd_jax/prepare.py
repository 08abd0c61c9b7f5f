"""Prepares a data set from the user's files, or renders rooms or glyphs:

    python -m mtkd_jax.prepare --dataset=nyuv2 --source=DIR [--data_dir=DIR] [--size=288x384] [--overwrite]
    python -m mtkd_jax.prepare --dataset=cityscapes --source=DIR [--size=128x256] [--classes=7] [--depth=inverse]
    python -m mtkd_jax.prepare --dataset=taskonomy --source=DIR [--size=256x256]
    python -m mtkd_jax.prepare --dataset=svhn_omniglot --source=DIR [--data_dir=DIR] [--size=64x64] [--partial]
    python -m mtkd_jax.prepare --dataset=rooms [--size=64x96] [--train=480] [--test=120] [--seed=0] [--data_dir=DIR]
    python -m mtkd_jax.prepare --dataset=glyphs [--size=32x32] [--train=4000] [--test=1000] [--characters=200]

What the sources are, and what is made of them: docs/data.md. An interrupted preparation of frames goes on where it was
stopped, with the same command. Beside the data a picture of some examples of every split is written, contact_SPLIT.png.
`--verify` reads everything again and compares it with what was recorded; without --source it only does that.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mtkd_jax import build, command
from mtkd_jax.data import builders
from mtkd_jax.reporting.prepared import describe, sheet_file, write_sheets
from mtkd_jax.reporting.progress import SplitProgress
from mtkd_jax.tasks import Task
from mtkd_jax.types import UserError

DATASET = flags.DEFINE_string(
    'dataset', None, 'nyuv2, cityscapes, taskonomy, svhn_omniglot, rooms or glyphs.', allow_override=True
)
SOURCE = flags.DEFINE_string(
    'source', None, 'The folder or file that holds the data as it was downloaded.', allow_override=True
)
DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Where to write; default $TFDS_DATA_DIR or ~/tensorflow_datasets.', allow_override=True
)
SIZE = flags.DEFINE_string(
    'size',
    None,
    'Height x width in pixels; default 288x384 (nyuv2), 128x256 (cityscapes), 256x256 (taskonomy), 64x64 '
    '(svhn_omniglot), 64x96 (rooms), 32x32 (glyphs).',
    allow_override=True,
)
OVERWRITE = flags.DEFINE_bool(
    'overwrite', False, 'Prepare again; what is there is replaced when the new is complete.', allow_override=True
)
TRAIN = flags.DEFINE_integer('train', None, 'Training scenes (480) or digits (4000).', allow_override=True)
TEST = flags.DEFINE_integer('test', None, 'Test scenes (120) or digits (1000).', allow_override=True)
CHARACTERS = flags.DEFINE_integer('characters', 200, 'Classes of characters (glyphs).', allow_override=True)
SEED = flags.DEFINE_integer('seed', 0, 'Seed of rooms or glyphs; others give others.', allow_override=True)
CLASSES = flags.DEFINE_integer('classes', 7, 'Classes of cityscapes, 7 or 19.', allow_override=True)
DEPTH = flags.DEFINE_string('depth', 'inverse', 'Of cityscapes: inverse or metric.', allow_override=True)
VERIFY = flags.DEFINE_bool(
    'verify', False, 'Read what is prepared again; compare counts, ranges and masks.', allow_override=True
)
PARTIAL = flags.DEFINE_bool(
    'partial', False, 'Accept less than the official images (svhn_omniglot).', allow_override=True
)

INTERRUPTED = 130  # what a shell reports of a process that Ctrl-C ended
Size = tuple[int, int] | None
FROM_FILES = ('nyuv2', 'cityscapes', 'taskonomy', 'svhn_omniglot')
ONLY_FOR: tuple[tuple[flags.FlagHolder[Any], tuple[str, ...]], ...] = (
    (SOURCE, FROM_FILES),
    (TRAIN, ('rooms', 'glyphs')),
    (TEST, ('rooms', 'glyphs')),
    (SEED, ('rooms', 'glyphs')),
    (CHARACTERS, ('glyphs',)),
    (CLASSES, ('cityscapes',)),
    (DEPTH, ('cityscapes',)),
    (PARTIAL, ('svhn_omniglot',)),
)


def prepare(progress: SplitProgress) -> builders.Prepared:
    """Prepares what the flags ask for; or opens it, where it is only to be verified.

    Raises:
        UserError: a flag is missing, or given to a data set that has no use for it.
    """
    dataset = command.value(DATASET)
    if dataset not in builders.DATASETS:
        raise UserError(f'`dataset` is {dataset!r}; there are {", ".join(builders.DATASETS)}.')
    for flag, datasets in ONLY_FOR:
        given = not flags.FLAGS[flag.name].using_default_value and flag.value != ''
        if given and dataset not in datasets:
            raise UserError(f'--{flag.name} is for {", ".join(datasets)}; {dataset} has no use for it: leave it out.')
    size = command.parse_size(SIZE.value) if SIZE.value else None
    if dataset in FROM_FILES and VERIFY.value and not SOURCE.value:
        if OVERWRITE.value:
            raise UserError(
                '--overwrite prepares again, which needs --source=...; give that, or leave out --overwrite.'
            )
        return builders.prepared(dataset, DATA_DIR.value, **_made_with(dataset, size))
    return {
        'rooms': _rooms,
        'glyphs': _glyphs,
        'nyuv2': _nyuv2,
        'cityscapes': _cityscapes,
        'taskonomy': _taskonomy,
        'svhn_omniglot': _svhn_omniglot,
    }[dataset](size, {'progress': progress, 'overwrite': OVERWRITE.value})


def _made_with(dataset: str, size: Size) -> dict[str, Any]:
    """What identifies a data set that was made with these flags."""
    named: dict[str, Any] = {} if size is None else {'height': size[0], 'width': size[1]}
    if dataset == 'cityscapes':
        named |= {'classes': CLASSES.value, 'depth': DEPTH.value}
    if dataset == 'taskonomy':
        named['classes'] = 18  # all that are stored
    if dataset == 'svhn_omniglot':
        named['partial'] = PARTIAL.value
    return named


def _rooms(size: Size, how: dict[str, Any]) -> builders.Prepared:
    height, width = size or (64, 96)
    return builders.prepare_rooms(
        DATA_DIR.value, height, width, _count(TRAIN, 480), _count(TEST, 120), SEED.value, **how
    )


def _glyphs(size: Size, how: dict[str, Any]) -> builders.Prepared:
    height, width = size or (32, 32)
    counts: dict[str, Any] = {'train': _count(TRAIN, 4000), 'test': _count(TEST, 1000), 'characters': CHARACTERS.value}
    return builders.prepare_glyphs(DATA_DIR.value, height=height, width=width, seed=SEED.value, **counts, **how)


def _nyuv2(size: Size, how: dict[str, Any]) -> builders.Prepared:
    return builders.prepare_nyuv2(builders.open_source(command.value(SOURCE), size), DATA_DIR.value, **how)


def _cityscapes(size: Size, how: dict[str, Any]) -> builders.Prepared:
    source = command.value(SOURCE)
    return builders.prepare_cityscapes(source, DATA_DIR.value, size, CLASSES.value, DEPTH.value, **how)


def _taskonomy(size: Size, how: dict[str, Any]) -> builders.Prepared:
    return builders.prepare_taskonomy(command.value(SOURCE), DATA_DIR.value, size, **how)


def _svhn_omniglot(size: Size, how: dict[str, Any]) -> builders.Prepared:
    return builders.prepare_svhn_omniglot(command.value(SOURCE), DATA_DIR.value, size, PARTIAL.value, **how)


def _count(flag: flags.FlagHolder[int | None], default: int) -> int:
    return default if flag.value is None else flag.value


def main() -> None:
    """Prepares, and says what was found and where it is."""
    try:
        with SplitProgress() as progress:
            data = prepare(progress)
        sheets = write_sheets(data, _tasks(data)) if progress.began or not (VERIFY.value or _sheets(data)) else []
        _tell(data, progress.began, sheets)
        if VERIFY.value:
            with SplitProgress() as progress:
                builders.verify(data, progress)
            print(f'Verified: {", ".join(f"{n} examples of {split}" for split, n in data.counts.items())}.')
    except KeyboardInterrupt as interrupt:
        said = ' '.join(getattr(interrupt, '__notes__', ['nothing was kept.']))
        print(f'Interrupted: {said}', file=sys.stderr)
        sys.exit(INTERRUPTED)


def _tell(data: builders.Prepared, written: bool, sheets: Sequence[Path]) -> None:
    print(describe(data).rstrip())
    if written:
        print(f'Written to {data.path}')
    elif not VERIFY.value:
        print(f'Already prepared in {data.path}; nothing was done. --overwrite prepares it again.')
    for sheet in sheets:
        print(f'Some examples: {sheet}')


def _tasks(data: builders.Prepared) -> list[Task]:
    """The targets that a data set has, as tasks that can be drawn."""
    dataset, made = command.value(DATASET), data.metadata
    depths = [summary.get('ranges', {}).get('depth') for summary in made['splits'].values()]
    spec = {
        'classes': data.class_count,
        'depth_maximum': float(f'{max((depth[2] for depth in depths if depth), default=1.0):.2g}'),
        'data': {'dataset': dataset, 'depth': made.get('depth', '').partition(':')[0]},
    }
    return [build.build_task(name, spec) for name in made.get('targets', build.TASKS[dataset])]


def _sheets(data: builders.Prepared) -> bool:
    return all(sheet_file(data, split).is_file() for split in data.sources)


if __name__ == '__main__':
    command.start(main, errors=(OSError,))
