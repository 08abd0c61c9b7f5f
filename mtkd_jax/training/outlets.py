"""Where the loop sends what it records and says."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Writer(Protocol):
    """Where records go."""

    def write(self, record: dict[str, Any]) -> None:
        """One record: `step`, `epoch`, `split` and named numbers."""
        ...


@runtime_checkable
class Progress(Protocol):
    """Receives the progress of a stage."""

    def update(self, step: int, losses: dict[str, float] | None, images_per_second: float | None) -> None:
        """`step` updates are done."""
        ...

    def message(self, text: str) -> None:
        """A line that stays."""
        ...


class Silent:
    """Both, of a process that is not the first one: it writes and says nothing."""

    def write(self, record: dict[str, Any]) -> None:
        """See `Writer.write`."""

    def update(self, step: int, losses: dict[str, float] | None, images_per_second: float | None) -> None:
        """See `Progress.update`."""

    def message(self, text: str) -> None:
        """See `Progress.message`."""
