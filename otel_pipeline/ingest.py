"""From requests to the store: what arrives together is committed together, and acknowledged after that.

::

    handle ─► waiting ──20 ms──► read each ─► Store.write, one transaction ──COMMIT──► every answer
                                   │             └─ the store cannot: RetryLater for all of them
                                   └─ not OTLP: Refused, by itself

A commit costs the same for one request and for fifty, hence the wait. Reading and writing are done in one thread, so
that the store has one writer here. If storing fails since there is something in the data that nobody thought of, each
request of the group is tried by itself, and only that one is refused.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Protocol

from otel_pipeline.kpi import otlp
from otel_pipeline.kpi.otlp_metrics import read_metrics
from otel_pipeline.receive import counters as c
from otel_pipeline.receive.answer import Accepted, Refused, RetryLater
from otel_pipeline.store.errors import StoreError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from otel_pipeline.kpi.values import Value
    from otel_pipeline.receive.answer import Answer, Signal
    from otel_pipeline.receive.counters import Counters

WAIT_S = 0.02
"""How long the first request of a group waits for others."""
MOST_BYTES = 16 << 20
"""Payload of one group: how long a commit may take is bounded by it."""
_SAID_EVERY_S = 10.0
_READERS: Mapping[Signal, Callable[..., otlp.Read]] = {
    "traces": otlp.read_traces,
    "metrics": read_metrics,
    "logs": otlp.read_logs,
}
_WHOLE_ITEMS = ("trace_id", "span_id", "time", "attributes")


class Writer(Protocol):
    """What is needed of the store."""

    def write(self, values: Iterable[Value], *, now: int | None = None) -> Counter[str]:
        """Count ``values``, in one transaction. Raises StoreError."""


class _Request(NamedTuple):
    signal: Signal
    payload: bytes
    answer: asyncio.Future[Answer]


class Ingest:
    """Groups requests and commits them. ``handle`` is what the receivers call; ``run`` has to be running meanwhile."""

    def __init__(
        self, store: Writer, counters: Counters, say: Callable[[str], None], *, wait_s: float = WAIT_S
    ) -> None:
        self._commits = _Commits(store, counters, say)
        self._wait_s = wait_s
        self._waiting: list[_Request] = []
        self._arrived = asyncio.Event()
        self._stopping = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="otel_pipeline-commit")

    async def handle(self, signal: Signal, payload: bytes) -> Answer:
        """What became of a request; known when it is committed."""
        if self._stopping:
            return RetryLater("this processor is stopping")
        request = _Request(signal, payload, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._arrived.set()
        return await request.answer

    async def run(self) -> None:
        """Commit what arrives, until ``stop``."""
        loop = asyncio.get_running_loop()
        while self._waiting or not self._stopping:
            await self._arrived.wait()
            if not self._stopping:
                await asyncio.sleep(self._wait_s)
            group = self._next_group()
            requests = [(request.signal, request.payload) for request in group]
            answers = await loop.run_in_executor(self._thread, self._commits.commit, requests)
            for request, answer in zip(group, answers, strict=True):
                if not request.answer.done():  # the client may have gone away
                    request.answer.set_result(answer)
        self._thread.shutdown()

    def stop(self) -> None:
        """Take nothing more; ``run`` returns when all that waits is committed and answered."""
        self._stopping = True
        self._arrived.set()

    def _next_group(self) -> list[_Request]:
        size, most = 0, 0
        for request in self._waiting:
            size += len(request.payload)
            if most and size > MOST_BYTES:
                break
            most += 1
        group, self._waiting = self._waiting[:most], self._waiting[most:]
        if not self._waiting and not self._stopping:
            self._arrived.clear()
        return group


class _Commits:
    """The part in the thread."""

    def __init__(self, store: Writer, counters: Counters, say: Callable[[str], None]) -> None:
        self._store = store
        self._counters = counters
        self._say = say
        self._said: dict[str, float] = {}

    def commit(self, requests: Sequence[tuple[Signal, bytes]]) -> list[Answer]:
        """An answer for each."""
        try:
            return self._stored([_read(signal, payload) for signal, payload in requests])
        except StoreError as error:
            self._counters.add(c.COMMITS, "failed")
            self._sometimes(str(error))
            return [RetryLater(str(error))] * len(requests)
        except Exception as error:  # noqa: BLE001 - whatever one request's data does, the others are answered
            if len(requests) > 1:
                return [answer for request in requests for answer in self.commit([request])]
            self._counters.add(c.POISONOUS)
            self._sometimes(f"a request of {requests[0][0]} cannot be stored: {type(error).__name__}: {error}")
            return [Refused(f"it cannot be stored: {type(error).__name__}")]

    def _stored(self, reads: Sequence[tuple[Signal, otlp.Read | Refused]]) -> list[Answer]:
        values = [value for _, read in reads if isinstance(read, otlp.Read) for value in read.values]
        if values:
            counted = self._store.write(values)
            self._counters.add(c.COMMITS, "done")
            for outcome, count in counted.items():
                self._counters.add(c.VALUES, outcome, amount=count)
        return [read if isinstance(read, Refused) else self._answer(signal, read) for signal, read in reads]

    def _answer(self, signal: Signal, read: otlp.Read) -> Accepted:
        """What is not ours is taken and passed over; what is ours and cannot be used is told to the sender."""
        for reason, count in read.left_out.items():
            self._counters.add(c.LEFT_OUT, signal, reason, amount=count)
        told = {reason: count for reason, count in read.left_out.items() if reason != "foreign"}
        rejected = sum(told.get(reason, 0) for reason in _WHOLE_ITEMS)
        said = ", ".join(f"{reason} ({count})" for reason, count in sorted(told.items()))
        return Accepted(rejected, f"cannot be used: {said}" if said else "")

    def _sometimes(self, text: str) -> None:
        """One line, not the same again for a while."""
        now = time.monotonic()
        if now - self._said.get(text, now - _SAID_EVERY_S) >= _SAID_EVERY_S:
            self._said = {text: now}
            self._say(" ".join(text.split()))


def _read(signal: Signal, payload: bytes) -> tuple[Signal, otlp.Read | Refused]:
    try:
        return signal, _READERS[signal](payload, now=time.time_ns())
    except otlp.NotOtlpError as error:
        return signal, Refused(str(error))
