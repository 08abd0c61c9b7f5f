"""Prepares a data set from the user's files, or renders rooms or glyphs:

    python -m mtkd_jax.prepare --dataset=nyuv2 --source=DIR [--data_dir=DIR] [--size=288x384] [--overwrite]
    python -m mtkd_jax.prepare --dataset=svhn_omniglot --source=DIR [--data_dir=DIR] [--size=64x64] [--partial]
    python -m mtkd_jax.prepare --dataset=rooms [--size=64x96] [--train=480] [--test=120] [--seed=0] [--data_dir=DIR]
    python -m mtkd_jax.prepare --dataset=glyphs [--size=32x32] [--train=4000] [--test=1000] [--characters=200]

NYUv2's source is the preprocessed folder {train,val}/{image,label,depth,normal}/{0,1,...}.npy, whose size is kept, or
nyu_depth_v2_labeled.mat (or the folder it is in), resized to `--size`. That of SVHN & Omniglot is the folder of the
Visual Decathlon's decathlon-1.0-devkit.tar.gz and decathlon-1.0-data.tar.gz, or of what is in them.
"""

import sys

from absl import flags

from mtkd_jax import command
from mtkd_jax.data import builders
from mtkd_jax.reporting.progress import SplitProgress
from mtkd_jax.types import UserError

DATASET = flags.DEFINE_string('dataset', None, 'nyuv2, svhn_omniglot, rooms or glyphs.', allow_override=True)
SOURCE = flags.DEFINE_string(
    'source', None, 'The folder or file that holds the data as it was downloaded.', allow_override=True
)
DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Where to write; default $TFDS_DATA_DIR or ~/tensorflow_datasets.', allow_override=True
)
SIZE = flags.DEFINE_string(
    'size',
    None,
    'Height x width in pixels; default 288x384 (nyuv2, .mat), 64x64 (svhn_omniglot), 64x96 (rooms), 32x32 (glyphs).',
    allow_override=True,
)
OVERWRITE = flags.DEFINE_bool(
    'overwrite', False, 'Prepare again; what is there is replaced when the new is complete.', allow_override=True
)
TRAIN = flags.DEFINE_integer('train', None, 'Training scenes (480) or digits (4000).', allow_override=True)
TEST = flags.DEFINE_integer('test', None, 'Test scenes (120) or digits (1000).', allow_override=True)
CHARACTERS = flags.DEFINE_integer('characters', 200, 'Classes of characters (glyphs).', allow_override=True)
SEED = flags.DEFINE_integer('seed', 0, 'Seed of rooms or glyphs; others give others.', allow_override=True)
PARTIAL = flags.DEFINE_bool(
    'partial', False, 'Accept less than the official images (svhn_omniglot).', allow_override=True
)

INTERRUPTED = 130  # what a shell reports of a process that Ctrl-C ended
UNITS = {'depth': ' (m)'}


def prepare(progress: SplitProgress) -> builders.Prepared:
    """Prepares what the flags ask for."""
    dataset = command.value(DATASET)
    size = command.parse_size(SIZE.value) if SIZE.value else None
    if dataset == 'rooms':
        height, width = size or (64, 96)
        counts = _count(TRAIN, 480), _count(TEST, 120)
        return builders.prepare_rooms(DATA_DIR.value, height, width, *counts, SEED.value, progress, OVERWRITE.value)
    if dataset == 'glyphs':
        height, width = size or (32, 32)
        return builders.prepare_glyphs(
            DATA_DIR.value,
            progress,
            OVERWRITE.value,
            height=height,
            width=width,
            train=_count(TRAIN, 4000),
            test=_count(TEST, 1000),
            characters=CHARACTERS.value,
            seed=SEED.value,
        )
    if dataset == 'svhn_omniglot':
        source = command.value(SOURCE)
        return builders.prepare_svhn_omniglot(source, DATA_DIR.value, size, PARTIAL.value, progress, OVERWRITE.value)
    if dataset == 'nyuv2':
        reader = builders.open_source(command.value(SOURCE), size)
        return builders.prepare_nyuv2(reader, DATA_DIR.value, progress, OVERWRITE.value)
    raise UserError(f'`dataset` is {dataset!r}; there are {", ".join(builders.DATASETS)}.')


def _count(flag: flags.FlagHolder[int | None], default: int) -> int:
    return default if flag.value is None else flag.value


def describe(data: builders.Prepared) -> str:
    """What a prepared data set holds, for a person."""
    made = data.metadata
    height, width = made['size']
    if 'parts' in made:
        source = made['source'][:1].upper() + made['source'][1:]
        lines = [f'{source} data, {height}x{width}; resampling: {made["resampling"]}.']
        return '\n'.join([*lines, *builders.describe_parts(made), '', *made.get('notes', ())])
    lines = [f'{made["source"].capitalize()} data, {height}x{width}; normals: {made["normals"]}.']
    lines.append(f'Resampling: {made["resampling"]}.')
    lines += [f'{key.capitalize().replace("_", " ")}: {made[key]}.' for key in ('depth', 'test_split') if key in made]
    for split, summary in made['splits'].items():
        title = f'{split}: {summary["examples"]} examples'
        lines.append(f'\n{title:32}{"least":>10}{"mean":>10}{"most":>10}{"undefined":>12}')
        for name, values in summary['ranges'].items():
            shown = ''.join(f'{value:10.4f}' for value in values) if values else '  nothing is defined'.ljust(30)
            missing = summary['undefined_percent'].get(name)
            share = '' if missing is None else f'{missing:10.2f} %'
            lines.append(f'  {name + UNITS.get(name, ""):30}{shown}{share}')
        lines.append(f'  {"segmentation (void)":60}{summary["undefined_percent"]["segmentation"]:10.2f} %')
        shares = zip(data.classes, summary['class_percent'], strict=True)
        lines.append('  classes: ' + ', '.join(f'{name} {share:.1f} %' for name, share in shares))
    return '\n'.join([*lines, '', *made.get('notes', ())])


def main() -> None:
    """Prepares, and says what was found and where it is."""
    try:
        with SplitProgress() as progress:
            data = prepare(progress)
    except KeyboardInterrupt:
        print('Interrupted: nothing was kept.', file=sys.stderr)
        sys.exit(INTERRUPTED)
    print(describe(data).rstrip())
    if progress.examples:
        print(f'Written to {data.path}')
    else:
        print(f'Already prepared in {data.path}; nothing was done. --overwrite prepares it again.')


if __name__ == '__main__':
    command.start(main, errors=(OSError,))
