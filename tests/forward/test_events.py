"""What became of breaches is told as events: each state once, until it has arrived, by whoever exports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_pipeline.forward import events
from otel_pipeline.forward.forwarder import Forwarder
from otel_pipeline.kpi.otlp import is_ours, read_logs
from otel_pipeline.queue.settings import SenderSettings
from otel_pipeline.semconv.events import EVENTS
from otel_pipeline.store.store import Store
from tests.kpi.events import NOW, SECOND, run
from tests.kpi.expected import MINUTE, Runs, declared
from tests.sdk.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LOST = run(result="lost", took=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.db")


def records(bodies: Iterable[bytes]) -> list[Any]:
    """Every log record, in the order in which they stand in the requests."""
    return [
        record
        for body in bodies
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def attributes(record: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in record.attributes}


def states(store: Store) -> list[str]:
    """Which states are due, and have arrived then."""
    untold = store.untold(100)
    store.told(untold)
    found = records([events.request(untold)])
    return [attributes(record)["pipeline.expectation.state"] for record in found]


def test_each_state_is_told_once(store: Store) -> None:
    """Found, then over; looking again and what arrives again change nothing."""
    store.write([LOST], now=NOW)
    store.judge(now=NOW)
    assert states(store) == ["found"]
    store.write([LOST], now=NOW)
    store.judge(now=NOW + SECOND)
    assert states(store) == []
    store.write([run("r2", attempt=2, span=2)], now=NOW)
    store.judge(now=NOW + MINUTE)
    assert states(store) == ["over"]
    assert states(store) == []


def test_a_guess_that_turns_out_untrue_is_withdrawn(store: Store) -> None:
    """The run that was thought lost has ended after all."""
    store.write([LOST], now=NOW)
    store.judge(now=NOW)
    assert states(store) == ["found"]
    store.write([run(took=9)], now=NOW)
    store.judge(now=NOW + SECOND)
    assert states(store) == ["withdrawn"]


def test_what_is_over_before_it_was_told_was_also_found(store: Store) -> None:
    """Whoever counts the findings counts it."""
    store.write([LOST], now=NOW)
    store.judge(now=NOW)
    store.write([run("r2", attempt=2, span=2)], now=NOW)
    store.judge(now=NOW + SECOND)
    assert states(store) == ["found", "over"]


def test_what_turns_while_it_is_sent_stays_due(store: Store) -> None:
    """Another processor may look meanwhile."""
    store.write([LOST], now=NOW)
    store.judge(now=NOW)
    sent = store.untold(100)
    store.write([run(took=9)], now=NOW)
    store.judge(now=NOW + SECOND)
    store.told(sent)
    assert states(store)[-1] == "withdrawn"


def test_an_event_says_what_was_found_in_the_trace_of_its_run(store: Store) -> None:
    """Durations are seconds; it has the attributes of the conventions, and is none of the events that are counted."""
    [slow] = [Runs(declared(duration="<=30s"), "orders").run(NOW - 2 * MINUTE, took=45.5)]
    store.write([slow], now=NOW)
    store.judge(now=NOW)
    body = events.request(store.untold(100))
    [record] = records([body])
    told = attributes(record)
    assert told == {
        "log.record.uid": f"orders/too_slow/{slow.trace_id}-{slow.span_id}/found",
        "pipeline.name": "orders",
        "pipeline.run.id": slow.run_id,
        "pipeline.expectation": "too_slow",
        "pipeline.expectation.state": "found",
        "pipeline.expectation.subject": f"{slow.trace_id}-{slow.span_id}",
        "pipeline.expectation.value": 45.5,
        "pipeline.expectation.high": 30.0,
    }
    [row] = [event for event in EVENTS if event.name == record.event_name]
    assert set(told) <= set(row.attributes)
    assert (record.trace_id.hex(), record.span_id.hex()) == (slow.trace_id, slow.span_id)
    assert (record.time_unix_nano, record.severity_text) == (slow.started + 30 * SECOND, "WARN")
    assert record.body.string_value == "orders: it took 45.5 s, expected at most 30.0 s (found)"
    scope = ExportLogsServiceRequest.FromString(body).resource_logs[0].scope_logs[0].scope.name
    assert not is_ours(scope)
    assert read_logs(body).left_out == {"foreign": 1}


def test_events_arrive_with_the_metrics_once_a_collector_is_there(store: Store) -> None:
    """What a Collector that is away does not get stays due; then it arrives once."""
    said: list[str] = []
    store.write([LOST], now=NOW)
    store.write([replace(LOST, run_id="r2", span_id="f" * 16)], now=NOW)
    store.judge(now=NOW)
    away = Forwarder(store, SenderSettings(endpoint="http://127.0.0.1:9", timeout_s=1), say=said.append)
    assert not away.export()
    away.close()
    assert len(store.untold(100)) == 2
    collector = Receiver()
    forwarder = Forwarder(store, SenderSettings(endpoint=collector.url), say=said.append)
    assert forwarder.export()
    forwarder.close()
    collector.close()
    sent = records(body for signal, body in collector.bodies if signal == "logs")
    assert len({attributes(record)["log.record.uid"] for record in sent}) == len(sent) == 2
    assert len(said) == 1
