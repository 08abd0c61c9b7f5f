"""The section that says where the time went."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtkd_jax.reporting.tables import markdown

# What is counted, in the order of a stage, and what a column is called.
PARTS: Mapping[str, str] = {
    'reading': 'reading data',
    'teachers': 'asking teachers',
    'compiling': 'compiling',
    'training': 'training steps',
    'waiting': 'waiting for data',
    'diagnosing': 'diagnoses',
    'evaluating': 'evaluating',
    'saving': 'saving',
    'rest': 'the rest',
}
AT_ONCE = (
    'Up to {} stages were trained at the same time. Their seconds overlap, and peak memory is that of all; steps and '
    'compilations may have taken longer than they take alone.'
)
OUTSIDE: Mapping[str, str] = {'starting': 'before the first stage', 'drawing': 'drawing'}
NOTE = (
    'Seconds of the process that finished a stage; what was done before, where that one was continued, is not counted. '
    'A part counts where the host waits for it.'
)


def time(stages: Sequence[Mapping[str, Any]], run: Mapping[str, float]) -> str:
    """A row of seconds per stage, and what lies outside of stages; '' where nothing was counted."""
    counted = [stage for stage in stages if stage.get('spent')]
    if not counted:
        return ''
    shown = [part for part in PARTS if any(part in stage['spent'] for stage in counted)]
    rows = [
        [stage['stage'], *_cells(stage['spent'], shown), f'{sum(stage["spent"].values()):,.1f}'] for stage in counted
    ]
    outside = {part: run[part] for part in OUTSIDE if part in run}
    if outside:
        rows.append(['outside of stages', *('' for _ in shown), f'{sum(outside.values()):,.1f}'])
    table = markdown(['seconds', *(PARTS[part] for part in shown), 'together'], rows)
    parts = [f'Where the time went:\n\n{table}', NOTE]
    if several := at_once(counted):
        parts.append(several)
    if outside:
        parts.append(f'Outside: {", ".join(f"{OUTSIDE[part]} {seconds:,.1f}" for part, seconds in outside.items())}.')
    return '\n\n'.join(parts)


def at_once(stages: Sequence[Mapping[str, Any]]) -> str:
    """What it means for the seconds that stages were trained at the same time; '' where they were not."""
    most = max(((stage.get('timing') or {}).get('at_once', 1) for stage in stages), default=1)
    return AT_ONCE.format(most) if most > 1 else ''


def _cells(spent: Mapping[str, float], shown: Sequence[str]) -> list[str]:
    return [f'{spent[part]:,.1f}' if part in spent else '–' for part in shown]
