"""``Forwarder``: one export after the other, each sent once; and what became of breaches, as events.

What could not be sent is not sent again: the next export has the same counters, later. Only the zeros of new series
stay due until they have arrived, and so do events.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from otel_pipeline.forward import events
from otel_pipeline.forward.points import requests
from otel_pipeline.queue.format import Signal
from otel_pipeline.queue.transport import Accepted, open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_pipeline.queue.settings import SenderSettings
    from otel_pipeline.store.store import Store

INTERVAL_S = 15.0
"""Between exports. Much less would overstate ``increase()`` of new series, whose zero is one interval before."""
MOST_EVENTS = 500
"""Breaches told with one export."""


class Forwarder:
    """Exports the KPIs of ``store`` to an OTLP endpoint, every ``interval_s`` seconds that ``export`` is called.

    ``say`` is given a line when sending begins to fail, and when it works again. One thread uses it.
    """

    def __init__(
        self,
        store: Store,
        settings: SenderSettings,
        *,
        interval_s: float = INTERVAL_S,
        packs: Iterable[str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.interval_s = interval_s
        self._store = store
        self._settings = settings
        self._transport = open_transport(settings)
        self._packs = None if packs is None else tuple(packs)
        self._say = say
        self._holder = uuid.uuid4().hex
        self._failing: set[str] = set()

    def export(self) -> bool:
        """Export once; False where another processor does, or not all arrived. Raises StoreError."""
        moment = self._store.export(self._holder, interval_s=self.interval_s)
        if moment is None:
            return False
        for body in requests(moment, self._store.catalogue, self._packs):
            if not self._arrives("KPI metrics", Signal.METRICS, body):
                return False
        self._store.delivered(moment)
        return self._tell()

    def _tell(self) -> bool:
        if untold := self._store.untold(MOST_EVENTS):
            if not self._arrives("events of what was not as expected", Signal.LOGS, events.request(untold)):
                return False
            self._store.told(untold)
        return True

    def close(self, *, last: bool = True) -> None:
        """Export what there is, unless ``last`` is false, and let another processor go on. Raises StoreError."""
        if last:
            self.export()
        self._store.release(self._holder)
        self._transport.close()

    def _arrives(self, what: str, signal: Signal, body: bytes) -> bool:
        """Whether all of a request arrived; a line when that begins to fail, and when it works again."""
        outcome = self._transport.send(signal, body, min(self.interval_s, self._settings.timeout_s))
        arrived = isinstance(outcome, Accepted) and not outcome.refused
        if arrived and what in self._failing:
            self._failing.remove(what)
            self._say(f"{what} arrive again")
        if not arrived and what not in self._failing:
            self._failing.add(what)
            why = f"{outcome.refused} refused: {outcome.message}" if isinstance(outcome, Accepted) else outcome.reason
            self._say(f"{what} do not arrive: {why}; tried again every {self.interval_s:g} s")
        return arrived
