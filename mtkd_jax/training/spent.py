"""Where the seconds of a stage and of a run go."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from mtkd_jax.types import Batches

REST = 'rest'


class Spent:
    """Adds up seconds: each counts for the innermost part that is under way, or for `rest`.

    So the parts add up to all that passed since this was made. It belongs to one thread. What a device still works on
    when a part ends counts for the part that waits for it.
    """

    def __init__(self) -> None:
        self._under_way, self._seconds, self._since = [REST], dict[str, float](), time.monotonic()

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """What happens here is `part`."""
        self._count()
        self._under_way.append(part)
        try:
            yield
        finally:
            self._count()
            self._under_way.pop()

    def during(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose calls are `part`."""

        def counted(*args: Any, **named: Any) -> Any:
            with self.on(part):
                return function(*args, **named)

        return counted

    def waiting_for(self, batches: Batches) -> Batches:
        """The same batches; what they take to come is `waiting`."""
        with closing(batches):
            while True:
                with self.on('waiting'):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

    def seconds(self) -> dict[str, float]:
        """Seconds by part, so far."""
        self._count()
        return dict(self._seconds)

    def of(self, *parts: str) -> float:
        """Seconds of these parts together, so far."""
        found = self.seconds()
        return sum(found.get(part, 0.0) for part in parts)

    def _count(self) -> None:
        now, part = time.monotonic(), self._under_way[-1]
        self._seconds[part] = self._seconds.get(part, 0.0) + now - self._since
        self._since = now
