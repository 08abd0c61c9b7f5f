"""The type checker of the suite: beartype, for functions that are made over and over only the first times."""

import collections

from beartype import BeartypeConf, beartype

# `is_pep484_tower`: an int where a float is expected, as everywhere in Python.
CHECKED = beartype(conf=BeartypeConf(is_pep484_tower=True))
OFTEN = 20  # a task's functions are made with every task; to wrap them takes longer than they run

_made: collections.Counter[object] = collections.Counter()


def check(function):
    """`function` with its arguments and result checked, if it is among the first `OFTEN` of the same code."""
    code = getattr(function, '__code__', None)
    if code is not None:
        _made[code] += 1
        if _made[code] > OFTEN:
            return function
    return CHECKED(function)
