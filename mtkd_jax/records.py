"""The records of a stage: its folder, its settings and results, and the numbers it wrote on the way.

Training writes them, reports read them; nothing else reads or writes these files.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from mtkd_jax.files import read_json, write_json, write_text
from mtkd_jax.places import Stored
from mtkd_jax.types import STUDENT, TEACHER, UserError

FORMAT = 2  # of settings and results; those written before they had a number are of format 1
SETTINGS, RESULTS, METRICS = 'settings.json', 'results.json', 'metrics.jsonl'
CHOICES, SPENT = 'choices.json', 'spent.json'
REPORT = 'report.md'  # of a workdir
COMPARED = 'compared'  # begins the names of the pictures of all its networks side by side
# Folders.
STAGES = 'stages'
CARD = 'README.md'  # of a model folder
MODEL, MODEL_EMA, BEST, CHECKPOINTS, TENSORBOARD = 'model', 'model_ema', 'best', 'checkpoints', 'tensorboard'

POSITION = ('step', 'epoch', 'split')  # where a record stands; all else in it are numbers by name
# `loss/depth` is a loss; in `student/miou` and `student/loss/depth` the first word is a branch.
KINDS = ('loss', 'distillation', 'agreement', 'weight', 'weighting', 'gradient', 'cosine', 'cka')

AVERAGES = 'ema'  # the branch of moving averages; of a branch, `ema_student`
RATE = 'learning_rate'  # of the network, in records of training

Record = dict[str, Any]


def stage_folder(workdir: Path, name: str) -> Path:
    """Where a stage keeps its files."""
    return workdir / STAGES / name


def losses_of(stage: str) -> str:
    """What the picture of a stage's losses by task is called."""
    return f'{stage}_losses'


def seed_folder(workdir: Path, seed: int) -> Path:
    """Where one seed of a run of several keeps its files: a workdir of its own."""
    return workdir / f'seed{seed}'


def seed_folders(workdir: Path) -> list[Path]:
    """The folders of all seeds that have begun, of a run of several."""
    return sorted(folder.parent for folder in workdir.glob(f'seed*/{STAGES}'))


def stage_folders(workdir: Path, having: str) -> list[Path]:
    """The folders of all stages that have a file `having`, by name."""
    return sorted(folder for folder in workdir.glob(f'{STAGES}/*') if (folder / having).is_file())


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Begins a stage: writes what decides its outcome."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SETTINGS, {'format': FORMAT, **settings})


def read_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the stage in `folder`; None where none is begun.

    Raises:
        UserError: the file is damaged, or was written by a version of another format.
    """
    file = folder / SETTINGS
    if not file.is_file():
        return None
    again = f'use another --workdir, or remove {folder} to train the stage again'
    written, settings = _read(file, again)
    if written != FORMAT:
        age = 'an earlier' if written < FORMAT else 'a later'
        raise UserError(
            f'{file} was written by {age} version of mtkd_jax (format {written}, this is {FORMAT}); {again}.'
        )
    return settings


def read_choices(folder: Path) -> dict[str, Any]:
    """What `auto` meant when the stage in `folder` was begun, by field; empty where none is begun.

    A run that continues does the same, whatever memory is free now.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / CHOICES
    return read_json(file, f'remove {file}') if file.is_file() else {}


def write_choices(folder: Path, choices: Mapping[str, str]) -> None:
    """Keeps what `auto` means in the stage."""
    write_json(folder / CHOICES, dict(choices))


def write_spent(workdir: Path, spent: Mapping[str, float]) -> None:
    """Keeps where the seconds of a run went outside of stages: `starting`, `drawing`."""
    write_json(workdir / SPENT, dict(spent))


def read_spent(workdir: Path) -> dict[str, float]:
    """Where the seconds of the run in `workdir` went outside of stages; empty where nobody said.

    Raises:
        UserError: the file is damaged.
    """
    file = workdir / SPENT
    found = read_json(file, f'remove {file}') if file.is_file() else {}
    for name, value in found.items():
        if not _is(value, NUMBERS):
            raise UserError(f'{file} has `{name}` {value!r}, which is no number; remove it.')
    return found


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Ends a stage: one that has results is finished."""
    write_json(folder / RESULTS, {'format': FORMAT, **results})


def read_results(folder: Path) -> dict[str, Any] | None:
    """The results of the stage in `folder`; None where it is not finished. Those of format 1 may have fewer entries.

    Raises:
        UserError: the file is damaged, or was written by a version of a later format.
    """
    file = folder / RESULTS
    if not file.is_file():
        return None
    written, results = _read(file, f'remove {file} and run the stage again')
    if written > FORMAT:
        raise UserError(
            f'{file} was written by a later version of mtkd_jax (format {written}, this is {FORMAT}); update mtkd_jax.'
        )
    return results


def _read(file: Path, remedy: str) -> tuple[int, dict[str, Any]]:
    """(format, content without it)."""
    content = read_json(file, remedy)
    written = content.pop('format', 1)
    if not isinstance(written, int):
        raise UserError(f'{file} has format {written!r}, which is no number; {remedy}.')
    return written, content


def finished_stages(workdir: Path) -> dict[Path, dict[str, Any]]:
    """The results of every finished stage in `workdir` by its folder, in the order of their names.

    Raises:
        UserError: a file is damaged, was written by a later version, or lacks its results.
    """
    found = [(folder, read_results(folder)) for folder in stage_folders(workdir, RESULTS)]
    stages = {folder: results for folder, results in found if results is not None}
    for folder, results in stages.items():
        missing = [name for name in ('stage', 'method', 'tasks', 'results') if name not in results]
        if missing:
            raise UserError(f'{folder / RESULTS} lacks `{"`, `".join(missing)}`; remove it and run the stage again.')
        _check_entries(folder / RESULTS, results)
    return stages


WORDS, NUMBERS, TREES = 'a word', 'a number', 'names with values'
# What entries of results are; further ones are not read.
ENTRIES: Mapping[str, str | tuple[str, ...]] = {
    **dict.fromkeys(('stage', 'method', 'weighting', 'backbone', 'dataset'), WORDS),
    **dict.fromkeys(('epochs', 'steps', 'seed'), NUMBERS),
    **dict.fromkeys(
        ('results', 'settings', 'baselines', 'selection', 'timing', 'parameters', 'branches', 'machine', 'spent'), TREES
    ),
    'settings.data': TREES,
    'settings.backbone_settings': TREES,
    'machine.versions': TREES,
    'machine.cores': NUMBERS,
    **dict.fromkeys(
        (*(f'machine.{name}' for name in ('processor', 'system', 'python', 'commit')), 'machine.versions.*'), WORDS
    ),
    **dict.fromkeys(('selection.rule', 'selection.note', 'timing.device', 'timing.jax', 'timing.compute_dtype'), WORDS),
    **dict.fromkeys(('results.*', 'timing.*', 'parameters.*', 'spent.*'), NUMBERS),
    **dict.fromkeys(('baselines.*', 'branches.*'), TREES),
    **dict.fromkeys(('branches.*.parameters', 'branches.*.operations'), NUMBERS),
    **dict.fromkeys(('baselines.*.predictor', 'baselines.*.*'), (WORDS, NUMBERS)),
}
NEEDED = {'selection': ('rule', 'note'), 'branches.*': ('parameters', 'operations')}
NEEDED_NUMBERS = ('results.*', 'parameters.*', 'branches.*.parameters', 'spent.*')


def _check_entries(file: Path, results: Mapping[str, Any]) -> None:
    """Raises a UserError that names an entry of results which is of another kind than it should be."""
    # Results of format 1 name one row of a paper at most.
    one = [results['paper']] if results.get('paper') is not None else []
    tasks, papers = results['tasks'], results.get('papers', one)
    for name, entries, kind in (('tasks', tasks, str), ('papers', papers, Mapping)):
        if not isinstance(entries, list) or not all(isinstance(entry, kind) for entry in entries):
            _refuse(file, name, entries)
    for place in papers:
        if not all(isinstance(value, str) for value in place.values()):
            _refuse(file, 'papers', place)
    if results.get('steps') is not None and 'epochs' not in results:
        raise UserError(f'{file} has `steps`, but lacks `epochs`; remove the file and run the stage again.')
    _check_tree(file, results, '', '')


def _check_tree(file: Path, tree: Mapping[str, Any], path: str, pattern: str) -> None:
    for name, value in tree.items():
        found = next((p for p in (f'{pattern}{name}', f'{pattern}*') if p in ENTRIES), None)
        if found is None:
            continue
        expected = ENTRIES[found]
        kinds = (expected,) if isinstance(expected, str) else expected
        unknown = value is None and found not in NEEDED_NUMBERS and name not in ('stage', 'method', 'results')
        if not unknown and not any(_is(value, kind) for kind in kinds):
            _refuse(file, f'{path}{name}', value)
        if isinstance(value, Mapping) and value:
            _check_has(file, f'{path}{name}', value, NEEDED.get(found, ()))
            _check_tree(file, value, f'{path}{name}.', f'{found}.')


def _check_has(file: Path, path: str, entries: Mapping[str, Any], needed: Iterable[str]) -> None:
    missing = [name for name in needed if name not in entries]
    if missing:
        raise UserError(f'{file} lacks `{path}.{missing[0]}`; remove the file and run the stage again.')


def _is(value: Any, kind: str) -> bool:
    if kind == WORDS:
        return isinstance(value, str)
    return isinstance(value, Mapping) if kind == TREES else isinstance(value, int | float)


def _refuse(file: Path, name: str, value: Any) -> None:
    raise UserError(f'{file} has `{name}` {value!r}, which cannot be; remove the file and run the stage again.')


def split_branch(name: str) -> tuple[str, str]:
    """`student/miou` → (`student`, `miou`); `loss/depth` → ('', `loss/depth`)."""
    first, slash, rest = name.partition('/')
    return (first, rest) if slash and first not in KINDS else ('', name)


def by_branch(results: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """{branch: results without the branch's name}; teacher, student, then others."""
    branches: dict[str, dict[str, float]] = {}
    for key, value in results.items():
        branch, name = split_branch(key)
        branches.setdefault(branch, {})[name] = value
    order = ('', TEACHER, STUDENT)
    return dict(sorted(branches.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def numbers(record: Record) -> dict[str, float]:
    """A record's numbers, without where it stands."""
    return {name: value for name, value in record.items() if name not in POSITION}


def read_records(folder: Path) -> Iterator[Record]:
    """The records of the stage in `folder`; a last line that was cut off while it was written is left out.

    Raises:
        UserError: another line is no record, or is not UTF-8.
    """
    file = folder / METRICS
    *whole, _ = file.read_bytes().split(b'\n') if file.is_file() else [b'']
    for i, line in enumerate(whole, 1):
        try:
            record = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise UserError(f'{file}, line {i} is not JSON ({error}); remove that line.') from error
        if not isinstance(record, dict) or any(name not in record for name in POSITION):
            raise UserError(f'{file}, line {i} is no record with {", ".join(POSITION)}; remove that line.')
        yield record


class RecordWriter:
    """Appends records to `folder/metrics.jsonl`, each on disk at once; what was there before may be dropped.

    In a store, where nothing is appended to, each writes the whole file again.

    Args:
        folder: the stage's folder; made when absent.
        resume_step: the step that training continues from. Records of later steps, which will be computed again, are
            dropped; 0 = all of them, None = keep everything. A last line that was cut off goes.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        kept = [r for r in read_records(folder) if resume_step is None or r['step'] <= resume_step]
        self._lines: list[str] | None = [] if isinstance(folder, Stored) else None
        self._rewrite(kept)
        self._written = {(r['step'], r['split']) for r in kept if r['step'] == resume_step}
        self._open()

    def append(self, record: Mapping[str, Any]) -> Record:
        """Appends a record, and returns it with plain numbers.

        A run that continues where an epoch ended evaluates that epoch again: the new record replaces the old one.

        Raises:
            UserError: `step`, `epoch` or `split` is missing.
        """
        missing = [name for name in POSITION if name not in record]
        if missing:
            raise UserError(
                f'The record {dict(record)} lacks `{"`, `".join(missing)}`; every record says where it stands.'
            )
        clean = {name: _plain(value) for name, value in record.items()}
        where = clean['step'], clean['split']
        if where in self._written:
            self._written.discard(where)
            self.close()
            self._rewrite(r for r in read_records(self._folder) if (r['step'], r['split']) != where)
            self._open()
        self._add(json.dumps(clean) + '\n')
        return clean

    def close(self) -> None:
        """Closes the file; what was written stays."""
        if self._lines is None:
            self._file.close()

    def _open(self) -> None:
        if self._lines is None:
            self._file = (self._folder / METRICS).open('a')

    def _add(self, line: str) -> None:
        if self._lines is None:
            self._file.write(line)
            self._file.flush()
        else:
            self._lines.append(line)
            write_text(self._folder / METRICS, ''.join(self._lines))

    def _rewrite(self, records: Iterable[Record]) -> None:
        lines = [json.dumps(record) + '\n' for record in records]
        if self._lines is not None:
            self._lines = lines
        write_text(self._folder / METRICS, ''.join(lines))


def _plain(value: Any) -> str | int | float:
    """A value as JSON knows it: NumPy and JAX scalars become Python's."""
    if isinstance(value, str):
        return value
    return int(value) if isinstance(value, Integral) else float(value)
