"""Requests that arrive together are one transaction, and each is answered for itself."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from otel_pipeline.ingest import Ingest
from otel_pipeline.receive import counters as c
from otel_pipeline.receive.answer import Accepted, Refused, RetryLater
from otel_pipeline.receive.counters import Counters
from otel_pipeline.store.errors import StoreBusyError, StoreError
from otel_pipeline.store.store import Store
from tests.kpi.test_otlp import RUN, STAGE, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from otel_pipeline.ingest import Writer
    from otel_pipeline.kpi.values import Value
    from otel_pipeline.receive.answer import Answer, Signal

GOOD = [request({"attributes": {**RUN, "pipeline.run.id": f"r{n}"}}) for n in range(5)]
TIMEOUT = 60


class Transactions:
    """Keeps the transactions, after ``before`` had a look at the values."""

    def __init__(self, before: Callable[[list[Value]], None] = lambda values: None) -> None:
        self.transactions: list[list[str]] = []
        self._before = before

    def write(self, values: Iterable[Value], *, now: int | None = None) -> Counter[str]:
        """As the store's."""
        del now
        values = list(values)
        self._before(values)
        self.transactions.append([value.run_id or "" for value in values])
        return Counter(runs=len(values))


def answers(
    store: Writer, requests: Sequence[bytes | tuple[Signal, bytes]], counters: Counters | None = None
) -> tuple[list[Answer], list[str]]:
    """What all of them are answered, sent at once; and what is said."""
    said: list[str] = []

    async def run() -> list[Answer]:
        ingest = Ingest(store, counters or Counters(), said.append)
        committing = asyncio.create_task(ingest.run())
        sent = [each if isinstance(each, tuple) else ("traces", each) for each in requests]
        found = await asyncio.gather(*(ingest.handle(*each) for each in sent))
        ingest.stop()
        await committing
        return found

    return asyncio.run(asyncio.wait_for(run(), TIMEOUT)), said


def test_what_arrives_together_is_committed_together() -> None:
    """One transaction for five requests."""
    store = Transactions()
    found, _ = answers(store, GOOD)
    assert found == [Accepted()] * 5
    assert store.transactions == [["r0", "r1", "r2", "r3", "r4"]]


def test_nobody_is_answered_before_the_commit() -> None:
    """The answer waits as long as the transaction does."""
    begun, may = threading.Event(), threading.Event()

    def before(values: list[Value]) -> None:
        del values
        begun.set()
        assert may.wait(TIMEOUT)

    async def run() -> None:
        ingest = Ingest(Transactions(before), Counters(), print, wait_s=0)
        committing = asyncio.create_task(ingest.run())
        waiting = asyncio.create_task(ingest.handle("traces", GOOD[0]))
        assert await asyncio.to_thread(begun.wait, TIMEOUT)
        assert not waiting.done()
        may.set()
        assert await waiting == Accepted()
        ingest.stop()
        await committing

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))


def test_one_that_is_not_otlp_is_refused_alone() -> None:
    """The others of its group are counted."""
    store = Transactions()
    found, _ = answers(store, [GOOD[0], b"\x0a\xff", ("logs", b"nothing"), ("metrics", b"\x0a\x05"), GOOD[1]])
    assert [type(each) for each in found] == [Accepted, Refused, Refused, Refused, Accepted]
    for each, name in zip([found[1], found[2], found[3]], ["Trace", "Logs", "Metrics"], strict=True):
        assert isinstance(each, Refused)
        assert each.message.startswith(f"not an Export{name}ServiceRequest: ")
    assert store.transactions == [["r0", "r1"]]


def test_what_cannot_be_used_is_told_to_its_sender_and_counted() -> None:
    """A partial success that names the field; what is not ours is no matter; parts of items reject nothing."""
    counters = Counters()
    bad = request({"attributes": RUN, "trace_id": b"short"}, {"attributes": RUN, "start": 0}, {"attributes": RUN})
    part = request({"attributes": {**STAGE, "pipeline.records.in": -1}})
    foreign = request({"attributes": {}}, {"attributes": {}}, scope="theirs")
    found, _ = answers(Transactions(), [bad, part, foreign], counters)
    assert found == [
        Accepted(2, "cannot be used: time (1), trace_id (1)"),
        Accepted(0, "cannot be used: count (1)"),
        Accepted(),
    ]
    reasons = ("time", "trace_id", "count", "foreign")
    assert [counters.get(c.LEFT_OUT, "traces", reason) for reason in reasons] == [1, 1, 1, 2]


@pytest.mark.parametrize("error", [StoreBusyError("store x: busy"), StoreError("store x: the disk is full")])
def test_when_the_store_cannot_everybody_is_put_off(error: StoreError) -> None:
    """The reason is in the answer, and said once; then it works again."""
    failures = [error] * 2

    def before(values: list[Value]) -> None:
        del values
        if failures:
            raise failures.pop()

    store, counters = Transactions(before), Counters()
    found, said = answers(store, GOOD, counters)
    assert found == [RetryLater(str(error))] * 5
    again, said_again = answers(store, GOOD, counters)
    assert (again, said + said_again) == (found, [str(error)] * 2)
    assert store.transactions == []
    assert answers(store, GOOD, counters)[0] == [Accepted()] * 5
    assert counters.get(c.COMMITS, "failed") == 2


def test_the_one_that_the_store_chokes_on_is_refused_and_the_others_are_kept() -> None:
    """Whatever it raises: it is counted, said in one line, and nothing else is lost."""

    def before(values: list[Value]) -> None:
        if any(value.run_id == "r3" for value in values):
            raise ZeroDivisionError("in the data\nof somebody")

    store, counters = Transactions(before), Counters()
    found, said = answers(store, GOOD, counters)
    assert found == [Accepted()] * 3 + [Refused("it cannot be stored: ZeroDivisionError"), Accepted()]
    assert store.transactions == [["r0"], ["r1"], ["r2"], ["r4"]]
    assert counters.get(c.POISONOUS) == 1
    assert said == ["a request of traces cannot be stored: ZeroDivisionError: in the data of somebody"]


def test_after_stop_nothing_is_taken_and_what_waits_is_answered() -> None:
    """Stopping commits at once."""
    store = Transactions()

    async def run() -> None:
        ingest = Ingest(store, Counters(), print, wait_s=3600)
        committing = asyncio.create_task(ingest.run())
        waiting = asyncio.create_task(ingest.handle("traces", GOOD[0]))
        await asyncio.sleep(0)
        ingest.stop()
        assert isinstance(await ingest.handle("traces", GOOD[1]), RetryLater)
        assert await waiting == Accepted()
        await committing

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    assert store.transactions == [["r0"]]


def test_a_client_that_goes_away_takes_nobody_with_it() -> None:
    """Its request is stored; it will send it again, and that is known then."""
    store = Transactions()

    async def run() -> None:
        ingest = Ingest(store, Counters(), print)
        committing = asyncio.create_task(ingest.run())
        gone = asyncio.create_task(ingest.handle("traces", GOOD[0]))
        stays = asyncio.create_task(ingest.handle("traces", GOOD[1]))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == Accepted()
        ingest.stop()
        await committing

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    assert store.transactions == [["r0", "r1"]]


def test_a_large_backlog_is_several_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody waits for all of it; one that is larger than that goes alone."""
    monkeypatch.setattr("otel_pipeline.ingest.MOST_BYTES", 2 * len(GOOD[0]))
    large = request(*[{"attributes": {**RUN, "pipeline.run.id": "large"}}] * 5)
    store = Transactions()
    found, _ = answers(store, [*GOOD, large, GOOD[0]])
    assert found == [Accepted()] * 7
    assert [len(transaction) for transaction in store.transactions] == [2, 2, 1, 5, 1]


def test_signs_of_life_go_the_same_way(tmp_path: Path) -> None:
    """Log events through the real store; metrics are taken and are not ours yet."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    from tests.kpi.test_otlp import NOW, SPAN, TRACE, pairs

    logs, metrics = ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    scope = logs.resource_logs.add().scope_logs.add()
    scope.scope.name = "otel_pipeline"
    scope.log_records.add(
        event_name="pipeline.run.started", time_unix_nano=NOW, trace_id=TRACE, span_id=SPAN,
        attributes=pairs({"pipeline.name": "orders", "pipeline.run.id": "r"}),
    )  # fmt: skip
    points = metrics.resource_metrics.add().scope_metrics.add().metrics
    points.add(name="a").sum.data_points.add(as_int=1)
    points.add(name="b").histogram.data_points.add(count=1)
    points.add(name="c")
    counters = Counters()
    sent: list[tuple[Signal, bytes]] = [("logs", logs.SerializeToString()), ("metrics", metrics.SerializeToString())]
    found, _ = answers(Store(tmp_path / "store.db"), sent, counters)
    assert found == [Accepted(), Accepted()]
    assert counters.get(c.VALUES, "seen") == 1
    assert counters.get(c.LEFT_OUT, "metrics", "foreign") == 3
