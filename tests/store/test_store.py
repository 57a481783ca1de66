"""The store counts exactly once and keeps what it was given, in both places."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.model import Check, Dataset, RecordError, Records
from otel_pipeline.semconv.operations import OVERFLOW
from otel_pipeline.store.errors import StoreError
from otel_pipeline.store.store import RETENTION_NS, Store
from otel_pipeline.store.sums import Applied, Sums
from otel_pipeline.store.tables import metadata, run_keys
from tests.kpi.events import NOW, SECOND, deliveries, histories, patient, run, seen, stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from otel_pipeline.kpi.engine import Updates
    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.kpi.values import Value

HOUR = 3600 * SECOND
_KEPT = ("meta", "lease")


class KilledError(Exception):
    """The process is gone in the middle of a transaction."""


def figures(store: Store, now: int = NOW) -> list[Figure]:
    with store.reading() as reader:
        return [figure for figure in reader.figures(now) if any(figure.numbers)]


def empty(store: Store) -> None:
    with store._writing() as connection:
        for table in reversed(metadata.sorted_tables):
            if table.name not in _KEPT:
                connection.execute(table.delete())


class Dying(Sums):
    """Sums that are written, and then the process is gone before the commit."""

    def apply(self, connection: Connection, updates: Updates, now: int) -> Applied:
        """Write them, and die."""
        super().apply(connection, updates, now)
        raise KilledError


@given(data=st.data())
@settings(patient, max_examples=40, suppress_health_check=list(HealthCheck))
def test_any_arrival_gives_what_the_engine_gives_in_memory(data: st.DataObject, store: Store) -> None:
    """Order, repeats, deaths within a transaction and before the acknowledgement: the same figures in both hosts."""
    history = data.draw(histories)
    truth = MemoryEngine()
    truth.consume(history)
    empty(store)
    living, dying = Sums(store._database), Dying(store._database)
    for batch, committed in data.draw(deliveries(history)):
        store._sums = living if committed else dying
        with contextlib.nullcontext() if committed else pytest.raises(KilledError):
            store.write(batch, now=NOW)
    store._sums = living
    assert figures(store) == [figure for figure in truth.figures(NOW) if any(figure.numbers)]


def test_a_run_and_its_stages_come_back_as_they_were(store: Store) -> None:
    """Every field, also those that are in neither column: unknown stays unknown, false stays false."""
    ended = replace(
        run(), error_type="E", error_message="m\n\x00é", not_started=("x",), exit_code=0, memory_peak=5, cpu_time=0.5
    )
    full = stage(
        records=Records(1, 0, None, 3, 4, 5), exhausted=False, late=True, upstream=("a", "b"), unaccounted=-2,
        kind="load",
        datasets=(Dataset("t", "write", 0, None, "2026-01-01"),), checks=(Check("c", "t", "schema", 1, 0),),
        record_errors=(RecordError("ValueError", "m", "dict", ("k",)),), error_type="E", error_stage="load",
    )  # fmt: skip
    bare = stage(span=101, name="extract")
    store.write([full, bare, ended], now=NOW)
    with store.reading() as reader:
        [record] = reader.last_runs("orders", 10)
        assert record.run == ended
        assert reader.stages_of(record) == [full, bare]
        assert {event for _, event, _ in reader.facts_ended(0, NOW)} == {
            "run",
            "stage",
            "records",
            "dataset",
            "check",
        } | {"error"}
        assert not list(reader.facts_ended(NOW, NOW + 1))


def test_runs_are_found_by_name_id_and_beginning(store: Store) -> None:
    """``last`` is the latest start; the last good run is one of the same pipeline that started before."""
    runs = [replace(run(f"r{n}", result, span=n), started=NOW - (9 - n) * SECOND, ended=NOW - (9 - n) * SECOND + 1)
            for n, result in enumerate(("success", "failure", "success"), 1)]  # fmt: skip
    store.write([*runs, replace(run("x_1", span=9), pipeline="news", started=NOW - 60 * SECOND)], now=NOW)
    with store.reading() as reader:
        assert reader.pipelines() == ["news", "orders"]
        assert [record.run_id for record in reader.last_runs("orders", 2)] == ["r3", "r2"]
        [last] = reader.find_run("last")
        assert last.run == runs[2]
        assert [record.run_id for record in reader.find_run("r")] == ["r3", "r2", "r1"]
        assert [record.run_id for record in reader.find_run("r2")] == ["r2"]
        assert not reader.find_run("x%")
        good = reader.last_good_before(last)
        assert good is not None
        assert good.run_id == "r1"
        assert reader.last_good_before(reader.find_run("r1")[0]) is None


def test_attempts_in_one_trace_have_their_own_stages(store: Store) -> None:
    """A loop that tries again under the same run id: each stage belongs to the attempt in which it began."""
    attempts = [replace(run(attempt=n, span=n), started=NOW + n * 10 * SECOND, ended=NOW + n * 10 * SECOND + 5)
                for n in (1, 2)]  # fmt: skip
    stages = [replace(stage(span=100 + n), started=NOW + n * 10 * SECOND + 1, ended=NOW + n * 10 * SECOND + 2)
              for n in (1, 2)]  # fmt: skip
    store.write([*attempts, *stages], now=NOW + 100 * SECOND)
    with store.reading() as reader:
        records = reader.find_run("r1")
        assert [(r.run and r.run.attempt, r.superseded) for r in records] == [(2, False), (1, True)]
        assert [reader.stages_of(record) for record in records] == [[stages[1]], [stages[0]]]


def test_a_run_is_there_from_its_first_sign_of_life(store: Store) -> None:
    """The latest one counts, an end replaces it, and a later heartbeat changes nothing any more."""
    store.write([seen(ago=30), replace(seen(ago=10), open_stages=("load",)), seen(ago=20)], now=NOW)
    with store.reading() as reader:
        [record] = reader.last_runs("orders", 1)
        assert (record.run, record.started, record.seen) == (None, NOW - 30 * SECOND, NOW - 10 * SECOND)
        assert record.open_stages == ("load",)
    store.write([run(), seen(ago=1)], now=NOW)
    with store.reading() as reader:
        assert reader.last_runs("orders", 1)[0].run == run()


def test_what_is_older_than_the_retention_goes_and_does_not_come_back(store: Store) -> None:
    """Its rows go in small chunks, the sums that it is part of stay; arriving again it is late, not new."""
    old = [replace(v, started=v.started - RETENTION_NS, ended=v.ended - RETENTION_NS)
           for v in (run("old", span=5), stage("old", span=6, checks=(Check("c", "t", passed=1),)))]  # fmt: skip
    store.write(old, now=NOW - RETENTION_NS)
    store.write([run(), stage()], now=NOW)
    before = [figure for figure in figures(store) if not figure.kpi.derived]
    assert store.forget(now=NOW + HOUR) == 2
    assert store.forget(now=NOW + HOUR) == 0
    assert store.write(old, now=NOW) == {"late": 2}
    assert [figure for figure in figures(store) if not figure.kpi.derived] == before
    with store.reading() as reader:
        assert not reader.find_run("old")
        assert reader.stages_of(reader.find_run("r1")[0]) == [stage()]
    with store._writing() as connection:
        assert connection.execute(select(run_keys.c.key)).all() == [("r1",)]


def test_a_batch_may_say_the_same_twice(store: Store) -> None:
    """Repeats, attempts and a guess beside the truth in one transaction: one row each, and nothing taken back."""
    lost, end = run("r2", "lost", span=3), run("r2", span=3, took=9)
    first, second = run("r1", "failure", attempt=1, span=1), run("r1", attempt=2, span=2)
    batch = [seen(), first, second, second, lost, end, stage(), stage(), stage(None, span=7), stage(None, span=7)]
    counts = store.write(batch, now=NOW)
    assert counts == {"runs": 3, "stages": 2, "repeated": 5}
    with store.reading() as reader:
        assert not reader.state(NOW).taken
        assert {record.run for record in reader.last_runs("orders", 9)} == {first, second, end}


def test_text_of_any_kind_comes_back(store: Store) -> None:
    """Quotes, backslashes, braces, newlines, emoji, and what looks like nothing."""
    texts = ("'\"\\", "{a,NULL}", "NULL", "\n\t", "é😀", " ", "%s ? $1 :x", "\\x00")
    stages = [
        stage(f"r{n}", text, span=n, kind=text, checks=(Check(text, text, failed=1),)) for n, text in enumerate(texts)
    ]
    store.write(stages, now=NOW)
    assert store.write(stages, now=NOW) == {"repeated": len(texts)}
    with store.reading() as reader:
        labels = {figure.labels[1] for figure in reader.figures(NOW) if figure.kpi.name == "pipeline.stage.duration"}
        datasets = {figure.labels[0] for figure in reader.figures(NOW) if figure.kpi.name == "pipeline.dataset.quality"}
    assert labels == datasets == set(texts)


def test_what_cannot_be_stored_leaves_nothing_of_its_batch(store: Store) -> None:
    """And the next one is as if it had not been."""
    with pytest.raises((OverflowError, StoreError)):
        store.write([run(), stage(records=Records(in_=2**70))], now=NOW)
    assert not figures(store)
    assert store.write([run(), stage()], now=NOW) == {"runs": 1, "stages": 1}


def test_series_are_bounded_and_the_rest_is_added_to_one(place: Path | str) -> None:
    """Totals stay right; a second process that opens the store finds the same bound."""
    for number in range(2):
        with contextlib.closing(Store(place)) as store:
            store._sums = Sums(store._database, most=20)
            for part in range(10):
                names = [f"s{(number * 10 + part) * 10 + n}" for n in range(10)]
                store.write([stage(f"{number}.{part}", name, span=n + 1) for n, name in enumerate(names)], now=NOW)
            with store.reading() as reader:
                durations = [f for f in reader.figures(NOW) if f.kpi.name == "pipeline.stage.duration"]
            assert len(durations) == 21
            assert sum(figure.numbers[1] for figure in durations) == 100 * (number + 1)
            assert [f.numbers[1] for f in durations if OVERFLOW in f.labels] == [100 * (number + 1) - 20]


def test_two_open_the_same_new_place_at_once(new_place: Callable[[], Path | str]) -> None:
    """One makes the tables, the other waits for it; both can write."""
    place = new_place()
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store(place), range(4)))
        counts = list(pool.map(lambda number: stores[number].write([stage(span=number + 1)], now=NOW), range(4)))
    assert counts == [{"stages": 1}] * 4
    for store in stores:
        store.close()


def test_threads_share_a_store(store: Store) -> None:
    """Writers and readers at the same time, each value once."""
    batches = [[run(f"r{n}", span=n + 1), *(stage(f"r{n}", span=100 * n + k) for k in range(1, 4))] for n in range(30)]

    def write(batch: list[Value]) -> None:
        store.write(batch, now=NOW)
        figures(store)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [*batches, *batches]))
    assert store.write([value for batch in batches for value in batch], now=NOW) == {"repeated": 120}
    with store.reading() as reader:
        assert sum(f.numbers[0] for f in reader.figures(NOW) if f.kpi.name == "pipeline.run.ended") == 30
