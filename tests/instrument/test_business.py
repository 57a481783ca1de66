"""A user's own counters, gauges and histograms; and what becomes of everything that cannot be used."""

from __future__ import annotations

import decimal
import logging
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import otel_pipeline as op
from otel_pipeline.instrument import measuring, registry
from otel_pipeline.instrument.measuring import MOST_LABEL_SETS
from otel_pipeline.semconv.operations import OVERFLOW
from tests.instrument.test_hostile import NAMES, IntLike, Rude, RudeMapping

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.instrument.measured import Measured

REJECTED, OVERFLOWED = "pipeline.telemetry.rejected", "pipeline.telemetry.overflowed"


def test_counters_gauges_and_histograms(measured: Measured) -> None:
    """By name and labels, whose values may be anything with a text."""
    revenue = op.counter("revenue.processed", description="Money.")
    revenue.add(12.5, currency="EUR")
    revenue.add(decimal.Decimal("7.5"), {"currency": "EUR"})
    op.counter("revenue.processed").add(currency="USD")
    segments = op.gauge("customer.segments.count")
    segments.set(3, segment="new")
    segments.set(-4, segment="new")
    op.histogram("order.items", buckets=[1, 2]).record(2, paid=True, none=None)
    assert measured.of("revenue.processed") == {(("currency", "EUR"),): 20.0, (("currency", "USD"),): 1.0}
    assert measured.of("customer.segments.count") == {(("segment", "new"),): -4.0}
    assert measured.of("order.items") == {(("paid", "true"),): (1, 2.0)}


def test_what_is_noted_before_there_is_a_provider_is_not_lost(measured: Measured) -> None:
    """A module's counter may count before `setup()`."""
    orders = op.counter("orders")
    orders.add(2)
    measuring._receiver.provider = None
    assert measured.of("orders") == {(): 2.0}


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("counter", lambda: op.counter("a\nb").add(1)),
        ("emoji", lambda: op.gauge("\N{PILE OF POO}").set(1)),
        ("long", lambda: op.histogram("x" * 256).record(1)),
        ("no text", lambda: op.counter(None).add(1)),  # type: ignore[arg-type]
        ("unit", lambda: op.counter("a", unit="€").add(1)),
        ("buckets", lambda: op.histogram("h", buckets=[2, 1]).record(1)),
        ("buckets", lambda: op.histogram("h", buckets=[math.nan]).record(1)),
        ("buckets", lambda: op.histogram("h", buckets=range(50)).record(1)),
        ("ours", lambda: op.counter("pipeline.run.ended").add(1)),
        ("ours", lambda: op.gauge("pipeline_queue_size").set(1)),
        ("negative", lambda: op.counter("b").add(-1)),
        ("nan", lambda: op.counter("b").add(math.nan)),
        ("infinite", lambda: op.gauge("c").set(math.inf)),
        ("enormous", lambda: op.counter("b").add(10**400)),
        ("text", lambda: op.gauge("c").set("1")),  # type: ignore[arg-type]
        ("boolean", lambda: op.gauge("c").set(True)),
        ("rude", lambda: op.gauge("c").set(Rude())),  # type: ignore[arg-type]
        ("labels", lambda: op.counter("b").add(1, RudeMapping())),
        ("seconds", lambda: op.timed("t").record(-1)),
        ("rows", lambda: op.database("insert", "t").record(rows=-1)),
        ("results", lambda: op.search("i").record(results=1.5)),  # type: ignore[arg-type]
        ("status", lambda: op.crawl("s").open("s").request(status=99)),
        ("confidence", lambda: op.crawl("s").open("s").duplicate(confidence=2)),
        ("words", lambda: op.crawl("s").open("s").article(words=-1)),
        ("queue", lambda: op.queue_length(-1)),
        ("hits", lambda: op.cache("c").hit(-1)),
        ("every", lambda: op.collector("d", every=0)(lambda: 1)),
        ("add", lambda: op.current_stage().add(failed=-1)),
        ("check", lambda: op.current_stage().check("")),
    ],
)
def test_misuse(name: str, call: Callable[[], Any], measured: Measured, caplog: pytest.LogCaptureFixture) -> None:
    """A clear error in development; in production one warning, a counter, and no harm."""
    del name
    with caplog.at_level(logging.WARNING):
        call()
        call()
    assert len(caplog.messages) == 1
    assert any(way_out in caplog.text for way_out in ("want", "left out", "choose"))
    assert sum(measured.of(REJECTED).values()) == 2
    registry.judge(strict=True, count=None)
    with pytest.raises(op.UsageError) as caught:
        call()
    assert str(caught.value)[:8] in caplog.text  # not all of it: a repr may hold an address


def test_a_million_labels_stay_bounded(measured: Measured) -> None:
    """Beyond the limit everything is in one series: the sum stays right, and the number of those is told."""
    visits = op.counter("visits")
    for number in range(3 * MOST_LABEL_SETS):
        visits.add(1, user=str(number))
    found = measured.of("visits")
    assert len(found) == MOST_LABEL_SETS + 1
    assert sum(found.values()) == 3 * MOST_LABEL_SETS
    assert found[(("user", OVERFLOW),)] == 2 * MOST_LABEL_SETS
    assert measured.of(OVERFLOWED) == {(("pipeline.telemetry.metric", "visits"),): 2 * MOST_LABEL_SETS}
    assert len(measuring._noted) == 0


def test_more_metrics_than_anybody_has(measured: Measured) -> None:
    """A metric per user id is refused from the thousandth on."""
    for number in range(1002):
        op.counter(f"visits.of.{number}").add(1)
    assert len([name for name, _ in measured.points() if name.startswith("visits.of.")]) == 1000
    assert measured.value(REJECTED) == 2


ANYTHING = st.one_of(
    st.sampled_from([*NAMES, "", None, True, b"x", (1,)]),
    st.sampled_from([Rude, RudeMapping, object, list, dict, lambda: IntLike(3)]).map(lambda make: make()),
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 2**63, 2**64, -(2**63) - 1, 1e308, math.inf, -math.inf, math.nan]),
)
CALLS: list[Callable[[Any, Any], Any]] = [
    lambda x, y: op.counter(x).add(y),
    lambda x, y: op.counter("a").add(x, {y: x} if isinstance(y, str) else y),
    lambda x, y: op.counter("a").add(1, **{"label": x, str(type(y)): y}),
    lambda x, y: op.gauge("b", unit=x, description=y).set(1),
    lambda x, y: op.gauge("c").set(x, y),
    lambda x, y: op.histogram("d", buckets=x).record(y),
    lambda x, y: op.timed(x if not callable(x) else "t").record(y),
    lambda x, y: op.database(x, y).record(x, rows=y),
    lambda x, y: op.search(x, y).record(y, results=x),
    lambda x, y: (op.cache(x).hit(y), op.cache(x).miss(y)),
    lambda x, y: op.queue_length(x, name=y),
    lambda x, y: op.collector(x, every=y)(lambda: 1),
]


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_no_call_raises(data: st.DataObject, measured: Measured) -> None:
    """Whatever it is given, in whatever place; and what is measured can be written as OTLP."""
    for call in data.draw(st.lists(st.sampled_from(CALLS), max_size=5)):
        call(data.draw(ANYTHING), data.draw(ANYTHING))
    measured.collect()


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
def test_no_call_within_a_crawl_raises(data: st.DataObject, measured: Measured) -> None:
    """The same of what is said of pages and operations that are open."""
    draw = lambda: data.draw(ANYTHING)  # noqa: E731 - shorter than a function
    with op.pipeline("p"), op.crawl(draw(), total=draw(), attributes=draw()) as crawl:
        crawl.request(draw(), status=draw(), seconds=draw(), error=draw())
        with crawl.fetch(draw()) as fetch:
            fetch.status = draw()
        crawl.article(words=draw(), seconds=draw(), stored=draw())
        crawl.duplicate(confidence=draw())
        crawl.queue(draw(), name=draw())
        with op.database("insert", draw()) as database:
            database.rows(draw())
        with op.search("articles", draw()) as search:
            search.results(draw())
        with op.check(draw(), dataset=draw(), kind=draw()) as check:
            check.passed(draw())
            check.failed(draw())
    measured.collect()
