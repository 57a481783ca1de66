"""Rows of operations: streams under the catalogue's names, families of names, and their limits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otel_pipeline.kpi.exposition import as_prometheus, series_of_name
from otel_pipeline.kpi.measures import served
from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.kpi.names import find
from otel_pipeline.kpi.statistics import statistics
from otel_pipeline.kpi.streams import Measure, Point
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import operations as o
from otel_pipeline.semconv.catalogue import CATALOGUE
from otel_pipeline.store.store import Store
from tests.exposition import samples

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from otel_pipeline.semconv.kpi import Kpi

NOW = 1_790_000_000 * 10**9


def point(kpi: Kpi, labels: Mapping[str, str], *numbers: float, process: int = 1) -> Point:
    """What a process says of a row."""
    metric = kpi.metric
    measure = Measure(metric.name, metric.instrument, metric.unit, metric.description, metric.buckets)
    if metric.instrument == "histogram":
        numbers = (*numbers, *(0.0,) * len(metric.buckets), numbers[1])
    return Point(measure, tuple(sorted(labels.items())), bytes([process]) * 16, NOW - 10**9, NOW, numbers)


def text(engine: MemoryEngine) -> dict[str, float]:
    """What is served, by name and labels as they are written."""
    return {
        name + str(dict(sorted(labels))): value
        for (name, labels), value in samples(as_prometheus(CATALOGUE, engine.figures(NOW))).items()
    }


def requests(code: str, number: float, status: str = "success", process: int = 1) -> Point:
    labels = {a.PIPELINE_NAME: "news", a.CRAWL_SOURCE: "x", a.OPERATION_STATUS: status, a.HTTP_STATUS_CODE: code}
    return point(o.REQUESTS, {key: value for key, value in labels.items() if value}, number, process=process)


def queries(table: str, seconds: float) -> Point:
    return point(o.DATABASE_DURATION, {a.DB_OPERATION: "insert", a.DB_TABLE: table}, seconds, 1)


def test_aliases_of_a_stream() -> None:
    """The same requests by source, by status, and by code in the name, added up over processes."""
    engine = MemoryEngine()
    engine.consume([requests("200", 5), requests("200", 2, process=2), requests("404", 3, "error"),
                    requests("", 1, "error")])  # fmt: skip
    found = text(engine)
    assert found["etl_crawler_requests_total{'source': 'x', 'status': 'success'}"] == 7
    assert found["etl_crawler_requests_total{'source': 'x', 'status': 'error'}"] == 4
    assert (found["pipeline_urls_total{}"], found["pipeline_urls_success{}"], found["pipeline_urls_failed{}"]) == (
        11, 7, 4,
    )  # fmt: skip
    codes = {name: value for name, value in found.items() if name.startswith("pipeline_urls_status_")}
    assert codes == {"pipeline_urls_status_200{}": 7, "pipeline_urls_status_404{}": 3}


def test_a_family_is_bounded_and_its_names_stay(tmp_path: Path) -> None:
    """The hundred that were first keep their names, whatever comes later; the others share one."""
    engine, store = MemoryEngine(), Store(tmp_path / "store.db")
    for number in range(150):
        batch = [queries(f"z{number:03}", 1.0)]
        engine.consume(batch)
        store.write(batch, now=NOW + number)
    before = {name: value for name, value in text(engine).items() if name.startswith("pipeline_db_")}
    later = [queries("a", 5.0)]
    engine.consume(later)
    store.write(later, now=NOW + 1000)
    after = {name: value for name, value in text(engine).items() if name.startswith("pipeline_db_")}
    own = {name for name in before if name.startswith("pipeline_db_insert_") and name.endswith("_sum{}")}
    assert len(own) == 100
    assert before["pipeline_db_other_sum{}"] == 50
    assert after["pipeline_db_other_sum{}"] == 55
    assert before.keys() <= after.keys()
    with store.reading() as reader:
        figures = reader.figures(NOW)
    assert {name.alias.name for kpi in served(CATALOGUE, figures) if kpi.name == o.DATABASE_DURATION.name
            for name in [find(alias.name, served(CATALOGUE, figures)) for alias in kpi.aliases]
            if name is not None and name.alias is not None} >= {name.partition("_sum")[0] for name in own}  # fmt: skip


def test_names_of_a_family_that_are_the_same_are_added_up() -> None:
    """Prometheus has no dots and dashes: two tables may be of one name."""
    engine = MemoryEngine()
    engine.consume([queries("shop.orders", 1.0), queries("shop-orders", 2.0)])
    assert text(engine)["pipeline_db_insert_shop_orders_sum{}"] == 3


def test_a_family_takes_no_name_that_there_is() -> None:
    """An operation `duration` on a table `seconds` is among the others."""
    engine = MemoryEngine()
    labels = {a.DB_OPERATION: "queue", a.DB_TABLE: "x"}
    engine.consume([point(o.DATABASE_DURATION, labels, 1.0, 1)])
    kpi = next(each for each in served(CATALOGUE, engine.figures(NOW)) if each.name == o.DATABASE_DURATION.name)
    assert "pipeline_db_queue_x" in {alias.name for alias in kpi.aliases}
    taken = [replace(row, metric=row.metric._replace(prometheus="pipeline_db_queue_x")) if row is o.QUEUE_LENGTH
             else row for row in CATALOGUE]  # fmt: skip
    kpi = next(each for each in served(taken, engine.figures(NOW)) if each.name == o.DATABASE_DURATION.name)
    assert "pipeline_db_other" in {alias.name for alias in kpi.aliases}


def test_order_values_are_a_summary() -> None:
    """Quantiles under the very name, as dashboards ask for it; a label of the user's stays."""
    engine = MemoryEngine()
    engine.consume([point(o.ORDER_VALUE, {"shop": "a"}, 50.0, 2), point(o.ORDER_VALUE, {"shop": "b"}, 7.0, 1)])
    found = {name for name in text(engine) if name.startswith("order_value_dollars")}
    assert "order_value_dollars_sum{'shop': 'a'}" in found
    assert "order_value_dollars{'quantile': '0.95', 'shop': 'b'}" in found
    assert not any("_bucket" in name for name in found)


def test_a_process_of_another_version_contradicts_nothing() -> None:
    """A metric of that name and another kind is served under its own name alone, where that is free."""
    engine = MemoryEngine()
    measure = Measure(o.REQUESTS.name, "gauge")
    engine.consume([Point(measure, (), b"1" * 16, NOW - 1, NOW, (3.0,))])
    assert "pipeline_urls_total{}" not in text(engine)


def test_statistics_of_a_histogram_that_processes_sent() -> None:
    """Count, mean and quantiles as far as buckets tell; what they do not is unknown."""
    engine = MemoryEngine()
    engine.consume(
        [
            queries("orders", 1.0),
        ]
    )
    figures = engine.figures(NOW)
    name = find("db_query_duration_seconds", served(CATALOGUE, figures))
    assert name is not None
    [found] = statistics(name, (), figures, NOW)
    assert (found.count, found.sum, found.mean, found.value) == (1, 1.0, 1.0, 1.0)
    assert (found.min, found.max, found.last) == (None, None, None)
    assert series_of_name(name, figures)
