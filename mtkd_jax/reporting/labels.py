"""Names, units and decimals of metrics and losses in tables and figures.

Tasks label their own numbers. The others are labelled here: weights, gradients, distillation, the total.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mtkd_jax.metrics import LEGACY, Metric, Quantity, without_legacy
from mtkd_jax.records import RATE
from mtkd_jax.reporting.reported_task import ReportedTask

OTHERS = {'loss/total': Quantity('total loss, weighted'), RATE: Quantity('learning rate')}
AVERAGE = 'average'
# Of one task, of a pair, or of a task and a point.
OF_TASKS = {
    'weight': 'task weight, {0}',
    'weighting': 'weighting: {0} {1}',
    'gradient': 'norm of the task gradient, {0}',
    'cosine': 'cosine of task gradients, {0} and {1}',
    'cka': 'CKA with the teacher, {0}, {1}',
}


@dataclass(frozen=True)
class Labels:
    """The labels of numbers, given the tasks.

    `named`: what the tasks say of their losses (`loss/<task>`), agreements and metrics, in the order of the tasks.
    """

    named: Mapping[str, Quantity]

    @classmethod
    def of(cls, tasks: Iterable[ReportedTask]) -> 'Labels':
        """The labels where `tasks` are known."""
        return cls(dict(entry for task in tasks for entry in _of_task(task)))

    def __getitem__(self, name: str) -> Quantity:
        """The label of a metric or loss; one that no task knows is called by its own name."""
        if name in self.named:
            return self.named[name]
        if name == AVERAGE:
            return Quantity('average of the tasks', '%', 2)
        if (shorter := without_legacy(name)) != name:
            plain = self[shorter]
            return Quantity(f'{plain.title}, {LEGACY[name.removeprefix(shorter)]}', plain.unit, plain.decimals)
        kind, _, rest = name.partition('/')
        if kind in OF_TASKS:
            return Quantity(OF_TASKS[kind].format(*rest.split('/'), '').strip())
        if kind == 'distillation':
            return Quantity(f'distillation, {rest}', 'unweighted')
        return OTHERS.get(name, Quantity(name))

    def place(self, name: str) -> int:
        """Where `name` stands in the order of the tasks; at the end where it is none of theirs."""
        return list(self.named).index(name) if name in self.named else len(self.named)

    def number(self, name: str, value: float | None) -> str:
        """`value` with the decimals of its metric; a dash where there is none (missing, or NaN: none was defined)."""
        if value is None or value != value:
            return '–'
        return f'{value:.{self[name].decimals}f}'

    def heading(self, metric: str, direction: int) -> str:
        """A column's heading: what, in which unit, and which way is better (↑ or ↓).

        The protocol is said above the table.
        """
        return f'{self[without_legacy(metric)]} {self.arrow(direction)}'

    def with_arrow(self, name: str) -> str:
        """A metric with its protocol, and which way is better; a loss without."""
        metric = self.metric(name)
        return f'{self[name]} {self.arrow(metric.direction)}' if metric else str(self[name])

    def order(self, name: str) -> tuple[bool, bool, int]:
        """Sorts metrics: those of the main tables, those of the papers' protocol, those of tables of their own."""
        metric, plain = self.metric(name), without_legacy(name)
        return bool(metric and metric.section), plain != name, self.place(plain)

    @staticmethod
    def arrow(direction: int) -> str:
        """Which way is better."""
        return '↑' if direction > 0 else '↓'

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, in either protocol; None where it is none, or no task knows it."""
        found = self.named.get(without_legacy(name))
        return found if isinstance(found, Metric) else None


def _of_task(task: ReportedTask) -> Iterator[tuple[str, Quantity]]:
    yield f'loss/{task.name}', task.loss_label or Quantity(f'{task.name} loss')
    yield f'agreement/{task.name}', Quantity(f'student and teacher, {task.name}', task.agreement_unit)
    yield from task.metrics.each.items()
