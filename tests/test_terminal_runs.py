"""What `otel-pipeline runs` and `show` draw: golden pictures, and what no input may do to them.

Set ``UPDATE_GOLDEN=1`` to write the golden files anew; then read the difference.
"""

from __future__ import annotations

import io
import os
from dataclasses import replace
from datetime import timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from otel_pipeline.kpi.state import PipelineState
from otel_pipeline.kpi.statistics import Statistic
from otel_pipeline.kpi.values import RunRecord
from otel_pipeline.kpi.verdicts import Breach
from otel_pipeline.model import Dataset, Records, Run, Stage
from otel_pipeline.terminal import runs as shown
from otel_pipeline.terminal.figures import ASCII, UNICODE
from otel_pipeline.terminal.unexpected import unexpected_lines
from tests.kpi.events import NOW, SECOND, patient, run, stage

GOLDEN = Path(__file__).parent / "golden"


def record(made: Run, *, superseded: bool = False) -> RunRecord:
    ids = (made.run_id, made.trace_id, made.span_id, made.pipeline)
    return RunRecord(*ids, started=made.started, seen=made.ended, superseded=superseded, run=made)


def at(made: Run, ago: float) -> Run:
    """The same run, that long ago."""
    started = NOW - round(ago * SECOND)
    return replace(made, started=started, ended=started + made.ended - made.started)


EXTRACT = replace(stage(name="extract", span=2), self_time=0.8, records=Records(out=1_200_000))
LOAD = replace(stage(span=3), self_time=3.1, datasets=(Dataset("orders", "insert", 1_190_000),))
GOOD = at(run("0193a2b4-6c1d-7e9f", took=12.4), 7200)
FAILED = replace(
    at(run("0193a2f0-11aa-7abc", "failure", took=3.5), 3600), error_stage="load",
    error_type="psycopg.OperationalError", error_message="connection to the warehouse was lost\nis it running?",
)  # fmt: skip
OPEN = RunRecord(
    "0193a3ff-0000-7def", GOOD.trace_id, "00000000000000ff", "orders_etl", NOW - 65 * SECOND, NOW, ("load",)
)
FOUND = {
    "news_crawl": [
        (record(at(run("0193a2c0-aaaa", "success", attempt=2, took=80.0), 900)), [stage(records=Records(in_=7))]),
        (record(at(run("0193a2bf-bbbb", "timeout", took=300.0), 1300), superseded=True), []),
        (record(replace(at(run("0193a2be-cccc", "skip", took=0.2), 5000), skip_reason="no new pages")), []),
    ],
    "orders_etl": [
        (OPEN, [replace(EXTRACT, records=Records(out=400_000))]),
        (record(FAILED), [replace(EXTRACT, records=Records(out=900_000))]),
        (record(GOOD), [EXTRACT, LOAD]),
        (record(replace(at(run("0193a2a0-0000", "lost", took=1.0), 9000), backfill=True)), []),
    ],
}
STATES = [
    PipelineState("news_crawl", results={"success": 1, "skip": 1}, last_success=NOW - 820 * SECOND),
    PipelineState("orders_etl", 1, {"success": 30, "failure": 2, "lost": 1}, NOW - 7200 * SECOND),
]


def drawn(width: int, *, ascii_only: bool = False) -> str:
    signs = ASCII if ascii_only else UNICODE
    lines = shown.runs_lines(FOUND, STATES, NOW, width, signs, zone=timezone.utc)
    return "\n".join(line.plain for line in lines) + "\n"


def check_golden(name: str, text: str) -> None:
    file = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


@pytest.mark.parametrize("width", [60, 80, 130])
def test_golden_runs(width: int) -> None:
    """The last runs of two pipelines are the golden files, letter by letter, and no line is wider than the terminal."""
    text = drawn(width)
    assert max(map(cell_len, text.splitlines())) <= width
    check_golden(f"runs-{width}.txt", text)


def test_golden_runs_in_ascii() -> None:
    """Where the encoding has no such signs the same is said in ASCII."""
    assert drawn(100, ascii_only=True).isascii()
    check_golden("runs-ascii.txt", drawn(100, ascii_only=True))


def test_golden_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run against the last good one: what is new, gone, slower, and by how much."""
    monkeypatch.setattr(shown, "_local", lambda nanoseconds, zone: "2026-01-01 08:00:00")
    slower = replace(EXTRACT, self_time=1.2, records=Records(out=900_000))
    stages: list[Stage] = [slower, replace(stage(name="clean", span=4), self_time=0.1), replace(LOAD, self_time=3.15)]
    before = [EXTRACT, LOAD, replace(stage(name="notify", span=5), self_time=0.2)]
    lines = shown.compared((FAILED, stages), (GOOD, before), 100, UNICODE)
    check_golden("comparison.txt", "\n".join(line.plain.rstrip() for line in lines) + "\n")


def test_golden_statistics() -> None:
    """A line a series; what it stands at may be unknown."""
    found = [
        Statistic(
            labels={"dag_id": name, "status": "success"}, count=3, min=0.5, max=1234567.0, mean=12.25, median=7.0,
            p95=9.9, p99=10.0, last=7.5, sum=36.75, value=value, last_updated=NOW,
        )
        for name, value in (("orders", 40.0), ("news", None))
    ]  # fmt: skip
    lines = shown.statistics_lines("pipeline_duration_seconds", "the last 1h", found, 130, UNICODE)
    check_golden("statistics.txt", "\n".join(line.plain.rstrip() for line in lines) + "\n")


def test_no_runs_yet() -> None:
    """Says how to have one."""
    assert "otel-pipeline run --" in "\n".join(line.plain for line in shown.runs_lines({}, [], NOW, 80, UNICODE))


@patient
@given(st.text(max_size=30), st.text(max_size=60), st.integers(20, 200))
def test_names_and_messages_of_the_users_cannot_harm_the_terminal(name: str, message: str, width: int) -> None:
    """No control character gets through, and no line is wider than the terminal."""
    made = replace(FAILED, pipeline=name, error_message=message, error_type=message)
    lines = shown.runs_lines({name: [(record(made), [])]}, [PipelineState(name)], NOW, width, UNICODE)
    for line in lines:
        assert line.cell_len <= width
        assert not any(ord(char) < 32 or ord(char) == 127 for char in line.plain)


def test_a_file_that_is_no_terminal_gets_plain_text() -> None:
    """In colour only where there is a terminal."""
    file = io.StringIO()
    shown.print_runs(FOUND, STATES, NOW, file)
    assert "\x1b" not in file.getvalue()
    assert "orders_etl" in file.getvalue()


@pytest.mark.parametrize(
    ("stages", "records"),
    [
        ((), None),
        ((stage(),), None),
        ((EXTRACT, LOAD), 1_190_000),
        ((EXTRACT, stage(records=Records(in_=5), took=9.0)), 5),
        ((stage(datasets=(Dataset("t", "read", 9),), records=Records(1, 2)),), 2),
    ],
)
def test_records_of_a_run(stages: tuple[Stage, ...], records: int | None) -> None:
    """Those that it wrote to datasets; else what came out of its last stage, or went into it; else unknown."""
    assert shown.records_of(stages) == records


UNMET = (
    Breach("orders_etl", "did_not_start", "2026-01-01T02:00:00Z", NOW - 8000 * SECOND, NOW - 7700 * SECOND),
    Breach("orders_etl", "late", "x", NOW, NOW, NOW + 60 * SECOND),
    Breach("orders_etl", "overdue", "x", NOW, NOW),
    Breach("orders_etl", "lost", "x", NOW, NOW),
    Breach("orders_etl", "too_slow", "x", NOW, NOW, high=1800 * SECOND),
    Breach("orders_etl", "too_fast", "x", NOW, NOW, value=3 * SECOND, low=60 * SECOND, learned=40),
    Breach("orders_etl", "too_few", "x", NOW, NOW, value=12, low=1000),
    Breach("orders_etl", "too_many", "x", NOW, NOW, value=1, high=0),
    Breach("orders_etl", "too_often", "x", NOW, NOW, value=4, high=3),
)


def test_what_was_not_as_expected_is_said_in_a_sentence() -> None:
    """What was found, what was expected, and from how many runs where that was learned."""
    assert [line.plain for line in unexpected_lines(UNMET, 100, UNICODE, timezone.utc)] == [
        "Unexpected (9)",
        "  it did not start at 2026-01-01 07:46:40",
        "  it had not succeeded in time for 2026-01-01 10:00:00, until 2026-01-01 10:01:00",
        "  no success in time after that of 2026-01-01 10:00:00",
        "  the run that began at 2026-01-01 10:00:00 was lost",
        "  it goes on, expected at most 30m 00s",
        "  it took 3.00 s, expected at least 1m 00s, learned from 40 runs",
        "  12 records, expected at least 1,000 records",
        "  1 record, expected at most 0 records",
        "  4 runs in that time, expected at most 3 runs",
    ]
    assert unexpected_lines((), 100, UNICODE) == []


def test_it_stands_with_its_pipeline_and_its_run() -> None:
    """Below the heading of `runs`, and below the summary of `show`; nothing of other pipelines."""
    told = shown.runs_lines(FOUND, STATES, NOW, 100, UNICODE, zone=timezone.utc, breaches=UNMET[:1])
    heading = next(place for place, line in enumerate(told) if line.plain.startswith("orders_etl"))
    assert told[heading + 1].plain == "  it did not start at 2026-01-01 07:46:40"
    assert sum("did not start" in line.plain for line in told) == 1
    file = io.StringIO()
    shown.print_run(record(GOOD), [LOAD], None, NOW, file, breaches=UNMET[5:6])
    assert "Unexpected (1)\n  it took 3.00 s, expected at least 1m 00s" in file.getvalue()
