"""Data sets as `prepare` makes them, from the small files that tests write."""

from mtkd_jax import datasets


def prepare(name, data_dir, data=None, source='', progress=datasets.quiet, overwrite=False):
    """`data`: what is asked for, the rest as by default; `source`: where the files are."""
    how = datasets.Preparation(str(source), str(data_dir), progress, overwrite)
    return datasets.named(name).prepare(data or {}, how)


def opened(name, data_dir, **data):
    return datasets.named(name).open(data, data_dir if data_dir is None else str(data_dir))


def nyuv2(source, data_dir, progress=datasets.quiet, overwrite=False):
    return prepare('nyuv2', data_dir, None, source, progress, overwrite)
