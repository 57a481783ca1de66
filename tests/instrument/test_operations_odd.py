"""Operations, crawls and checks where they are used in ways that nobody thought of."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import otel_pipeline as op
from otel_pipeline.instrument import measuring
from otel_pipeline.instrument.measuring import MOST_LABEL_SETS, MOST_LABELS, Noted
from otel_pipeline.semconv import attributes as a
from tests.instrument.test_hostile import Rude

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.instrument.measured import Measured
    from tests.instrument.seen import Clock, Seen


@pytest.mark.parametrize("make", [lambda: op.timed, lambda: op.timed("t"), lambda: op.database("select", "t"),
                                  lambda: op.search("s"), lambda: op.cache("c"), lambda: op.check("k")])  # fmt: skip
def test_methods_of_classes(make: Callable[[], Any], measured: Measured) -> None:
    """Above and below `classmethod` and `staticmethod`."""
    del measured
    decorate = make()

    class Shop:
        @decorate
        @classmethod
        def above(cls) -> str:
            return cls.__name__

        @decorate
        @staticmethod
        def free(number: int = 1) -> int:
            return number

        @classmethod
        @decorate
        def below(cls) -> str:
            return cls.__name__

    assert (Shop.above(), Shop().above(), Shop.below(), Shop.free(2), Shop().free()) == ("Shop", "Shop", "Shop", 2, 1)


@pytest.mark.parametrize("decorate", [op.database, op.search, op.cache, op.crawl])
def test_a_decorator_without_its_name(decorate: Any) -> None:
    """Is refused where it is written, and not where the function is called."""
    with pytest.raises(op.UsageError, match=r"needs to know of what: @\w+\('"):

        @decorate
        def function() -> None: ...


def test_answers_that_are_neither_true_nor_false(seen: Seen) -> None:
    """An array, say: the check is left out, and what the predicate returned is returned."""
    answer = Rude()

    @op.check("positive")
    def good() -> Rude:
        return answer

    with op.pipeline("p"), op.stage("s"):
        assert good() is answer
    assert not seen.one("stage s").events


def test_totals_that_are_none(measured: Measured) -> None:
    """A total that is no count is left out, and everything else is collected as ever."""
    with op.pipeline("news"), op.crawl("x", total=4) as crawl:
        for total in ("x", -3, float("nan")):
            crawl.total = total  # type: ignore[assignment]
            crawl.request(status=200)
            assert crawl.progress is None
            assert sum(measured.of("pipeline.crawl.requests").values()) > 0


def test_urls_that_come_out_of_a_stage_are_counted_once(seen: Seen) -> None:
    """By the stage, by `track` or by nobody: the records in of a crawl are its requests."""

    @op.stage
    def urls() -> Iterator[str]:
        yield from ("a", "b", "c")

    with op.pipeline("news"), op.crawl("x", total=6) as crawl:
        for _ in urls():
            crawl.request(status=200)
        for _ in crawl.track(iter("abc")):
            crawl.request(status=200)
        assert crawl.progress == 1.0
    assert seen.stage("crawl x")[a.RECORDS_IN] == 6


def test_a_crawl_is_current_below_other_stages(measured: Measured) -> None:
    """From any function below it."""
    with op.pipeline("news"), op.crawl("x"), op.stage("parse"):
        op.current_crawl().article(words=3)
    assert measured.value("pipeline.crawl.articles") == 1


def test_rates_of_sessions_one_after_another(measured: Measured, clock: Clock) -> None:
    """Are as fast as each, not as all together."""
    with op.pipeline("news"):
        for _ in range(5):
            with op.crawl("x") as crawl:
                for _ in range(10):
                    crawl.request(status=200)
                clock.spend(1_000_000_000)
        assert measured.value("pipeline.crawl.urls.rate") == pytest.approx(10)


def test_a_timed_generator_is_no_stage(seen: Seen, measured: Measured, clock: Clock) -> None:
    """What it yields is neither a record in nor waited for; its time is its own, wherever it was called."""

    @op.timed("numbers")
    def numbers() -> Iterator[int]:
        for number in range(3):
            clock.spend(100)
            yield number

    with op.pipeline("p"):
        rows = numbers()
        with op.stage("s") as stage:
            assert sum(rows) == 3
            assert list(stage.track(numbers())) == [0, 1, 2]
            clock.spend(10)
        assert list(numbers()) == [0, 1, 2]
    told = seen.stage("s")
    assert told[a.RECORDS_IN] == 3
    assert a.STAGE_WAIT_TIME not in told
    assert told[a.STAGE_SELF_TIME] == pytest.approx(10e-9)
    assert told[a.OPERATIONS_SELF_TIMES] == pytest.approx((600e-9,))
    assert seen.run()[a.RUN_SELF_TIME] == pytest.approx(300e-9)
    assert sum(count for count, _ in measured.of("pipeline.operation.duration").values()) == 3


def test_an_operation_that_is_entered_twice(measured: Measured) -> None:
    """It was one: the second time is said and counted as misuse."""
    with op.pipeline("news"), op.crawl("x") as crawl:
        fetch = crawl.fetch("/")
        for _ in range(2):
            with fetch:
                fetch.status = 200
    assert sum(measured.of("pipeline.crawl.requests").values()) == 1
    assert measured.value("pipeline.telemetry.rejected", pipeline_telemetry_call="operation") == 1


def test_more_operations_than_anybody_reads(seen: Seen) -> None:
    """The 19 that took most time, and all others in one."""
    with op.pipeline("p"), op.stage("s"):
        for number in range(500):
            with op.timed(f"t{number}"):
                pass
    told = seen.stage("s")
    assert len(told[a.OPERATIONS_NAMES]) == 20
    assert told[a.OPERATIONS_NAMES][-1] == "other operations"
    assert sum(told[a.OPERATIONS_COUNTS]) == 500


def test_names_of_labels_without_end(measured: Measured) -> None:
    """Are as bounded as their values."""
    for number in range(3 * MOST_LABEL_SETS):
        op.counter("c").add(1, {f"k{number}": "v"})
    found = measured.of("c")
    assert len(found) <= MOST_LABEL_SETS + MOST_LABELS + 1
    assert sum(found.values()) == 3 * MOST_LABEL_SETS


def test_names_that_prometheus_spells_alike(measured: Measured, caplog: pytest.LogCaptureFixture) -> None:
    """The second is refused, since nobody could tell them apart."""
    op.counter("a.b").add(1)
    op.counter("a_b").add(5)
    assert "Prometheus would take it for 'a.b'" in caplog.text
    assert {name for name, _ in measured.points()} >= {"a.b"}
    assert measured.of("a_b") == {}


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="signals of Unix")
def test_a_signal_handler_that_flushes(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a hand-over it waits for the next: nothing is lost, nothing hangs."""
    orders, within, series = op.counter("orders"), [], Noted.series

    def interrupted(noted: Noted, given: dict[str, str]) -> Any:
        os.kill(os.getpid(), signal.SIGALRM)
        return series(noted, given)

    def flush(*_: object) -> None:
        within.append(measuring._receiver.busy)
        measuring.hand_over()

    monkeypatch.setattr(Noted, "series", interrupted)
    before = signal.signal(signal.SIGALRM, flush)
    try:
        for number in range(20):
            orders.add(1, shop=str(number % 3))
        measuring.hand_over()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert any(within)
    assert sum(measured.of("orders").values()) == 20
