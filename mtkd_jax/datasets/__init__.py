"""Data sets. Each sub-package owns one: its tasks, its config's fields, the user's files, how it is stored.

Importing them imports neither jax, which their tasks need, nor tensorflow-datasets, which opening and preparing need.
"""

from mtkd_jax.datasets import cityscapes, glyphs, nyuv2, rooms, svhn_omniglot, taskonomy
from mtkd_jax.datasets.base import DataSet, Preparation, Prepared, Progress, quiet
from mtkd_jax.datasets.errors import DataError, DataNotPrepared

__all__ = ['NAMES', 'DataError', 'DataNotPrepared', 'DataSet', 'Preparation', 'Prepared', 'Progress', 'named', 'quiet']

HERE = {
    module.DATA_SET.name: module.DATA_SET for module in (nyuv2, cityscapes, taskonomy, rooms, svhn_omniglot, glyphs)
}
NAMES = tuple(HERE)
"""The data sets of the package."""


def named(name: str) -> DataSet:
    """The data set that `data.dataset` names: one of `NAMES`, or a Python module of the user's.

    Raises:
        UserError: it is neither, or the module lacks what it must have.
    """
    if name in HERE:
        return HERE[name]
    from mtkd_jax.datasets import outside  # here, because it imports jax, and what knows the names alone does not

    return outside.data_set(name, NAMES)
