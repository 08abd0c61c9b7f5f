"""What can be wrong with data, said so that the user can fix it."""

from mtkd_jax.errors import UserError


class DataError(UserError):
    """A user's data files are not what they should be."""


class DamagedFile(DataError):  # noqa: N818 - the name says what it is
    """A file was read, but what is in it cannot be understood."""


class FrameExcluded(DataError):  # noqa: N818 - the name says what it is
    """One frame cannot be used; its data set goes on without it."""


class DataNotPrepared(UserError, RuntimeError):  # noqa: N818 - the name says what it is
    """The prepared data set is not where it was looked for; says which commands make it."""
