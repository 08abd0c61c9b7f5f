"""Selection rules: which numbers of a run are its result (papers.md C). None of them chooses on the test split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal

from mtkd_jax.records import METRICS, read_records
from mtkd_jax.types import UserError


@dataclass(frozen=True)
class Rule:
    """How a run's epochs become one row of results.

    `epochs`: how many of the last epochs must be evaluated on `split`, of which the results are; `note`: the sentence
    that reports print; `chosen_by`: of which split the loss chooses one epoch, whose weights are kept; '': none does.
    """

    name: str
    epochs: int
    note: str
    chosen_by: Literal['', 'validation', 'training'] = ''
    split: str = 'test'

    @property
    def needs_validation(self) -> bool:
        """Whether a validation split of its own is needed."""
        return 'validation' in (self.chosen_by, self.split)

    @property
    def keeps_best(self) -> bool:
        """Whether the epoch of the lowest loss is kept, and evaluated in the end."""
        return bool(self.chosen_by)


RULES = {
    rule.name: rule
    for rule in (
        Rule('last', 1, 'Metrics of the last epoch on the test split; nothing was chosen on it.'),
        Rule(
            'last10_mean',
            10,
            'Mean of the metrics of the last 10 epochs on the test split; nothing was chosen on it.',
        ),
        Rule(
            'last20_median',
            20,
            'Median of the metrics of the last 20 epochs on the test split; nothing was chosen on it.',
        ),
        Rule(
            'best_validation',
            1,
            'Test metrics of the epoch with the lowest loss (mean over tasks and branches) on a validation split held '
            'out of the training set.',
            'validation',
        ),
        Rule(
            'lowest_training_loss',
            1,
            'Test metrics of the epoch with the lowest training loss (mean over its steps and over tasks, without '
            'weights and without distillation); nothing was chosen on the test split.',
            'training',
        ),
        Rule(
            'held_out',
            1,
            'Metrics of the last epoch on a validation split held out of the training set, for choosing settings; the '
            'test split was not used.',
            split='validation',
        ),
    )
}


def rule_named(name: str) -> Rule:
    """The rule called `name`; a UserError lists the rules there are."""
    if name not in RULES:
        raise UserError(f'`selection` is {name!r}; choose one of {", ".join(RULES)}.')
    return RULES[name]


def summarise(rule: Rule, records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The result row from the test evaluations in the order of their epochs.

    A number is NaN where any of them is, and missing where an earlier version made one of them without it.
    """
    last = records[-rule.epochs :]
    if len(last) < rule.epochs:
        raise UserError(f'`selection` {rule.name!r} needs {rule.epochs} evaluated epochs; this run has {len(last)}.')
    combine = median if rule.name == 'last20_median' else fmean
    values = {name: [record[name] for record in last] for name in last[-1] if all(name in record for record in last)}
    # A median of numbers of which one is NaN may be any of them.
    return {name: math.nan if any(map(math.isnan, of)) else combine(of) for name, of in values.items()}


def training_score(folder: Path, tasks: Sequence[str], first: int, end: int) -> float:
    """Mean over the steps `first` + 1 to `end` and over `tasks` of the training losses recorded in a stage's `folder`.

    Raises:
        UserError: steps among them have no record.
    """
    windows = [r for r in read_records(folder) if r['split'] == 'train' and first < r['step'] <= end]
    steps = [window['steps'] for window in windows]
    if sum(steps) != end - first:
        raise UserError(
            f'{folder / METRICS} has records of {sum(steps)} of the steps {first + 1} to {end}, whose training loss '
            f'decides; remove {folder} to train the stage again.'
        )
    return fmean(fmean([window[f'loss/{task}'] for window in windows], weights=steps) for task in tasks)


def validation_score(results: dict[str, float]) -> float:
    """Mean of the tasks' losses over all branches; lower is better."""
    return fmean(value for name, value in results.items() if 'loss/' in name)
