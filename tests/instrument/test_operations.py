"""Operations, as calls, decorators and context managers: what is counted, and whose time it is."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import otel_pipeline as op
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.instrument.measured import Measured
    from tests.instrument.seen import Clock, Seen


def test_timed_in_each_form(measured: Measured, clock: Clock) -> None:
    """A block, a function, a coroutine, a generator and a call; failures apart from successes."""

    @op.timed
    def parse() -> None:
        clock.spend(1_000_000_000)

    @op.timed("fetch")
    async def fetch() -> str:
        clock.spend(2_000_000_000)
        return "page"

    @op.timed("pages")
    def pages() -> Iterator[int]:
        for page in range(3):
            clock.spend(1_000_000_000)
            yield page

    with op.pipeline("p"), op.stage("s"):
        parse()
        assert asyncio.run(fetch()) == "page"
        for _ in pages():
            clock.spend(50_000_000_000)
        with pytest.raises(ValueError, match="bad"), op.timed("parse"):
            raise ValueError("bad")
        with op.timed("parse") as operation:
            operation.fail()
        op.timed("elsewhere").record(0.25)
    found = {
        (dict(labels)[a.OPERATION_NAME], dict(labels)[a.OPERATION_STATUS]): value
        for labels, value in measured.of("pipeline.operation.duration").items()
        if {(a.PIPELINE_NAME, "p"), (a.STAGE_NAME, "s")} <= set(labels)
    }
    assert found == {
        ("parse", "success"): (1, 1.0),
        ("parse", "error"): (2, 0.0),
        ("fetch", "success"): (1, 2.0),
        ("pages", "success"): (1, 3.0),
        ("elsewhere", "success"): (1, 0.25),
    }


def test_database_in_each_form(measured: Measured) -> None:
    """Rows are said, or what a function returns; each operation is also one of pipeline `database`."""

    class Cursor:
        rowcount = 7

    @op.database("insert", "orders")
    def insert() -> int:
        return 10

    @op.database("update", "orders")
    async def update() -> Cursor:
        return Cursor()

    with op.pipeline("p"):
        assert insert() == 10
        assert isinstance(asyncio.run(update()), Cursor)
        with op.database("insert", "orders") as more:
            more.rows(5)
        with pytest.raises(KeyError), op.database("insert", "orders"):
            raise KeyError
        op.database("select", "orders").record(0.5, rows=100)
    of = {"pipeline_name": "p", "db_collection_name": "orders"}
    name = "pipeline.database.operations"
    assert measured.value(name, db_operation_name="insert", pipeline_operation_status="success", **of) == 2
    assert measured.value(name, db_operation_name="insert", pipeline_operation_status="error", **of) == 1
    rows = {key: measured.value("pipeline.database.rows", db_operation_name=key, **of) for key in
            ("insert", "update", "select")}  # fmt: skip
    assert rows == {"insert": 15, "update": 7, "select": 100}
    assert measured.value("pipeline.database.duration", db_operation_name="select", **of) == (1, 0.5)
    timed = {"pipeline_name": "database", "pipeline_stage_name": "orders", "pipeline_operation_name": "select"}
    assert measured.value("pipeline.operation.duration", **timed) == (1, 0.5)


def test_search_and_cache(measured: Measured) -> None:
    """Results and query length, never the query; hits and misses, said or by what a function returns."""

    @op.search("articles")
    def find(query: str) -> list[int]:
        return [1, 2, 3] if query else []

    users = op.cache("users")

    @users
    def lookup(key: str) -> str | None:
        return "somebody" if key == "a" else None

    with op.pipeline("p"):
        find("late pipelines")
        with op.search("articles", query="x") as search:
            search.results(5)
        op.search("articles").record(0.1, results=0)
        lookup("a")
        lookup("b")
        users.hit(3)
        with users as found:
            found.found(False)
    assert measured.value("pipeline.search.queries", pipeline_name="p") == 3
    assert measured.value("pipeline.search.results", pipeline_name="p") == (3, 8)
    assert measured.value("pipeline.search.query.size", pipeline_name="p") == (2, 15)
    assert measured.value("pipeline.cache.hits", pipeline_cache_name="users") == 4
    assert measured.value("pipeline.cache.misses", pipeline_cache_name="users") == 2
    assert "late" not in str(measured.points())


def test_an_operation_is_no_self_time_of_its_stage(seen: Seen, clock: Clock) -> None:
    """On one thread the self times of run, stages and operations add up to the run's duration."""
    with op.pipeline("p"):
        clock.spend(1)
        with op.stage("load"):
            clock.spend(10)
            with op.database("insert", "orders"):
                clock.spend(100)
                with op.timed("compress"):
                    clock.spend(1000)
            clock.spend(10)
    stage = seen.stage("load")
    assert stage[a.STAGE_SELF_TIME] == pytest.approx(20e-9)
    assert dict(zip(stage[a.OPERATIONS_NAMES], stage[a.OPERATIONS_SELF_TIMES], strict=True)) == pytest.approx(
        {"compress": 1000e-9, "insert orders": 100e-9}
    )
    assert seen.run()[a.RUN_SELF_TIME] == pytest.approx(1e-9)


def test_records_pulled_within_an_operation_are_the_stages(seen: Seen, clock: Clock) -> None:
    """`executemany(generator)`: the upstream's time is its own, its records went into the stage, whose edge it is."""

    @op.stage
    def extract() -> Iterator[int]:
        for number in range(3):
            clock.spend(1000)
            yield number

    with op.pipeline("p"), op.stage("load") as load:
        rows = extract()
        with op.database("insert", "orders"):
            clock.spend(10)
            assert next(rows) == 0
            assert load.records["in"] == 1
            assert list(rows) == [1, 2]
        assert load.records["in"] == 3
    stage = seen.stage("load")
    assert stage[a.OPERATIONS_SELF_TIMES] == pytest.approx((10e-9,))
    assert stage[a.STAGE_UPSTREAM] == ("extract",)
    assert stage[a.STAGE_WAIT_TIME] == pytest.approx(3000e-9)
    assert stage[a.RECORDS_IN] == 3


def test_an_operation_held_open_across_a_yield_pauses(seen: Seen, clock: Clock) -> None:
    """What the consumer takes between two pulls is not the operation's; nor is one lost that never ends."""

    @op.stage
    def extract() -> Iterator[int]:
        with op.timed("session"):
            for number in range(3):
                clock.spend(10)
                yield number

    with op.pipeline("p"):
        rows = extract()
        for _ in range(2):
            next(rows)
            clock.spend(5000)
    stage = seen.stage("extract")
    assert stage[a.OPERATIONS_NAMES] == ("session",)
    assert stage[a.OPERATIONS_SELF_TIMES] == pytest.approx((20e-9,))
    assert stage[a.STAGE_SELF_TIME] == pytest.approx(0)


def test_an_operation_outside_stages_is_the_runs_time(seen: Seen, clock: Clock) -> None:
    """The summary has no line for it, so that nothing is missing from where the time went."""
    with op.pipeline("p"), op.timed("outer"):
        clock.spend(100)
        with op.timed("inner"):
            clock.spend(10)
    assert seen.run()[a.RUN_SELF_TIME] == pytest.approx(110e-9)


def test_outside_of_everything(measured: Measured) -> None:
    """A library may time what it does, whether or not anybody runs a pipeline."""
    with op.timed("parse"):
        pass
    assert measured.value("pipeline.operation.duration", pipeline_operation_name="parse")[0] == 1


def test_checks_around_a_predicate(seen: Seen) -> None:
    """Each call is a record; one that raises has failed; a block says how many."""

    @op.check("positive", dataset="orders")
    def good(amount: Any) -> bool:
        return bool(amount > 0)

    @op.check("known", dataset="orders", kind="schema")
    async def known(amount: int) -> bool:
        return amount != 2

    with op.pipeline("p"), op.stage("validate"):
        assert [good(amount) for amount in (1, 2, -1)] == [True, True, False]
        with pytest.raises(TypeError):
            good("x")
        assert not asyncio.run(known(2))
        with op.check("bulk", dataset="orders") as bulk:
            bulk.passed(10)
    checks = {
        event.attributes[a.CHECK_NAME]: (event.attributes.get(a.CHECK_PASSED), event.attributes.get(a.CHECK_FAILED))
        for event in seen.one("stage validate").events
        if event.attributes is not None
    }
    assert checks == {"positive": (2, 2), "known": (None, 1), "bulk": (10, None)}


def test_threads_lose_nothing(measured: Measured) -> None:
    """While others collect: each addition and each operation is counted exactly once."""
    orders, done = op.counter("orders"), threading.Event()

    def work(number: int) -> None:
        for _ in range(3000):
            orders.add(1, worker=str(number % 2))
            op.cache("users").hit()

    def collect() -> None:
        while not done.is_set():
            measured.collect()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    collecting = threading.Thread(target=collect)
    collecting.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    collecting.join()
    assert measured.of("orders") == {(("worker", "0"),): 9000, (("worker", "1"),): 9000}
    assert measured.value("pipeline.cache.hits") == 18000
