"""One worker in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oversight.errors import StoreError
from oversight.runs.pools.pool import Broke, Event, Order, Reported
from oversight.runs.steps import Tick
from oversight.runs.workshop import Workshop

HERE = "here"


class Inline:
    """See `Pool`. A batch runs while it is started.

    Args:
        workshop: does the batches.
        tell: ticked at once, as nobody can ask while a batch runs.
    """

    size, cores = 1, 0

    def __init__(self, workshop: Workshop, tell: Callable[[str], Tick]) -> None:
        self._workshop, self._tell = workshop, tell
        self._events: list[Event] = []

    def idle(self) -> Sequence[str]:
        """See `Pool.idle`."""
        return [] if self._events else [HERE]

    def start(self, worker: str, order: Order) -> None:
        """See `Pool.start`."""
        try:
            report = self._workshop.do(order.keys, self._tell(worker))
            self._events.append(Reported(worker=worker, report=report))
        except StoreError as error:
            self._events.append(Broke(worker=worker, error=error))

    def wait(self, seconds: float) -> Sequence[Event]:
        """See `Pool.wait`; there is nothing to wait for."""
        del seconds
        events, self._events = self._events, []
        return events

    def close(self, *, now: bool = False) -> None:
        """See `Pool.close`."""
        del now
        if self._workshop.claims is not None:
            self._workshop.claims.close()
