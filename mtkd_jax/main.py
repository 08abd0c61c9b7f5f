"""Trains, evaluates and reports: `python -m mtkd_jax.main --config=configs/rooms.py --workdir=runs/rooms`.

--config=NAME:name=value,...     a config that comes with the package, from any directory
--config=FILE.py:name=value,...  a file with `get_config`
--config.FIELD=VALUE             any field; `--show` prints them all, `configs/base.py` explains them
--search=TRIALS                  first chooses the main setting of the method, on a tenth held out of the training set
"""

import difflib
import itertools
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from mtkd_jax import command, configs, datasets, recipe
from mtkd_jax.errors import UserError
from mtkd_jax.names import suggestion
from mtkd_jax.places import place
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError, StopRequest

try:
    CONFIG = config_flags.DEFINE_config_file(
        'config', None, 'The config: a name such as rooms, or a file; a recipe may follow a colon.'
    )
except flags.Error as error:
    # Defining it reads the files that --flagfile names.
    if __name__ != '__main__':
        raise
    sys.exit(f'error: {command.in_words(error)}')
WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Where the run keeps everything; the same command continues it.', allow_override=True
)
SEARCH = flags.DEFINE_integer(
    'search', 0, 'Trials of a search for the main setting, before training with it; 0: none.', allow_override=True
)
COORDINATOR = flags.DEFINE_string(
    'coordinator', None, 'HOST:PORT of the first of several processes; not needed on Slurm, TPU and GKE.'
)
PROCESSES = flags.DEFINE_integer('processes', None, 'How many processes train together.', lower_bound=1)
PROCESS = flags.DEFINE_integer('process', None, 'Which of them this is, from 0.', lower_bound=0)
SHOW = flags.DEFINE_bool('show', False, 'Print the config with all its fields, and run nothing.')


def usage() -> str:
    """What `--help` says above the flags; it imports neither jax nor what imports that."""
    tasks = '; '.join(f'{name}: {", ".join(datasets.named(name).task_names)}' for name in datasets.NAMES)
    return f"""{__doc__}
A recipe takes {', '.join(recipe.CHOICES)}, and settings of what it chose.

Configs: {', '.join(configs.NAMES)}.
Methods: {', '.join(recipe.METHODS)}; or a weighting, which stands for method=mtl with it.
Weightings: {', '.join(recipe.WEIGHTINGS)} (docs/weightings.md).
Backbones: {', '.join(recipe.BACKBONES)} (docs/networks.md).
Data sets and their tasks (joined with +): {tasks} (docs/data.md).
Methods, weightings, backbones and data sets of your own are named by their modules (CONTRIBUTING.md).
"""


def show(config: ConfigDict) -> str:
    """Every field and its value, a line each."""
    return '\n'.join(f'{name} = {value!r}' for name, value in _fields(config).items())


def _fields(config: ConfigDict) -> dict[str, Any]:
    from flax.traverse_util import flatten_dict  # here, because --help does without

    return flatten_dict(config.to_dict(), sep='.')


def prepared(argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The arguments with `--config` as a file, and all fields of that config; refuses fields that it does not have.

    Raises:
        UserError: there is no such config or field; says which one was probably meant.
    """
    found, others = list(argv), list[str | None](argv)
    fields: dict[str, Any] = {}
    place = ''
    for i, argument in enumerate(argv):
        flag, equals, text = argument.lstrip('-').partition('=')
        if not argument.startswith('-') or flag != 'config' or (not equals and i + 1 == len(argv)):
            continue
        name, colon, chosen = (text if equals else argv[i + 1]).partition(':')
        place = f'{configs.path(name)}{colon}{chosen}'
        found[i if equals else i + 1] = f'--config={place}' if equals else place
        others[i : i + (1 if equals else 2)] = [None] * (1 if equals else 2)
    if place:
        _check_others([argument for argument in others if argument is not None])
        fields = _fields(configs.load(place))
    for argument in argv:
        if fields and re.match(r'--?config\.[\w.]*\[', argument):
            raise UserError(f'{argument}: give the whole value, such as --config.widths=(8,8,8,8,8).')
        name = argument.partition('=')[0].lstrip('-').removeprefix('config.')
        if fields and argument.lstrip('-').startswith('config.') and not _has(fields, name):
            raise UserError(f'The config has no field {name!r}.{_meant(name, fields)} --show prints all.')
    return found, fields


def _check_others(argv: Sequence[str]) -> None:
    """Refuses what is wrong with flags other than the config's before that is loaded, which takes a second."""
    try:
        rest = flags.FLAGS(argv, known_only=True)[1:]
    except (flags.Error, ValueError):
        return  # a value that does not fit; said when all are parsed
    for argument in itertools.takewhile(lambda argument: argument.startswith('-'), rest):
        name = argument.lstrip('-').partition('=')[0]
        # Only what is very close: it may also be a field of the config.
        if not name.startswith('config.') and difflib.get_close_matches(name, list(flags.FLAGS), cutoff=0.8):
            raise UserError(command.unknown(name, {}))
    if not rest and not SHOW.value:
        command.value(WORKDIR)


def _has(fields: Mapping[str, Any], name: str) -> bool:
    return name in fields or any(field.startswith(f'{name}.') for field in fields)


def _meant(name: str, fields: Mapping[str, Any]) -> str:
    last = name.rpartition('.')[2]
    same = [field for field in fields if field.rpartition('.')[2] == last]
    return suggestion(name, fields) or (f' Did you mean {same[0]!r}?' if same else '')


def _config() -> ConfigDict:
    config = command.value(CONFIG)
    changed = config_flags.get_override_values(flags.FLAGS['config'])
    for field in recipe.CHOICES:
        if field in changed:
            given = changed[field]
            text = '+'.join(given) if isinstance(given, tuple | list) else given
            raise UserError(
                f'--config.{field}={text}: other fields follow `{field}`, so it is chosen in the recipe: '
                f'--config={Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem}:{field}={text}.'
            )
    return config


def main() -> None:
    """Runs, and prints where the report is."""
    config = _config()
    if SHOW.value:
        print(show(config))
        return
    workdir = place(command.value(WORKDIR))
    # Here, because --help and --show do without.
    from mtkd_jax.experiment.run import run
    from mtkd_jax.experiment.search import found, with_fields
    from mtkd_jax.training.compiled import keep_compiled
    from mtkd_jax.training.joining import joined
    from mtkd_jax.training.processes import first

    keep_compiled()
    with StopRequest((signal.SIGTERM, signal.SIGINT)) as stop:
        try:
            with joined(stop, COORDINATOR.value or '', PROCESSES.value, PROCESS.value):
                if SEARCH.value:
                    config = with_fields(config, found(config, workdir, SEARCH.value, stop))
                report = run(config, workdir, stop)
                alone = first()
        except StoppedError as stopped:
            print(stopped, *getattr(stopped, '__notes__', []), sep='\n', file=sys.stderr)
            sys.exit(stop.status)
        except KeyboardInterrupt:
            # The second one: whatever waits is left, threads included.
            os._exit(128 + signal.SIGINT)
    if alone:
        print(f'Report: {report}')


if __name__ == '__main__':
    command.start(main, errors=(NonFiniteLossError,), usage=usage, prepare=prepared)
