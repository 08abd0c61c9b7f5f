"""Keeps the small results of a study beside the docs, and writes the tables that are made from them.

    python -m benchmarks.kept --study=runs/core --name=core    # copies every results.json to docs/studies/core
    python -m benchmarks.kept                                  # writes those sections of README and docs anew

`tests/test_documents.py` checks that the sections are what the kept files give.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mtkd_jax import command
from mtkd_jax.errors import UserError
from mtkd_jax.experiment.models import tasks_of_stage
from mtkd_jax.files import write_text
from mtkd_jax.records import RESULTS, STAGES
from mtkd_jax.reporting.compared import DELTA, Compared, compared
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import stages_by_folder
from mtkd_jax.reporting.statistics import Paired, holm, mean_and_spread, paired
from mtkd_jax.reporting.tables import markdown

STUDY = flags.DEFINE_string('study', '', 'The folder of a study whose results are kept.')
NAME = flags.DEFINE_string('name', '', 'What it is called in docs/studies.')

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / 'docs/studies'
SHOWN = ('miou', 'pixel_accuracy', 'depth_abs', 'depth_rel', 'normal_mean', 'normal_median')
ALPHA = 0.05
SEEDS = set(range(8))
SINGLE, UNIFORM, TUNED, DISTILLED, SEARCHED = ROWS = (
    'single-task',
    '`uniform`',
    '`uniform`, searched',
    '`kd_mtl`',
    '`kd_mtl`, searched',
)
"""The rows of docs/protocol.md."""


def keep(study: Path, out: Path) -> int:
    """Copies the results of every stage of a study once, and the search; returns how many stages there were.

    Raises:
        UserError: no stage is finished, or `out` is there.
    """
    if out.exists():
        raise UserError(f'{out} is there; remove it first.')
    seen: set[Path] = set()
    for file in sorted(study.glob(f'**/runs/**/{STAGES}/*/{RESULTS}')):
        if file.resolve() not in seen:
            seen.add(file.resolve())
            _copy(file, out / file.relative_to(study))
    if not seen:
        raise UserError(f'{study} has no finished stage.')
    for file in study.glob('search/search.json'):
        _copy(file, out / file.relative_to(study))
    return len(seen)


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    write_text(to, json.dumps(json.loads(file.read_text()), ensure_ascii=False) + '\n')


def core(folder: Path) -> str:
    """The section of docs/protocol.md's comparison.

    Raises:
        UserError: a row, a seed or a Δm is missing.
    """
    rows, tasks = _rows(folder)
    chosen = json.loads((folder / 'search/search.json').read_text())['searches']
    return '\n\n'.join(
        [
            f'Mean ± sample standard deviation over {len(SEEDS)} seeds.',
            markdown(*_numbers(rows, tasks, SHOWN)),
            *tests(_deltas(rows)),
            f'What the search chose, with its Δm on the held-out tenth: {"; ".join(map(_chosen, chosen.values()))}.',
        ]
    )


def summary(folder: Path) -> str:
    """The same in one table."""
    rows, tasks = _rows(folder)
    deltas, (heads, body) = _deltas(rows), _numbers(rows, tasks, ('miou', 'depth_rel', 'normal_mean'))
    to_uniform = _against(deltas, UNIFORM)
    p = _holm(to_uniform)
    for line, row in zip(body, rows, strict=True):
        line.append(mean_and_spread(list(deltas[row].values()), 2, ' %', sign='+') if row in deltas else '–')
        line += [to_uniform[row].words, f'{p[row]:.3f}'] if row in to_uniform else ['–', '–']
    return markdown([*heads, 'Δm ↑', f'Δm - {UNIFORM} [95 %]', 'p (Holm)'], body)


def _rows(folder: Path) -> tuple[dict[str, Compared], list[ReportedTask]]:
    workdirs = sorted(folder.glob('runs/*/seed*'))
    tasks = _tasks(workdirs)
    return _named(compared(workdirs, tasks).rows), tasks


def _deltas(rows: Mapping[str, Compared]) -> dict[str, Mapping[int, float]]:
    return {name: row.numbers[DELTA] for name, row in rows.items() if not row.single}


def _numbers(
    rows: Mapping[str, Compared], tasks: Sequence[ReportedTask], shown: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    labels = Labels.of(tasks)
    heads = ['', *(labels.heading(name, _way(name, tasks)) for name in shown)]
    return heads, [[name, *(_cell(row, metric, labels) for metric in shown)] for name, row in rows.items()]


def _against(deltas: Mapping[str, Mapping[int, float]], base: str) -> dict[str, Paired]:
    return {row: paired(own, deltas[base]) for row, own in deltas.items() if row != base}


def tests(deltas: Mapping[str, Mapping[int, float]]) -> tuple[str, str, str]:
    """The tests of docs/protocol.md, of Δm by row and seed: a table, test 2, and the verdicts on its claims."""
    to_uniform = _against(deltas, UNIFORM)
    to_single = {row: paired(own, dict.fromkeys(own, 0.0)) for row, own in deltas.items()}
    last = paired(deltas[SEARCHED], deltas[TUNED])
    p_uniform, p_single = _holm(to_uniform), _holm(to_single)
    body = [
        [
            row,
            mean_and_spread(list(own.values()), 2, ' %', sign='+'),
            *(to_single[row].words, f'{p_single[row]:.3f}'),
            *((to_uniform[row].words, f'{p_uniform[row]:.3f}') if row in to_uniform else ('–', '–')),
        ]
        for row, own in deltas.items()
    ]
    heads = ['', 'Δm', 'Δm [95 %]', 'p (Holm)', f'Δm - {UNIFORM} [95 %]', 'p (Holm)']
    claims = [
        *((f'a. {row} is better than {UNIFORM}', to_uniform[row], p_uniform[row]) for row in (DISTILLED, SEARCHED)),
        *((f'b. {row} is better than its teachers', to_single[row], p_single[row]) for row in (DISTILLED, SEARCHED)),
        (f'c. {SEARCHED} is better than {TUNED}', last, _p(last)),
    ]
    said = '\n'.join(f'- {text}: {_verdict(test.mean, p)} ({test.words}, p = {p:.3f}).' for text, test, p in claims)
    return markdown(heads, body), f'{SEARCHED} - {TUNED}: {last.words}, p = {_p(last):.3f}.', said


def _tasks(workdirs: Sequence[Path]) -> list[ReportedTask]:
    found: dict[str, ReportedTask] = {}
    for workdir in workdirs:
        for folder, stage in stages_by_folder(workdir, ()).items():
            found |= {task.name: task for task in tasks_of_stage(folder, stage) if task.name not in found}
    order = ('segmentation', 'depth', 'normals')
    return [found[name] for name in order]


def _named(rows: Sequence[Compared]) -> dict[str, Compared]:
    """The rows by the names of the protocol, in its order."""
    found: dict[str, Compared] = {}
    for row in rows:
        of_tasks = {v for k, v in row.settings.items() if k.startswith('task_weights.')}
        taught = {k: v for k, v in row.settings.items() if k.startswith('method_settings.weights.')}
        default = all(value == (2.0 if name.endswith('.normals') else 1.0) for name, value in taught.items())
        name = SINGLE if row.single else (DISTILLED if default else SEARCHED) if taught else UNIFORM
        if name == UNIFORM and of_tasks != {1.0}:
            name = TUNED
        if name in found:
            raise UserError(f'{found[name].title} and {row.title} are both {name} of the protocol.')
        complete = set(row.seeds) == SEEDS and all(
            set(row.numbers[metric]) == SEEDS for metric in (*SHOWN, *(() if row.single else (DELTA,)))
        )
        if not complete:
            raise UserError(f'{row.title} lacks a seed, or a number of one; the protocol has {sorted(SEEDS)}.')
        found[name] = row
    if set(found) != set(ROWS):
        raise UserError(f'The study lacks {", ".join(name for name in ROWS if name not in found)}.')
    return {name: found[name] for name in ROWS}


def _p(test: Paired) -> float:
    if test.p is None:
        raise UserError('A single pair cannot be tested.')
    return test.p


def _holm(tests: Mapping[str, Paired]) -> dict[str, float]:
    return dict(zip(tests, holm([_p(test) for test in tests.values()]), strict=True))


def _verdict(mean: float, p: float) -> str:
    """As docs/protocol.md decides it."""
    return 'cannot be told' if p >= ALPHA else '**held**' if mean > 0 else '**did not hold**'


def _chosen(search: Mapping[str, Any]) -> str:
    best = search['trials'][search['chosen']]
    fields = ', '.join(f'`{name}` {value:g}' for name, value in best['fields'].items())
    default = search['trials'][0]['delta_m']
    return f'{fields} ({best["delta_m"]:+.1f} %; the default {default:+.1f} %)'


def _cell(row: Compared, metric: str, labels: Labels) -> str:
    return mean_and_spread(list(row.numbers[metric].values()), labels[metric].decimals, of=len(row.seeds))


def _way(metric: str, tasks: Sequence[ReportedTask]) -> int:
    return next(task.metrics.each[metric].direction for task in tasks if metric in task.metrics.each)


PAGES: Mapping[Path, Mapping[str, tuple[str, Callable[[Path], str]]]] = {
    ROOT / 'docs/results.md': {'core': ('core', core)},
    ROOT / 'README.md': {'core summary': ('core', summary)},
}
"""Page → name of a section → the study in docs/studies, and what writes the section from it."""


def written(page: str, sections: Mapping[str, str]) -> str:
    """`page` with each section between its marks, `<!-- core -->` and `<!-- /core -->`, replaced.

    Raises:
        UserError: the page lacks the marks.
    """
    for name, text in sections.items():
        pattern = re.compile(rf'<!-- {name} -->\n.*?<!-- /{name} -->', re.DOTALL)
        if not pattern.search(page):
            raise UserError(f'The page has no place for {name}: <!-- {name} --> and <!-- /{name} -->.')
        page = pattern.sub(lambda _, name=name, text=text: f'<!-- {name} -->\n\n{text}\n\n<!-- /{name} -->', page)
    return page


def pages() -> dict[Path, str]:
    """What every page is to be, from the kept files."""
    return {
        page: written(page.read_text(), {name: write(STUDIES / study) for name, (study, write) in of_page.items()})
        for page, of_page in PAGES.items()
    }


def main() -> None:
    """Keeps a study's results, or writes the page."""
    if bool(STUDY.value) != bool(NAME.value):
        raise UserError('--study and --name go together.')
    if STUDY.value:
        print(f'{keep(Path(STUDY.value), STUDIES / NAME.value)} stages kept.')
    else:
        for page, text in pages().items():
            write_text(page, text)


if __name__ == '__main__':
    command.start(main)
