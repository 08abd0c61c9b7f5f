"""Running a table: its study, the search before it, and the table that it ends with."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mtkd_jax.experiment.reproduction import Entry, Part, beside_defaults, config_of
from mtkd_jax.experiment.run import check_place, train_stage
from mtkd_jax.experiment.search import FOLDER, Search, Trial, in_words, rule, space, with_fields
from mtkd_jax.experiment.stages import Opened
from mtkd_jax.experiment.study import Job, Study
from mtkd_jax.files import write_json
from mtkd_jax.reporting import reproduced
from mtkd_jax.reporting.progress import SplitProgress
from mtkd_jax.reporting.report import write_document
from mtkd_jax.reporting.reproduced import Line
from mtkd_jax.training.lock import locked
from mtkd_jax.training.processes import check_alone
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.stop import NonFiniteLossError, StopRequest

TABLE, NUMBERS = 'table.md', 'table.json'


class Reproduction:
    """A table in a workdir.

    Args:
        parts: what the table consists of.
        workdir: keeps everything.
        seeds: of every row.
        fields: set in all configs.
        search: trials of the search; 0: none.
        keep_defaults: searched rows stand beside those of the defaults, not in their place.
        opened: has the data.

    Raises:
        UserError: a recipe, a field or the data do not fit.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        workdir: Path,
        seeds: Sequence[int],
        fields: Mapping[str, Any],
        search: int,
        keep_defaults: bool = False,
        opened: Opened | None = None,
    ) -> None:
        check_alone('a plan')
        check_place(workdir)
        if search and keep_defaults:
            parts = [beside_defaults(part, fields) for part in parts]
        self._opened = opened
        self._parts, self._workdir, self._fields, self._seeds = parts, workdir, dict(fields), list(seeds)
        self._configs = {
            _name(part, entry, i): config_of(part.dataset, recipe, fields, seeds)
            for part in parts
            for entry in part.entries
            for i, recipe in enumerate(entry.recipes)
        }
        open_to_it = [_name(p, e, i) for p in parts for e in p.entries if e.searched for i in range(len(e.recipes))]
        searched = {name: self._configs[name] for name in open_to_it if search and space(self._configs[name])}
        with SplitProgress() as rendering:
            self.search = Search(workdir / FOLDER, searched, search, rendering, opened) if searched else None
            self.study = Study(workdir, self._configs, rendering, opened)

    @property
    def jobs(self) -> list[Job]:
        """All stages, those of the search first; it may choose other settings for some of the others."""
        return [*(self.search.study.jobs if self.search else ()), *self.study.jobs]

    def run(self, stop: StopRequest) -> tuple[Path, list[NonFiniteLossError]]:
        """Trains what is not finished; the table's file, and the errors of stages whose losses were not finite.

        Raises:
            StoppedError: a stop was requested.
        """
        programs, chosen = Programs(), dict[str, Trial]()
        if self.search is not None:
            chosen = self.search(stop, programs)
            with SplitProgress() as rendering:
                self.study = Study(self._workdir, self._with(chosen), rendering, self._opened)

        def train(one: Any, stage: Any) -> None:
            train_stage(one, stage, stop, programs, f'{one.workdir.parent.name}, seed {one.config.seed}, ')

        failed = self.study.train(train, stop)
        # Several processes may come to the end together.
        with locked(self._workdir, stop):
            return self._write(chosen), failed

    def _with(self, chosen: Mapping[str, Trial]) -> dict[str, ConfigDict]:
        return {name: with_fields(config, chosen.get(name, {})) for name, config in self._configs.items()}

    def _lines(self, part: Part) -> list[Line]:
        found = []
        for entry in part.entries:
            runs = [self.study.runs[_name(part, entry, i)] for i in range(len(entry.recipes))]
            workdirs = {
                of_seed[0].config.seed: [(one.workdir, one.stages[-1].name) for one in of_seed]
                for of_seed in zip(*runs, strict=True)
            }
            found += reproduced.read_lines(entry.label, entry.place, entry.baseline, workdirs)
        return found

    def _choices(self, chosen: Mapping[str, Trial]) -> str:
        counts = self.search.counts if self.search else {}
        return '\n'.join(f'- {name}, of {counts[name]} trials: {in_words(trial)}' for name, trial in chosen.items())

    def _what_ran(self) -> str:
        given = ', '.join(f'`{name}` {value}' for name, value in self._fields.items())
        return f'Seeds {", ".join(map(str, self._seeds))}; fields that were given: {given or "none"}.'

    def _write(self, chosen: Mapping[str, Trial]) -> Path:
        sections: dict[str, str] = {}
        numbers: dict[str, Any] = {}
        for part in self._parts:
            lines = self._lines(part)
            one = self.study.runs[_name(part, part.entries[0], 0)][0]
            runs = [self.study.runs[_name(part, e, i)][0] for e in part.entries for i in range(len(e.recipes))]
            tasks = list({task.name: task for run in runs for task in run.tasks}.values())
            compared, content = reproduced.comparison(lines, tasks)
            where = f'{part.table} on {part.name}'
            sections[f'Compared: {where}'] = compared
            sections[f'Results: {where}'] = reproduced.results(lines, tasks)
            sections[f'Beside the paper: {where}'] = reproduced.beside_paper(lines, tasks)
            numbers[part.name] = {'table': part.table, 'selection': one.config.selection, 'rows': content}
        if chosen:
            sections['Search'] = f'{rule()}\n\n{self._choices(chosen)}'
        write_json(
            self._workdir / NUMBERS,
            {'seeds': self._seeds, 'fields': self._fields, 'parts': numbers, 'searched': dict(chosen)},
        )
        sections['What ran'] = self._what_ran()
        return write_document(self._workdir / TABLE, sections)


def _name(part: Part, entry: Entry, i: int) -> str:
    """What a run is called: `nyuv2_segnet_kdmtl`; of several recipes of an entry, with their number."""
    words = '_'.join([part.name, *re.sub('[+,]', ' ', entry.label).split()])
    return words if len(entry.recipes) == 1 else f'{words}_{i}'
