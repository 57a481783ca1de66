"""What may be declared of a pipeline, what may not, and how it travels."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_pipeline as op
from otel_pipeline.declaration import MOST_TEXT, Declaration, effective, text_of, texts_of
from otel_pipeline.spellings import Bounds, counts_of, duration_of, durations_of, schedule_text

MINUTE = 60 * 10**9


class Rude:
    """Raises whatever it is asked."""

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError("rude")

    __str__ = __repr__ = __bool__ = __hash__ = __eq__ = __len__ = _raise


@pytest.mark.parametrize(
    ("text", "bounds"),
    [("<30m", Bounds(None, 30 * MINUTE - 1)), ("<= 30m", Bounds(None, 30 * MINUTE)), (">5m", Bounds(5 * MINUTE + 1)),
     (">=1h30m", Bounds(90 * MINUTE)), ("5m..30m", Bounds(5 * MINUTE, 30 * MINUTE)), ("1.5s..1.5s",
     Bounds(1_500_000_000, 1_500_000_000))],
)  # fmt: skip
def test_bounds_of_durations(text: str, bounds: Bounds) -> None:
    """One or both sides, whole nanoseconds, both included."""
    assert durations_of(text) == bounds


@pytest.mark.parametrize(
    ("text", "bounds"), [(">=1000", Bounds(1000)), ("<1", Bounds(None, 0)), ("10..20", Bounds(10, 20))]
)
def test_bounds_of_records(text: str, bounds: Bounds) -> None:
    """The same for counts."""
    assert counts_of(text) == bounds


THINGS: list[Any] = [
    "", "30", "30m", "<", "<30x", "<<3m", "30m..5m", "5m..", "<-3m", "<1e9m", "< 30m" * 50, 30, 3.5, float("nan"), True,
    ("5m", "30m"), [], {}, b"<30m", "\ud800", "١m", Rude(),
]  # fmt: skip
STATED = [
    (op.Expect, "duration"), (op.Expect, "records"), (op.Expect, "start_within"), (op.Expect, "finish_within"),
    (op.Expect, "every"), (op.Expect, "at_most"), (op.Expect, "learn"), (op.Slo, "availability"), (op.Slo, "latency"),
    (op.Slo, "errors"), (op.Slo, "freshness"), (op.Slo, "window"), (op.Slo, "retries"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), STATED, ids=lambda each: each if isinstance(each, str) else each.__name__)
@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_what_cannot_be_used_is_quoted(kind: Any, name: str, thing: Any) -> None:
    """A ValueError of ours at the declaration: what was said, and what is wanted."""
    try:
        kind(**{name: thing})
    except op.ExpectationError as error:
        assert isinstance(error, ValueError)
        assert str(error).startswith(f"{kind.__name__}({name}=")
        assert ": want " in str(error)
    else:  # a few of the things are right for one of the names
        right = ("30m",) if name in ("start_within", "finish_within", "every", "window") else ()
        assert thing is True if name == "retries" else thing in right


@pytest.mark.parametrize("target", ["100%", "0%", "101%", "99.9", "95% < 30m", "<1%"])
def test_an_objective_leaves_something_to_fail(target: str) -> None:
    """Without an error budget there is nothing to burn; other objectives' forms are refused too."""
    with pytest.raises(op.ExpectationError, match=r"99\.9%"):
        op.Slo(availability=target)


@pytest.mark.parametrize(
    "schedule",
    ["", "0 2 * *", "60 * * * *", "* 24 * * *", "0 2 0 * *", "0 2 * 13 *", "0 2 * * 8", "0 2 * * * * *", "@daily",
     "0 2 * * * Europe/", "0 2 * * * ../etc/passwd", "0 0 2 * * *", 7, Rude(), "* " * 500],
    ids=lambda thing: thing[:12] if isinstance(thing, str) else type(thing).__name__,
)  # fmt: skip
def test_a_schedule_of_another_shape(schedule: Any) -> None:
    """It is refused where it is written, without a calendar."""
    with pytest.raises(op.ExpectationError, match=r"schedule=.*0 2 \* \* \* Europe/Berlin"):
        op.pipeline("orders", schedule=schedule)


@pytest.mark.parametrize(
    "schedule", ["*/15 * * * *", "0 2 * * MON-FRI Europe/Berlin", "0 0 L * * UTC", "0,30 1-5/2 1 JAN 5#3 Etc/GMT+5"]
)
def test_a_schedule(schedule: str) -> None:
    """Names, steps, lists, ranges, the last day, the third Friday, and any zone by its name."""
    assert schedule_text(schedule) == schedule


@pytest.mark.parametrize(
    "given",
    [{"expect": "<30m"}, {"expect": op.Slo()}, {"slo": {}}, {"expect": Rude()}],
    ids=lambda given: type(next(iter(given.values()))).__name__,
)
def test_parts_are_of_their_kind(given: Any) -> None:
    """Neither a text nor a dictionary: one way each."""
    with pytest.raises(op.ExpectationError, match=r"want op\.(Expect|Slo)\(…\)"):
        op.pipeline("orders", **given)


def test_it_travels_as_text() -> None:
    """What was said comes out again; nothing said is no text."""
    expect, slo = op.Expect(duration="<30m", at_most="3/1h"), op.Slo(availability="99.9%", retries=True)
    text = text_of("0 2 * * *", expect, slo)
    assert effective(text) == Declaration("0 2 * * *", expect, slo)
    assert text_of() is text_of(None, op.Expect(), op.Slo()) is None
    assert effective(None) == Declaration()


def test_the_longest_declaration_is_read() -> None:
    """The bound on the wire has room for every part at its longest."""
    long = "1m" * 45
    expect = op.Expect(
        duration=f"<{long}", records=f">={' ' * 90}1", start_within=long, finish_within=long, every=long,
        at_most=f"9999/{long}", learn="normal",
    )  # fmt: skip
    slo = op.Slo(
        availability=f"99.9{' ' * 90}%", latency=f"95%<{long}", errors=f"<{' ' * 90}1%", freshness=f"95%<{long}",
        window=long, retries=True,
    )  # fmt: skip
    schedule = f"{'0,' * 30}0 2 * * * Etc/UTC"
    text = text_of(schedule, expect, slo)
    assert text is not None
    assert 1000 < len(text) < MOST_TEXT
    assert effective(text) == Declaration(schedule, expect, slo)


def test_the_file_wins_part_by_part() -> None:
    """A part of the file replaces the code's as a whole, null switches it off, the rest stays."""
    code = text_of("0 2 * * *", op.Expect(duration="<30m", records=">=1"), op.Slo(availability="99%"))
    file = texts_of({"orders": {"schedule": None, "expect": {"duration": "<1h"}}}, "f.yaml")["orders"]
    assert effective(code, file) == Declaration(None, op.Expect(duration="<1h"), op.Slo(availability="99%"))


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ([], "f.yaml: pipelines: want `name: value` lines, got a list"),
        ({"orders": "x"}, "f.yaml: pipelines: orders: want `name: value` lines, got 'x'"),
        ({"orders": {"shedule": 1}}, "f.yaml: pipelines: orders: shedule: there is no such part"),
        ({"orders": {"schedule": "x"}}, "f.yaml: pipelines: orders: schedule='x': want minute"),
        ({"orders": {"expect": {"size": 1}}}, "f.yaml: pipelines: orders: expect: size: there is no such thing"),
        ({"orders": {"expect": {"records": 7}}}, "f.yaml: pipelines: orders: Expect(records=7): want bounds"),
    ],
)
def test_what_is_wrong_in_the_file_is_found_there(told: Any, error: str) -> None:
    """The line says where in the file, what stands there, and what is wanted."""
    with pytest.raises(op.ExpectationError) as raised:
        texts_of(told, "f.yaml")
    assert str(raised.value).startswith(error)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
_parts = st.dictionaries(st.sampled_from(("v", "schedule", "expect", "slo", "x")), _json | st.just(1))


@given(st.text(max_size=30) | _json.map(json.dumps) | _parts.map(json.dumps))
def test_whatever_comes_over_the_network_is_read_without_an_error(text: str) -> None:
    """What cannot be used says nothing."""
    assert isinstance(effective(text), Declaration)


@pytest.mark.parametrize(
    "text", ["[" * MOST_TEXT, '{"v":1,"schedule":"' + "x" * MOST_TEXT + '"}', '{"v":2}', '{"v":1}']
)
def test_what_is_too_deep_too_long_or_too_new_says_nothing(text: str) -> None:
    """No recursion, no work without a bound, no guess."""
    assert effective(text) == Declaration()


def test_a_part_that_cannot_be_used_does_not_take_the_others_with_it() -> None:
    """A later version may know more: its names are passed over."""
    text = '{"v":1,"schedule":7,"expect":{"records":">=1","colour":"red"},"slo":{"availability":"x"}}'
    assert effective(text) == Declaration(None, op.Expect(records=">=1"), None)


def test_durations_add_up() -> None:
    """Several units in one."""
    assert duration_of("1d2h3m4.5s") == (86_400 + 7200 + 180) * 10**9 + 4_500_000_000
