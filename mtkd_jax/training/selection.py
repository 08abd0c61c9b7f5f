"""Selection rules: which numbers of a run are its result (papers.md C). None of them chooses on the test split."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from mtkd_jax.types import UserError


@dataclass(frozen=True)
class Rule:
    """How a run's epochs become one row of results.

    `epochs`: how many of the last epochs must be evaluated on `split`, of which the results are; `needs_validation`:
    whether a validation split of its own is needed; `note`: the sentence that reports print.
    """

    name: str
    epochs: int
    needs_validation: bool
    note: str
    split: str = 'test'

    @property
    def keeps_best(self) -> bool:
        """Whether the epoch of the lowest validation loss is kept, and evaluated in the end."""
        return self.needs_validation and self.split == 'test'


RULES = {
    rule.name: rule
    for rule in (
        Rule('last', 1, False, 'Metrics of the last epoch on the test split; nothing was chosen on it.'),
        Rule(
            'last10_mean',
            10,
            False,
            'Mean of the metrics of the last 10 epochs on the test split; nothing was chosen on it.',
        ),
        Rule(
            'last20_median',
            20,
            False,
            'Median of the metrics of the last 20 epochs on the test split; nothing was chosen on it.',
        ),
        Rule(
            'best_validation',
            1,
            True,
            'Test metrics of the epoch with the lowest loss (mean over tasks and branches) on a validation split held '
            'out of the training set.',
        ),
        Rule(
            'held_out',
            1,
            True,
            'Metrics of the last epoch on a validation split held out of the training set, for choosing settings; the '
            'test split was not used.',
            'validation',
        ),
    )
}


def rule_named(name: str) -> Rule:
    """The rule called `name`; a UserError lists the rules there are."""
    if name not in RULES:
        raise UserError(f'`selection` is {name!r}; choose one of {", ".join(RULES)}.')
    return RULES[name]


def summarise(rule: Rule, records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The result row from the test evaluations in the order of their epochs."""
    last = records[-rule.epochs :]
    if len(last) < rule.epochs:
        raise UserError(f'`selection` {rule.name!r} needs {rule.epochs} evaluated epochs; this run has {len(last)}.')
    combine = median if rule.name == 'last20_median' else fmean
    return {name: combine([record[name] for record in last]) for name in last[-1]}


def validation_score(results: dict[str, float]) -> float:
    """Mean of the tasks' losses over all branches; lower is better."""
    return fmean(value for name, value in results.items() if 'loss/' in name)
