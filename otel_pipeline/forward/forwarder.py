"""``Forwarder``: one export after the other, each sent once.

What could not be sent is not sent again: the next export has the same counters, later. Only the zeros of new series
stay due until they have arrived.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from otel_pipeline.forward.points import requests
from otel_pipeline.queue.format import Signal
from otel_pipeline.queue.transport import Accepted, open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otel_pipeline.queue.settings import SenderSettings
    from otel_pipeline.store.store import Store

INTERVAL_S = 15.0
"""Between exports. Much less would overstate ``increase()`` of new series, whose zero is one interval before."""


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
        self._failing = False

    def export(self) -> bool:
        """Export once; False where another processor does, or nothing arrived. Raises StoreError."""
        moment = self._store.export(self._holder, interval_s=self.interval_s)
        if moment is None:
            return False
        for body in requests(moment, self._store.catalogue, self._packs):
            outcome = self._transport.send(Signal.METRICS, body, min(self.interval_s, self._settings.timeout_s))
            if not isinstance(outcome, Accepted):
                return self._failed(outcome.reason)
            if outcome.refused:
                return self._failed(f"{outcome.refused} points refused: {outcome.message}")
        self._store.delivered(moment)
        if self._failing:
            self._failing = False
            self._say("KPI metrics arrive again")
        return True

    def close(self, *, last: bool = True) -> None:
        """Export what there is, unless ``last`` is false, and let another processor go on. Raises StoreError."""
        if last:
            self.export()
        self._store.release(self._holder)
        self._transport.close()

    def _failed(self, reason: str) -> bool:
        if not self._failing:
            self._say(f"KPI metrics do not arrive: {reason}; tried again every {self.interval_s:g} s")
        self._failing = True
        return False
