"""What was not as expected, as rows: the same as in memory, counted once, whoever looks and however often."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_pipeline.declaration import Slo, texts_of
from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.kpi.silence import DEAF_NS
from otel_pipeline.store.store import RETENTION_NS, Store
from otel_pipeline.ticking import tick
from tests.kpi.events import patient
from tests.kpi.expected import DAY, HOUR, MINUTE, SECOND, Runs, at, begun, declared, stage_of
from tests.kpi.histories import FIRST, lives
from tests.postgresql import running

if TYPE_CHECKING:
    from otel_pipeline.kpi.verdicts import Breach

NIGHT = "0 2 * * *"
DUE = at("2026-03-03T02:00:00")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.db")


def breaches(store: Store) -> list[Breach]:
    with store.reading() as reader:
        return reader.breaches()


def counted(store: Store, kind: str) -> tuple[float, float]:
    """How often it was counted, as it stands and as Prometheus sees it."""
    with store.reading() as reader:
        state = reader.state(0)
    series = ("pipeline.run.unexpected", ("orders", kind))
    return state.sums[series][0], state.rising.sums[series][0]  # type: ignore[index]  # a Series is a tuple


@settings(patient, max_examples=30)
@given(st.data())
def test_it_is_what_is_found_in_memory(data: st.DataObject) -> None:
    """Whatever arrives when, and whoever ticks between: breaches, their counts, and objectives."""
    life = data.draw(lives())
    last = FIRST + 10 * HOUR
    truth = MemoryEngine()
    truth.consume(life)
    truth.tick(last)
    with tempfile.TemporaryDirectory() as folder:
        stores = [Store(Path(folder) / "store.db") for _ in range(2)]
        now = FIRST
        for value in data.draw(st.permutations(life)):
            data.draw(st.sampled_from(stores)).write([value], now=last)
            if data.draw(st.booleans()):
                now += data.draw(st.integers(0, 40)) * MINUTE
                tick(data.draw(st.sampled_from(stores)), now=min(now, last))
        tick(stores[0], now=last)
        found = sorted(breaches(stores[1]), key=lambda breach: (breach.kind, breach.subject))
        assert found == [noted.breach for noted in truth.noted("orders")]
        with stores[1].reading() as reader:
            figures = reader.figures(last)
        shown = [figure for figure in figures if any(figure.numbers)]
        assert shown == [figure for figure in truth.figures(last) if any(figure.numbers)]
        assert tick(stores[1], now=last) == ([], [])


def test_a_tick_looks_only_where_something_may_have_changed(store: Store) -> None:
    """A pipeline of which nothing came, and whose time has not come, is left alone."""
    runs, others = Runs(declared(NIGHT)), Runs(pipeline="plain")
    others._number = 100
    store.write([runs.run(FIRST), others.run(FIRST)], now=FIRST + HOUR)
    tick(store, now=FIRST + HOUR)
    looked_at = []
    judge = store._counting.count
    store._counting.count = lambda *facts: looked_at.append(1) or judge(*facts)  # type: ignore[method-assign,func-returns-value]
    tick(store, now=DUE + 5 * MINUTE)
    assert looked_at == []
    tick(store, now=DUE + 6 * MINUTE)
    assert looked_at == [1]
    assert [breach.kind for breach in breaches(store)] == ["did_not_start"]


def test_it_is_counted_and_taken_back_exactly(store: Store) -> None:
    """The run had started in time, and comes late; what Prometheus has seen does not fall."""
    runs = Runs(declared(NIGHT))
    store.write([runs.run(FIRST)], now=FIRST + HOUR)
    changes, _ = tick(store, now=DUE + HOUR)
    assert [(change.noted.breach.kind, change.counted) for change in changes] == [("did_not_start", 1)]
    assert counted(store, "did_not_start") == (1, 1)
    store.write([runs.run(DUE)], now=DUE + 2 * HOUR)
    changes, _ = tick(store, now=DUE + 2 * HOUR)
    assert [change.counted for change in changes] == [-1]
    assert counted(store, "did_not_start") == (0, 1)
    assert breaches(store) == []


def test_what_the_file_says_holds_from_then_on(store: Store) -> None:
    """It is remembered: a reader without the file changes nothing; a file without the pipeline does."""
    file = texts_of({"orders": {"schedule": NIGHT}}, "f")
    tick(store, file=file, now=DUE - HOUR)
    tick(store, now=DUE + HOUR)
    [missed] = breaches(store)
    assert (missed.kind, missed.about, missed.resolved) == ("did_not_start", DUE, None)
    tick(store, file={}, now=DUE + 2 * HOUR)
    tick(store, file={}, now=DUE + 3 * DAY)
    [missed] = breaches(store)
    assert missed.resolved is not None


def test_a_fault_is_said(store: Store) -> None:
    """A zone that does not exist could not be known where it was written."""
    store.write([Runs(declared("0 2 * * * Europe/Atlantis")).run(FIRST)], now=FIRST + HOUR)
    _, lines = tick(store, now=FIRST + HOUR)
    assert lines == ["orders: schedule='0 2 * * * Europe/Atlantis': there is no time zone 'Europe/Atlantis'"]


def test_breaches_are_found_by_run_and_by_state(store: Store) -> None:
    """Those of one run, those that are not over, the latest first, at most so many."""
    runs = Runs(declared(duration="<1m", records=">=10"))
    slow, poor = runs.run(FIRST, 300), runs.run(FIRST + HOUR, 30)
    store.write([slow, stage_of(slow, 50), poor, stage_of(poor, 1)], now=FIRST + DAY)
    tick(store, now=FIRST + DAY)
    with store.reading() as reader:
        [record] = reader.find_run(slow.run_id)
        assert [breach.kind for breach in reader.breaches_of(record)] == ["too_slow"]
        assert [breach.kind for breach in reader.breaches(still_open=True)] == ["too_few"]
        assert [breach.kind for breach in reader.breaches("orders", most=1)] == ["too_few"]
        assert reader.breaches("others") == []


def test_silent_runs_are_closed_and_counted_once(store: Store) -> None:
    """By those who listen, when somebody else is heard; the end that comes after all corrects it."""
    runs = Runs(pipeline="orders")
    run, other = runs.run(FIRST, 600), runs.run(FIRST + 50 * SECOND, 100)
    store.write([begun(run), begun(other)], now=FIRST + MINUTE)
    now = FIRST + 3 * MINUTE
    tick(store, now=now)
    tick(store, now=now, listening=True)
    with store.reading() as reader:
        assert [record.run for record in reader.last_runs("orders", 9)] == [None, None]
    store.write([other], now=now)  # heard of after the silent one's deadline
    for _ in range(2):
        tick(store, now=now, listening=True)
    with store.reading() as reader:
        [record] = reader.find_run(run.run_id)
    assert record.run is not None
    assert (record.run.result, record.run.ended) == ("lost", FIRST)
    assert counted(store, "lost") == (1, 1)
    store.write([run], now=now + HOUR)
    tick(store, now=now + HOUR)
    assert counted(store, "lost") == (0, 1)


def test_a_run_that_beats_for_others_to_hear_is_not_closed(store: Store) -> None:
    """The outage of a Collector is not the death of all runs, unless it lasts."""
    runs = Runs()
    made = [runs.run(FIRST + n * SECOND, 9000) for n in range(5)]
    store.write([begun(run) for run in made], now=FIRST + MINUTE)
    tick(store, now=FIRST + HOUR, listening=True)
    assert breaches(store) == []
    tick(store, now=FIRST + DEAF_NS + 2 * MINUTE, listening=True)
    assert [breach.kind for breach in breaches(store)] == ["lost"] * 5


def test_old_breaches_are_forgotten(store: Store) -> None:
    """With the runs, in small chunks; the counts stay."""
    run = Runs(declared(duration="<1s")).run(FIRST)
    store.write([run], now=FIRST + HOUR)
    tick(store, now=FIRST + HOUR)
    store.forget(now=FIRST + RETENTION_NS)
    assert len(breaches(store)) == 1
    store.forget(now=FIRST + RETENTION_NS + DAY)
    assert breaches(store) == []
    assert counted(store, "too_slow") == (1, 1)


@pytest.mark.parametrize("place", ["sqlite", "postgresql"])
def test_processors_that_look_at_the_same_time_count_once(place: str, tmp_path: Path) -> None:
    """Four at once, while runs arrive; in the end what stands is what is true."""
    if place == "sqlite":
        looked_at_by_four(tmp_path / "store.db")
        return
    with running() as server:
        looked_at_by_four(server.new_database())


def looked_at_by_four(where: Path | str) -> None:
    stores = [Store(where, busy_s=60) for _ in range(4)]
    runs = Runs(declared("*/10 * * * *", duration="<1m", records=">=5", learn="normal"))
    slo = Slo(availability="90%", latency="50% < 10m", errors="<5%", freshness="80% < 1h")
    made = [runs.run(FIRST + n * 10 * MINUTE, 30 + 60 * (n % 3)) for n in range(24)]
    made[-1] = replace(made[-1], declared=declared("*/10 * * * *", slo=slo))
    last = FIRST + 5 * HOUR
    failed: list[BaseException] = []

    def processor(number: int) -> None:
        try:
            for run in made[number::4]:
                stores[number].write([run, stage_of(run, 3 + number)], now=last)
                tick(stores[number], now=last - HOUR)
                tick(stores[number], now=last)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=processor, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    tick(stores[0], now=last)
    truth = MemoryEngine()
    truth.consume([*made, *(stage_of(run, 3 + number % 4) for number, run in enumerate(made))])
    truth.tick(last)
    found = sorted(breaches(stores[1]), key=lambda breach: (breach.kind, breach.subject))
    assert found == [noted.breach for noted in truth.noted("orders")]
    with stores[2].reading() as reader:
        shown = {(figure.kpi.name, figure.labels): figure.numbers for figure in reader.figures(last)}
    assert shown == {(figure.kpi.name, figure.labels): figure.numbers for figure in truth.figures(last)}
    for each in stores:
        each.close()
