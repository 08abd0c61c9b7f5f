"""The error that a user can fix. It stands alone: most that raises it needs neither jax nor what imports that."""


class UserError(Exception):
    """An error that the user can fix: the message names thing, value and remedy, and is all that a command prints."""
