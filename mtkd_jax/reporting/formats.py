"""Compared rows as Markdown and LaTeX, rounded, and as CSV and JSON, with every digit and every seed."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mtkd_jax.reporting.compared import DELTA, Compared, Comparison
from mtkd_jax.reporting.contrasts import Baseline, Contrast, Ranking
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.statistics import LEAST, PLUS_MINUS, mean_and_spread, spread
from mtkd_jax.reporting.tables import markdown

LATEX = {
    '\\': r'\textbackslash{}',
    **{c: f'\\{c}' for c in '&%$#_{}'},
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '±': r'$\pm$',
    '↑': r'$\uparrow$',
    '↓': r'$\downarrow$',
    'Δ': r'$\Delta$',
    '°': r'$^\circ$',
    '≤': r'$\leq$',
    '²': r'$^2$',
    '–': '--',
}


@dataclass(frozen=True)
class Page:
    """All that is written: the rows, and where asked for, differences to one of them and ranks."""

    comparison: Comparison
    baseline: Baseline | None = None
    ranking: Ranking | None = None

    @property
    def notes(self) -> list[str]:
        """What stands below the table."""
        of_baseline = [PAIRED, *self.baseline.notes] if self.baseline else []
        return [*self.comparison.notes, *of_baseline, *(self.ranking.notes if self.ranking else [])]


PAIRED = (
    f'Differences are paired by seed, with an exact sign-flip test and, of {LEAST} pairs or more, a bootstrap interval'
    '. p (Holm) is corrected for the number of rows.'
)


def markdown_page(page: Page) -> str:
    """A Markdown table, and the notes below it."""
    return '\n\n'.join([markdown(*cells(page)), *page.notes])


def latex_page(page: Page) -> str:
    """A LaTeX table (booktabs), and the notes as paragraphs below it."""
    heads, body = cells(page)
    lines = [
        f'\\begin{{tabular}}{{l{"r" * (len(heads) - 1)}}}',
        r'\toprule',
        _latex_line(heads),
        r'\midrule',
        *map(_latex_line, body),
        r'\bottomrule',
        r'\end{tabular}',
    ]
    return '\n\n'.join(['\n'.join(lines), *map(escaped, page.notes)])


def escaped(text: str) -> str:
    """`text` as LaTeX that prints it."""
    return ''.join(LATEX.get(character, character) for character in text)


def _latex_line(cells: Sequence[str]) -> str:
    # After the end of a row, LaTeX takes a [ for a distance.
    line = ' & '.join(map(escaped, cells))
    return f'{"{}" if line.startswith("[") else ""}{line} \\\\'


def cells(page: Page) -> tuple[list[str], list[list[str]]]:
    """(heads, body) as text."""
    comparison, baseline, ranking = page.comparison, page.baseline, page.ranking
    heads, body = means(comparison, comparison.columns)
    heads += ['Δm ↑', 'seeds']
    for line, row in zip(body, comparison.rows, strict=True):
        line += [_cell(row, DELTA, 1, ' %'), str(len(row.seeds))]
    if baseline:
        heads += [f'Δm - {baseline.title} [95 %]', 'p', 'p (Holm)']
        for line, row in zip(body, comparison.rows, strict=True):
            line += _difference(baseline.contrasts.get(row.title, {}).get(DELTA))
    if ranking:
        heads += ['mean rank', 'group']
        for line, row in zip(body, comparison.rows, strict=True):
            rank = ranking.rows.get(row.title)
            line += [f'{rank.mean:.2f}{PLUS_MINUS}{rank.spread:.2f}', rank.groups] if rank else ['–', '–']
    return heads, body


def means(comparison: Comparison, columns: Mapping[str, int]) -> tuple[list[str], list[list[str]]]:
    """(heads, body) as text: a row per network, a column per metric (name → direction)."""
    labels = Labels.of(comparison.tasks)
    heads = ['network', *(labels.heading(name, way) for name, way in columns.items())]
    body = [
        [row.title + row.mark, *(_cell(row, name, labels[name].decimals) for name in columns)]
        for row in comparison.rows
    ]
    return heads, body


def _cell(row: Compared, name: str, decimals: int, unit: str = '') -> str:
    return mean_and_spread(list(row.numbers[name].values()), decimals, unit, of=len(row.seeds))


def _difference(contrast: Contrast | None) -> list[str]:
    if contrast is None:
        return ['–'] * 3
    pair = contrast.paired
    return [pair.words, *('–' if p is None else f'{p:.3g}' for p in (pair.p, contrast.p_holm))]


def json_page(page: Page) -> str:
    """All numbers as JSON: {protocol, baseline, rows, notes}."""
    content = {
        'protocol': page.comparison.protocol,
        'baseline': page.baseline.title if page.baseline else None,
        'rows': [
            {
                'row': row.title,
                'remark': row.remark,
                'branch': row.branch,
                'backbone': row.backbone,
                'tasks': list(row.tasks),
                'settings': dict(row.settings),
                'seeds': list(row.seeds),
                'numbers': {
                    name: numbers | {'by_seed': {str(seed): value for seed, value in row.numbers[name].items()}}
                    for name, numbers in _numbers(page, row)
                },
                **({'rank': vars(rank)} if page.ranking and (rank := page.ranking.rows.get(row.title)) else {}),
            }
            for row in page.comparison.rows
        ],
        'notes': page.notes,
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def csv_page(page: Page) -> str:
    """All numbers as CSV, a line for every row and metric; a column for every seed."""
    rows = page.comparison.rows
    seeds = list(dict.fromkeys(seed for row in rows for seed in row.seeds))
    lines: list[dict[str, Any]] = []
    for row in rows:
        rank = page.ranking.rows.get(row.title) if page.ranking else None
        for name, numbers in _numbers(page, row):
            difference = numbers.pop('difference', None) or {}
            line = {'row': row.title, 'remark': row.remark, 'metric': name, **numbers}
            line |= {f'seed {seed}': row.numbers[name].get(seed) for seed in seeds}
            line |= {f'difference {key}': value for key, value in difference.items()}
            line |= {f'rank {key}': value for key, value in vars(rank).items()} if rank and name == DELTA else {}
            lines.append(line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)), lineterminator='\n')
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().rstrip('\n')


def _numbers(page: Page, row: Compared) -> Iterator[tuple[str, dict[str, Any]]]:
    """The metrics that a row has, and Δm: title, mean, standard deviation, number of seeds, difference to baseline."""
    labels = Labels.of(page.comparison.tasks)
    contrasts: Mapping[str, Contrast] = page.baseline.contrasts.get(row.title, {}) if page.baseline else {}
    for name, by_seed in row.numbers.items():
        if by_seed:
            values = list(by_seed.values())
            title = 'Δm (%)' if name == DELTA else str(labels[name])
            found: dict[str, Any] = {'title': title, 'mean': fmean(values), 'std': spread(values), 'n': len(values)}
            if name in contrasts:
                found['difference'] = vars(contrasts[name].paired) | {'p_holm': contrasts[name].p_holm}
            yield name, found


FORMATS: Mapping[str, Callable[[Page], str]] = {
    'markdown': markdown_page,
    'csv': csv_page,
    'latex': latex_page,
    'json': json_page,
}
