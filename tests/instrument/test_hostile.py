"""Whatever user code hands over: no call of a Stage or Run raises, and every span can be written as OTLP."""

import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

import otel_pipeline as op
from otel_pipeline.instrument.context import carrier, from_carrier
from tests.instrument.seen import Seen


class IntLike:
    """As numpy's integers are."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number


class Rude:
    """Raises whatever it is asked."""

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError("rude")

    __str__ = __repr__ = __index__ = __float__ = __len__ = __bool__ = __hash__ = __eq__ = _raise
    keys = items = utcoffset = _raise


class RudeMapping(Mapping[str, Any]):
    """A mapping that breaks half-way."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("rude")

    def __iter__(self) -> Any:
        yield "good"
        raise RuntimeError("rude")

    def __len__(self) -> int:
        return 2


class RudeZone(dt.tzinfo):
    """A time zone that does not know."""

    def utcoffset(self, _: Any) -> dt.timedelta:
        """Never."""
        raise RuntimeError("rude")


NAMES = ["a\nb", "a\0b", "\N{PILE OF POO}", "\udcff", "\ud800x", "x" * 100_000, "%s {0}", " ", "a:b/c d"]
NUMBERS = [
    -1,
    True,
    False,
    1.5,
    float("nan"),
    float("inf"),
    1e300,
    10**30,
    "7",
    b"7",
    [],
    Rude(),
    object(),
    IntLike(-1),
]
THINGS: list[Any] = [
    *NAMES, *NUMBERS, None, Rude(), RudeMapping(), {"k": Rude()}, {Rude: 1}, {1: 2, "\udcff": 3}, [1, "a", None],
    (1, 2), {"n": 10**30}, {"n": [10**30, -(10**30)]}, {"n": IntLike(3)}, {"": 1}, {"b": b"\xff"},
    {"when": dt.date(2026, 1, 1)},
    dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=14))),
    dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=14))),
    dt.datetime(2026, 1, 1, tzinfo=RudeZone()),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


def written(seen: Seen) -> bytes:
    """The spans as an exporter writes them."""
    data: bytes = encode_spans(seen.spans).SerializeToString()
    return data


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names(seen: Seen, name: str) -> None:
    """Any string names a pipeline, a stage, a dataset, a check; the batch is not lost, nor a child's environment."""
    with op.pipeline(name, run_id=name), op.stage(name) as stage:
        stage.dataset(name, name, records=1)
        stage.check(name, dataset=name, kind=name, passed=1)
        stage.fail(name, record={name: 1})
        variables = carrier()
        _, run_id, run_name, _ = from_carrier(variables)
        assert run_id == op.current_run().id
        assert run_name == op.current_run().name
        assert all(value.isascii() and value.isprintable() for value in variables.values())
    assert written(seen)
    assert len(seen.spans) == 2


@pytest.mark.parametrize("wrong", NUMBERS, ids=lambda wrong: f"{type(wrong).__name__}")
def test_what_is_no_count_is_left_out_with_a_warning(seen: Seen, wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Negative, fractional, NaN, boolean, text, too large for OTLP: left out, said once, and the rest counts."""
    caplog.set_level(logging.WARNING, "otel_pipeline")
    with op.stage("s") as stage:
        for _ in range(3):
            stage.add(records_in=wrong, failed=2)
            stage.dataset("d", "write", records=wrong, bytes=1)
            stage.check("c", passed=wrong)
    assert stage.records == {"failed": 6}
    assert len([record for record in caplog.records if record.message.startswith("otel_pipeline: records_in=")]) == 1
    assert written(seen)


def test_what_is_a_count() -> None:
    """Whole numbers, also as floats and as objects with __index__, as numpy's."""
    with op.stage("s") as stage:
        stage.add(records_in=IntLike(3), records_out=2.0, dropped=0)  # type: ignore[arg-type]
    assert stage.records == {"in": 3, "out": 2, "dropped": 0}
    assert type(stage.records["in"]) is int


def test_sums_stop_at_what_otlp_can_write(seen: Seen) -> None:
    """Counts that add up to more than 63 bits stay at the largest, and the span is written."""
    with op.stage("filter") as stage:
        for _ in range(3):
            stage.add(records_in=2**62, records_out=2**63 - 1, failed=2**63 - 1)
            stage.dataset("d", "write", records=2**62)
    assert stage.records["in"] == 2**63 - 1
    assert written(seen)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_no_call_raises_whatever_it_is_given(seen: Seen, thing: Any) -> None:
    """Every parameter of every call, with every thing; the spans can be written afterwards."""
    with op.pipeline("p", attributes=thing, run_id=thing, attempt=thing) as run:
        with op.stage("s", attributes=thing) as stage:
            stage.add(records_in=thing, records_out=thing, failed=thing, dropped=thing, duplicate=thing, bytes=thing)
            stage.fail(thing, record=thing)
            stage.fail(ValueError(thing), record=thing)
            stage.dataset(thing, thing, records=thing, bytes=thing, watermark=thing)
            stage.dataset("d", "write", watermark=thing)
            stage.check(thing, dataset=thing, kind=thing, passed=thing, failed=thing)
            stage.track(thing)
        run.skip(thing)
    assert written(seen)
    assert len(seen.spans) == 2


def test_attributes_of_many_kinds(seen: Seen) -> None:
    """Values are written as they are where OTLP can, else as text; None is left out."""
    given_ = {
        "s": "x",
        "i": 1,
        "f": 1.5,
        "b": True,
        "n": None,
        "l": ["a", "b"],
        "m": [1, "a"],
        "d": dt.date(2026, 1, 1),
    }
    with op.stage("s", attributes={**given_, "big": 10**30, "np": IntLike(3)}):  # type: ignore[dict-item]
        pass
    got = seen.stage("s")
    assert (got["s"], got["i"], got["f"], got["b"], got["l"], got["m"]) == ("x", 1, 1.5, True, ("a", "b"), ("1", "a"))
    assert (got["d"], got["big"], got["np"]) == ("2026-01-01", str(10**30), 3)
    assert "n" not in got


@pytest.mark.parametrize("rows", [5, None, object()])
def test_tracking_what_cannot_be_iterated_is_the_users_type_error(rows: Any) -> None:
    """track() gives it back, so that the loop says what it says without us."""
    with op.stage("s") as stage, pytest.raises(TypeError, match="not iterable"):
        for _ in stage.track(rows):
            pass


def test_samples_keep_types_and_keys_and_never_values(seen: Seen) -> None:
    """At most three of a type and twenty in all, at most fifty keys, and no value of a record."""
    with op.stage("s") as stage:
        for number in range(10):
            stage.fail(ValueError("bad"), record={"password": f"secret-{number}"})
        for number in range(100):
            stage.fail(type(f"Error{number}", (Exception,), {})("x"), record=dict.fromkeys(range(1000)))
    samples = [event.attributes or {} for event in seen.one("stage s").events]
    assert len(samples) == 20
    assert [sample["exception.type"] for sample in samples].count("ValueError") == 3
    assert samples[0]["pipeline.record.keys"] == ("password",)
    assert samples[0]["pipeline.record.type"] == "dict"
    assert max(len(sample["pipeline.record.keys"]) for sample in samples) == 50  # type: ignore[arg-type]
    assert b"secret" not in written(seen)
    assert stage.records == {"failed": 110}


def test_datasets_and_checks_add_up_and_are_bounded(seen: Seen) -> None:
    """One event per dataset and operation, per check and dataset; numbers add up, the latest watermark stays."""
    with op.stage("s") as stage:
        for day in ("2026-01-02T00:00:00Z", dt.date(2026, 1, 3), "2026-01-03T00:00:00.5Z", dt.datetime(2026, 1, 1)):
            stage.dataset("d", "write", records=2, bytes=10, watermark=day)
            stage.check("not_null", dataset="d", passed=3, failed=1)
        for number in range(1000):
            stage.dataset(f"d{number}", "read")
            stage.check(f"c{number}")
    found = [(event.name, dict(event.attributes or {})) for event in seen.one("stage s").events]
    assert len(found) == 80
    assert found[0][1] == {
        "pipeline.dataset.name": "d",
        "pipeline.dataset.operation": "write",
        "pipeline.dataset.records": 8,
        "pipeline.dataset.bytes": 40,
        "pipeline.dataset.watermark": "2026-01-03T00:00:00.500000Z",
    }
    (check,) = [attributes for _, attributes in found if attributes.get("pipeline.check.name") == "not_null"]
    assert (check["pipeline.check.passed"], check["pipeline.check.failed"]) == (12, 4)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(thing=JSON, name=st.text(st.characters(), min_size=1))
def test_anything_can_be_said_and_written(seen: Seen, thing: Any, name: str) -> None:
    """The same by chance: any value, lone surrogates among the text, in every place."""
    before = len(seen.spans)
    with op.pipeline(name, attributes={name: thing}) as run, op.stage(name, attributes=thing) as stage:
        stage.add(records_in=thing)
        stage.fail(thing, record={name: thing})
        stage.dataset(name, name, records=thing, watermark=thing)
        stage.check(name, dataset=name, passed=thing)
        run.skip(thing)
    assert encode_spans(seen.spans[before:]).SerializeToString()
