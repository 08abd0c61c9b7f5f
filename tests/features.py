"""What a run may use together: rows that hold every pair of features at least once, and the pairs that are refused."""

import itertools

RECIPE = 'method=kd_mtl,tasks={},backbone=tests.shallow,optimizer=sgd'
PLAIN = {'data__placement': 'host', 'cache_teachers': 'off', 'epochs': 2, 'widths': (64, 4, 4, 4, 4)}
FEATURES = {
    'device': {'data__placement': 'device'},
    'cache': {'cache_teachers': 'memory'},
    'seeds': {'seeds': (0, 1)},
    'fsdp': {'fsdp': True},
    'averages': {'ema_decay': 0.5},
    'bfloat16': {'compute_dtype': 'bfloat16'},
    'augmentation': {'data__augment': 'scale_crop_flip'},
    'batch_statistics': {'method_settings__teacher_batch_stats': True},
    'accumulation': {'accumulate_steps': 2},
    'class_weights': {'class_weights': 'median_frequency'},
    'continued': {},  # of the run with the fields `SHORT` beside its own, whose place only a test knows
}
SHORT = {'epochs': 1}
OUTCOME = ('bfloat16', 'augmentation', 'batch_statistics', 'accumulation', 'class_weights', 'continued')
"""Those that change what is trained; the others must not."""

REFUSED = ({'cache', 'augmentation'}, {'cache', 'batch_statistics'})
"""What teachers say then depends on the step or the batch."""


def rows():
    """Sets of features: every pair that is not refused is in one, and each feature is absent from one.

    Greedy: a row takes, in turn, the feature that brings the most pairs that no row has yet.
    """
    names = list(FEATURES)
    left = {frozenset(pair) for pair in itertools.combinations(names, 2)} - set(map(frozenset, REFUSED))
    found = []
    while left:
        row = set()
        while True:
            fits = [n for n in names if n not in row and not any(r <= row | {n} for r in REFUSED)]
            new = {n: sum(n in pair and pair <= row | {n} for pair in left) for n in fits}
            if not row:
                new = {n: sum(n in pair for pair in left) for n in fits}
            best = max(new, key=new.get, default=None)
            if best is None or not new[best]:
                break
            row.add(best)
        found.append(sorted(row))
        left -= {pair for pair in left if pair <= row}
    return found


def tasks(row):
    """Those of a run with the features of `row`; class weights need classes."""
    return ('depth', 'segmentation') if 'class_weights' in row else ('depth',)


def recipe(row):
    """That of a run with the features of `row`."""
    return RECIPE.format('+'.join(tasks(row)))


def fields(row, **others):
    """The fields of a run with the features of `row`."""
    return {**PLAIN, **{name: value for feature in row for name, value in FEATURES[feature].items()}, **others}
