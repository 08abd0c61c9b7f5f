"""Prepares a data set from the user's files, or renders rooms or glyphs:

    python -m mtkd_jax.prepare --dataset=nyuv2 --source=DIR [--size=288x384] [--classes=13] [--overwrite]
    python -m mtkd_jax.prepare --dataset=cityscapes --source=DIR [--size=128x256] [--classes=7] [--depth=inverse]
    python -m mtkd_jax.prepare --dataset=taskonomy --source=DIR [--size=256x256]
    python -m mtkd_jax.prepare --dataset=svhn_omniglot --source=DIR [--data_dir=DIR] [--size=64x64] [--partial]
    python -m mtkd_jax.prepare --dataset=rooms [--size=64x96] [--train=480] [--test=120] [--seed=0] [--data_dir=DIR]
    python -m mtkd_jax.prepare --dataset=glyphs [--size=32x32] [--train=4000] [--test=1000] [--characters=200]

What the sources are, and what is made of them: docs/data.md. Of preprocessed files, `--ignore_label=255` names the
label that means "not labelled", and `--depth_scale=0.001` says what one unit of depth is in metres. An interrupted
preparation of frames goes on where it was stopped, with the same command. Beside the data a picture of some examples of
every split is written, contact_SPLIT.png. `--verify` reads everything again and compares it with what was recorded;
without --source it only does that.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mtkd_jax import command, datasets, names
from mtkd_jax.datasets.base import GIVEN
from mtkd_jax.datasets.flags import SOURCE, fields
from mtkd_jax.errors import UserError
from mtkd_jax.reporting.progress import SplitProgress

ALL = tuple(datasets.named(name) for name in datasets.NAMES)
DATASET = flags.DEFINE_string('dataset', None, f'One of {", ".join(datasets.NAMES)}.', allow_override=True)
DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Where to write; default $TFDS_DATA_DIR or ~/tensorflow_datasets.', allow_override=True
)
SIZE = flags.DEFINE_string(
    'size',
    None,
    'Height x width in pixels; default '
    + ', '.join(f'{each.defaults["height"]}x{each.defaults["width"]} ({each.name})' for each in ALL)
    + '.',
    allow_override=True,
)
OVERWRITE = flags.DEFINE_bool(
    'overwrite', False, 'Prepare again; what is there is replaced when the new is complete.', allow_override=True
)
VERIFY = flags.DEFINE_bool(
    'verify', False, 'Read what is prepared again; compare counts, ranges and masks.', allow_override=True
)
INTERRUPTED = 130  # what a shell reports of a process that Ctrl-C ended


def _own_flags() -> dict[str, flags.FlagHolder[Any]]:
    """The flags that data sets declare, each defined once, with what it means to every data set and its default."""
    kinds = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float}
    kind: dict[str, Any] = {}
    meant: dict[str, dict[str, list[str]]] = {}
    for data_set in ALL:
        for flag in data_set.flags:
            default = flag.default(data_set.defaults)
            kind[flag.name] = kinds.get(type(default) if flag.field else flag.kind, flags.DEFINE_string)
            of = data_set.name if default is None or default is False else f'{data_set.name}: {default}'
            meant.setdefault(flag.name, {}).setdefault(flag.help, []).append(of)
    return {
        name: kind[name](
            name, None, '; '.join(f'{text} ({", ".join(of)})' for text, of in texts.items()) + '.', allow_override=True
        )
        for name, texts in meant.items()
    }


OWN = _own_flags()


def chosen() -> tuple[datasets.DataSet, dict[str, Any]]:
    """The data set that the flags ask for, and the fields of a config's `data` that they give.

    Raises:
        UserError: there is no such data set, or a flag is given that it has no use for.
    """
    data_set = datasets.named(names.choice('dataset', command.value(DATASET), datasets.NAMES))
    given = {name: holder.value for name, holder in OWN.items() if _is_given(holder)}
    declared = {flag.name for flag in data_set.flags}
    for name in given.keys() - declared:
        users = ', '.join(other.name for other in ALL if name in {flag.name for flag in other.flags})
        raise UserError(f'--{name} is for {users}; {data_set.name} has no use for it: leave it out.')
    data = fields(data_set.flags, data_set.defaults, given)
    if SIZE.value:
        data['height'], data['width'] = command.parse_size(SIZE.value)
    return data_set, data


def _is_given(holder: flags.FlagHolder[Any]) -> bool:
    return not flags.FLAGS[holder.name].using_default_value and holder.value != ''


def prepare(data_set: datasets.DataSet, data: Mapping[str, Any], progress: SplitProgress) -> datasets.Prepared:
    """Prepares what the flags ask for; or opens it, where it is only to be verified.

    Raises:
        UserError: a flag is missing.
    """
    assert data_set.prepare is not None
    from_files = SOURCE in data_set.flags
    if from_files and VERIFY.value and not _is_given(OWN['source']):
        if OVERWRITE.value:
            raise UserError(
                '--overwrite prepares again, which needs --source=...; give that, or leave out --overwrite.'
            )
        return data_set.open(data, DATA_DIR.value)
    source = command.value(OWN['source']) if from_files else ''
    said = {name: OWN[name].value for name in GIVEN}
    return data_set.prepare(data, datasets.Preparation(source, DATA_DIR.value, progress, OVERWRITE.value, **said))


def main() -> None:
    """Prepares, and says what was found and where it is."""
    data_set, data = chosen()
    # Here, because --help does without jax and matplotlib.
    from mtkd_jax.reporting.prepared import describe, sheet_file, shown_tasks, write_sheets

    found = None
    try:
        with SplitProgress('preparing') as progress:
            found = prepare(data_set, data, progress)
        drawn = all(sheet_file(found, split).is_file() for split in found.sources)
        wanted = progress.began or not (VERIFY.value or drawn)
        tasks = shown_tasks(data_set, data, found)
        sheets = write_sheets(found, tasks) if wanted else []
        _tell(found, describe(found, tasks), progress.began, sheets)
        if VERIFY.value:
            _verify(found)
    except KeyboardInterrupt as interrupt:
        kept = f'what was prepared is in {found.path}.' if found else 'nothing was kept.'
        said = ' '.join(getattr(interrupt, '__notes__', [kept]))
        print(f'Interrupted: {said}', file=sys.stderr)
        sys.exit(INTERRUPTED)


def _verify(data: datasets.Prepared) -> None:
    from mtkd_jax.datasets.storage.verification import verify

    with SplitProgress('preparing') as progress:
        verify(data, progress)
    print(f'Verified: {", ".join(f"{n} examples of {split}" for split, n in data.counts.items())}.')


def _tell(data: datasets.Prepared, description: str, written: bool, sheets: Sequence[Path]) -> None:
    print(description.rstrip())
    if written:
        print(f'Written to {data.path}')
    elif not VERIFY.value:
        print(f'Already prepared in {data.path}; nothing was done. --overwrite prepares it again.')
    for sheet in sheets:
        print(f'Some examples: {sheet}')


if __name__ == '__main__':
    command.start(main, errors=(OSError,))
