"""What `benchmarks.accelerator` has measured so far: one JSON file and a Markdown table, written as it goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.plan import Entry
from mtkd_jax.files import replace, write_json

NAME = 'accelerator'
MEANT = 'a GPU, 288x384 and the widths of the paper'


@dataclass(frozen=True)
class Target:
    """A number that is wanted: `field` of the record `what` of the measurement `entry`, at least `wanted`."""

    name: str
    wanted: float
    entry: str
    what: str
    field: str


EPOCH, PUBLISHED = 'ours, data on the device', 'published loop'
TARGETS = (
    *(
        Target(f'PyTorch eager float32 ÷ ours, batch {b}', 3, f'step_kd_mtl_float32_{b}', 'torch', 'ratio')
        for b in (2, 8)
    ),
    *(
        Target(
            f'PyTorch compiled bfloat16 channels-last ÷ ours, batch {b}',
            1.3,
            f'compiled_kd_mtl_bfloat16_{b}',
            'torch_compile',
            'ratio',
        )
        for b in (2, 8)
    ),
    *(
        Target(f'share of the roofline, {dtype}, batch {b}', 0.5, f'step_kd_mtl_{dtype}_{b}', 'ours', 'share_of_bound')
        for dtype in ('float32', 'bfloat16')
        for b in (2, 8)
    ),
    Target('published epoch ÷ ours, float32', 5, 'epoch_kd_mtl_float32_2', EPOCH, 'ratio'),
)


class Results:
    """Files `accelerator.json` and `accelerator.md` in `folder`, rewritten whenever something is added.

    A measurement is `running`, `done`, `failed`, `unfinished` (the time was over) or `skipped`, the last three with a
    `reason`; its `records` are there in every state.
    """

    def __init__(self, folder: Path, given: Mapping[str, Any]) -> None:
        """`given`: how the script was called."""
        self._folder = folder
        self.content: dict[str, Any] = {**given, 'facts': {}, 'entries': {}, 'targets': []}

    def begin(self, entry: Entry) -> None:
        """`entry` is being measured."""
        self.content['entries'][entry.name] = {'state': 'running', 'records': []}
        self.write()

    def add(self, entry: Entry, record: dict[str, Any]) -> None:
        """Something of `entry` is measured, or facts of the machine are known."""
        if 'facts' in record:
            self.content['facts'] |= record['facts']
        else:
            self.content['entries'][entry.name]['records'].append(record)
            self._relate()
        self.write()

    def end(self, entry: Entry, state: str, seconds: float, reason: str = '') -> None:
        """`entry` is over, after so many seconds."""
        found = self.content['entries'].setdefault(entry.name, {'records': []})
        found |= {'state': state, 'seconds': round(seconds, 1), **({'reason': reason} if reason else {})}
        self.write()

    @property
    def failed(self) -> bool:
        """Whether a measurement failed."""
        return any(entry['state'] == 'failed' for entry in self.content['entries'].values())

    def find(self, entry: str, what: str) -> dict[str, Any]:
        """The record `what` of a measurement; empty: there is none."""
        records = self.content['entries'].get(entry, {'records': []})['records']
        return next((record for record in records if record['what'] == what), {})

    def write(self) -> None:
        """Both files, each whole."""
        write_json(self._folder / f'{NAME}.json', self.content)
        partial = self._folder / f'{NAME}.md.tmp'
        partial.write_text(self.markdown())
        replace(partial, self._folder / f'{NAME}.md')

    def markdown(self) -> str:
        """The machine, the targets, and a row for every record."""
        given = {name: value for name, value in self.content.items() if name not in ('facts', 'entries', 'targets')}
        facts = ', '.join(f'{name}: {value}' for name, value in {**given, **self.content['facts']}.items())
        lines = [f'{facts}.', '', f'Targets are meant for {MEANT}.', '']
        lines += ['| target | wanted | measured | |', '| :--- | ---: | ---: | :--- |']
        lines += [
            f'| {t["target"]} | ≥ {t["wanted"]:g} | {t["measured"] or "–"} | {t["said"]} |'
            for t in self.content['targets'] or self._targets()
        ]
        lines += ['', '| measurement | what | s | range | ÷ ours | roofline | GiB | |']
        lines += ['| :--- | :--- | ---: | ---: | ---: | ---: | ---: | :--- |']
        for name, entry in self.content['entries'].items():
            lines += [row(name, record) for record in entry['records']]
            if entry['state'] != 'done':
                said = ': '.join([entry['state'], *([entry['reason']] if 'reason' in entry else [])])
                lines.append(f'| {name} | | | | | | | {said} |')
        return '\n'.join(lines) + '\n'

    def _relate(self) -> None:
        """Ratios of what two processes have measured, and the targets."""
        slow = self.find('published_kd_mtl_float32_2', PUBLISHED)
        for dtype in ('float32', 'bfloat16'):
            own = self.find(f'epoch_kd_mtl_{dtype}_2', EPOCH)
            if own.get('seconds') and slow.get('seconds'):
                own['ratio'] = round(slow['seconds'] / own['seconds'], 3)
        self.content['targets'] = self._targets()

    def _targets(self) -> list[dict[str, Any]]:
        found = []
        for target in TARGETS:
            value = self.find(target.entry, target.what).get(target.field)
            said = 'not measured' if value is None else 'reached' if value >= target.wanted else 'missed'
            found.append({'target': target.name, 'wanted': target.wanted, 'measured': value, 'said': said})
        return found


def row(name: str, record: Mapping[str, Any]) -> str:
    """A row of the table."""
    said = [f'{key}: {record[key]}' for key in ('failed', 'skipped', 'ratio_cached', 'steps_measured') if key in record]
    cells = [
        name,
        record['what'],
        f'{record["seconds"]:.4g}' if 'seconds' in record else '',
        '{:.3g} to {:.3g}'.format(*record['range']) if 'range' in record else '',
        f'{record["ratio"]:.2f}' if 'ratio' in record else '',
        f'{100 * record["share_of_bound"]:.0f} %' if 'share_of_bound' in record else '',
        f'{record["memory_gib"]:.2f}' if record.get('memory_gib') is not None else '',
        ', '.join(said),
    ]
    return '| ' + ' | '.join(str(cell).replace('|', '/') for cell in cells) + ' |'
