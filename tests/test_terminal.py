"""The summary of a run on a terminal: golden pictures, and what no input may do to it.

Set ``UPDATE_GOLDEN=1`` to write the golden files anew; then read the difference.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from otel_pipeline.model import Check, Dataset, RecordError, Records, Run, Stage
from otel_pipeline.terminal import figures, print_summary, summary
from otel_pipeline.terminal.findings import error_groups, shares
from otel_pipeline.terminal.table import MOST_ROWS
from otel_pipeline.terminal.timeline import Axis, Bar, tick_label

GOLDEN = Path(__file__).parent / "golden"
START = 1_767_261_600_000_000_000
SECOND = 1_000_000_000
RUN = Run(
    "4bf92f3577b34da6a3ce929d0e0e4736", "b7ad6b7169203331", "019b78f1-2c00-7abc-8def-0123456789ab", "orders-etl",
    "success", START, START + 10 * SECOND, self_time=0.5, exit_code=0, cpu_time=9.1, memory_peak=148 * 2**20,
)  # fmt: skip


def stage(name: str, start: float, end: float, self_time: float, result: str = "success") -> Stage:
    times = START + round(start * SECOND), START + round(end * SECOND)
    return Stage("4bf92f3577b34da6a3ce929d0e0e4736", name, name, result, *times, self_time)


EXTRACT = replace(
    stage("extract", 0.002, 9.5, 2.5),
    records=Records(out=1_200_000),
    datasets=(Dataset("orders.csv", "extract", 1_200_000),),
)
TRANSFORM = replace(
    stage("transform", 0.001, 9.5, 5.0),
    kind="transform",
    upstream=("extract",),
    records=Records(1_200_000, 1_199_000, failed=4, dropped=993, duplicate=993),
    unaccounted=3,
    record_errors=(RecordError("ValueError", "no number: '12,50'"), RecordError("ValueError", "another")),
)
LOAD = replace(
    stage("load", 0, 9.6, 2.0),
    upstream=("transform",),
    records=Records(in_=1_199_000),
    datasets=(Dataset("orders", "insert", 1_199_000), Dataset("audit", "write")),
    checks=(Check("not_null", "orders", passed=10, failed=0), Check("in_range", "orders", passed=9, failed=1)),
)
GOOD = (RUN, (LOAD, TRANSFORM, EXTRACT))
FAILING = (
    replace(
        RUN, result="failure", exit_code=1, attempt=2, error_type="sqlite3.IntegrityError", error_stage="load",
        error_message="UNIQUE constraint failed:\n  orders.id", not_started=("notify",),
    ),
    (
        replace(EXTRACT, result="aborted"), replace(TRANSFORM, result="aborted", exhausted=False),
        replace(LOAD, result="failure", error_type="sqlite3.IntegrityError", error_stage="load",
                error_message="UNIQUE constraint failed:\n  orders.id"),
        replace(stage("probe", 9.7, 9.8, 0.1, "failure"), error_type="TimeoutError", error_message="no answer"),
        replace(stage("peek", 9.8, 10.4, 0.1), exhausted=False, late=True),
    ),
)  # fmt: skip
EMPTY = (
    replace(RUN, result="skip", skip_reason="no new files", ended=START, self_time=0.0, cpu_time=None),
    (stage("list files", 0, 0, 0.0, "skip"),),
)
NO_STAGES = (replace(RUN, result="lost", exit_code=None, signal="SIGKILL", open_stages=("load",)), ())


def drawn(run: Run, stages: tuple[Stage, ...], width: int = 80, *, ascii_only: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, force_terminal=False)
    console.print(summary(run, stages, width, ascii_only=ascii_only, zone=timezone.utc))
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 160])
@pytest.mark.parametrize(
    ("name", "sample"), [("good", GOOD), ("failing", FAILING), ("empty", EMPTY), ("no-stages", NO_STAGES)]
)
def test_golden(name: str, sample: tuple[Run, tuple[Stage, ...]], width: int) -> None:
    """The summaries of a good, a failing, an empty and a run without stages are the golden files, letter by letter."""
    file, text = GOLDEN / f"{name}-{width}.txt", drawn(*sample, width=width)
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


def test_golden_ascii() -> None:
    """Where the encoding has no such signs the same is said in ASCII."""
    file, text = GOLDEN / "failing-ascii.txt", drawn(*FAILING, ascii_only=True)
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("ascii")


def test_unknown_is_not_zero() -> None:
    """A count that nobody reported is a dot, a count of zero is 0; a column that nobody reported is not drawn."""
    text = drawn(
        RUN, (replace(EXTRACT, records=Records(out=5)), replace(LOAD, upstream=(), records=Records(out=7, failed=0)))
    )
    rows = [row.split()[2:4] for row in text.splitlines() if row.endswith("/min")]
    assert "dropped" not in text
    assert sorted(rows) == [["5", "·"], ["7", "0"]]


def test_order_is_start_with_sources_first() -> None:
    """Stages stand in order of start, but a lazy consumer below the stages that it pulls from."""
    text = drawn(RUN, (stage("late one", 5, 6, 1), LOAD, TRANSFORM, EXTRACT, stage("first", 0, 0.001, 0.0)))
    positions = [text.index(f"✔ {name}") for name in ("extract", "transform", "load", "first", "late one")]
    assert positions == sorted(positions)


def test_a_cycle_of_stages_is_drawn() -> None:
    """Stages that say to pull from each other do not hang the summary."""
    text = drawn(RUN, (replace(LOAD, upstream=("transform",)), replace(TRANSFORM, upstream=("load",))))
    assert text.count("✔ load") == 2


def test_many_stages_are_bounded() -> None:
    """Of a thousand stages the ones with the most self time and the failed one are shown, and the rest summed up."""
    many = [stage(f"s{number}", number / 200, number / 200 + 0.01, 0.001 * number) for number in range(999)]
    text = drawn(RUN, (stage("broken", 1, 2, 0.0, "failure"), *many))
    assert text.count("\n") < 60
    assert "✘ broken" in text
    assert "✔ s998" in text
    assert f"and {1000 - MOST_ROWS} more stages" in text
    assert "✔ s5 " not in text


def test_same_names_are_one_share() -> None:
    """Where the time went counts stages of one name together."""
    (share,) = shares([stage("page", 0, 1, 0.5)] * 3)
    assert (share.seconds, share.stages) == (1.5, 3)
    assert "page ×3" in drawn(RUN, (stage("page", 0, 1, 0.5),) * 3)


def test_parallel_stages_say_so() -> None:
    """Self times that exceed the run's duration are called busy time."""
    assert "busy 185%: stages ran in parallel" in drawn(RUN, (stage("a", 0, 9, 9.0), stage("b", 0, 9, 9.0)))


def test_error_counts() -> None:
    """One type in a stage: the stage's exact count; several: at least the samples; both with the first message."""
    mixed = replace(TRANSFORM, name="mixed", record_errors=(*TRANSFORM.record_errors, RecordError("KeyError", "k")),
                    records=Records(failed=50))  # fmt: skip
    groups = {(group.stage, group.type): group for group in error_groups([TRANSFORM, mixed])}
    assert (groups["transform", "ValueError"].count, groups["transform", "ValueError"].exact) == (4, True)
    assert (groups["mixed", "ValueError"].count, groups["mixed", "ValueError"].exact) == (2, False)
    assert groups["mixed", "KeyError"].message == "k"
    assert "≥2 × ValueError in mixed: no number" in drawn(RUN, (mixed,))


HOSTILE = "a\nb\r\x1b[31mred\x1b[0m [bold red]x[/] \u202edlrow \x00\x9b 日本語 👩‍👩‍👧 ✔️ \ud800 :smile:"


@pytest.mark.parametrize("ascii_only", [False, True])
def test_hostile_names(ascii_only: bool) -> None:
    """Line ends, escape sequences, direction marks and lone surrogates are neutralised; markup is text."""
    hostile = replace(
        LOAD, name=HOSTILE, result=HOSTILE, datasets=(Dataset(HOSTILE, HOSTILE),), checks=(Check(HOSTILE, HOSTILE),),
        error_type=HOSTILE, error_message=HOSTILE, record_errors=(RecordError(HOSTILE, HOSTILE),), unaccounted=2,
    )  # fmt: skip
    run = replace(
        RUN, pipeline=HOSTILE, result=HOSTILE, run_id=HOSTILE, trace_id=HOSTILE, signal=HOSTILE, error_type="x",
        error_message=HOSTILE, error_stage=HOSTILE, not_started=(HOSTILE,), open_stages=(HOSTILE,),
    )  # fmt: skip
    text = drawn(run, (hostile,), 200, ascii_only=ascii_only)
    assert not set(text) & set("\x1b\r\x00\x9b\u202e\u200d\ud800")
    assert ":smile:" in text
    assert "[bold red]x[/]" in text
    assert text.isascii() is ascii_only
    text.encode("utf-8")


ODD_FLOATS = st.floats() | st.none()
ODD_COUNTS = st.none() | st.integers() | st.just(10**400) | st.integers(0, 10**7)
NAMES = st.text(max_size=40)


@st.composite
def odd_stages(draw: st.DrawFn) -> Stage:
    moment = st.integers(-(10**20), 10**20) | st.integers(START, START + 10 * SECOND)
    return replace(
        stage(draw(NAMES), 0, 1, draw(st.floats()), draw(NAMES | st.sampled_from(["success", "failure"]))),
        started=draw(moment), ended=draw(moment), exhausted=draw(st.none() | st.booleans()), late=draw(st.booleans()),
        records=draw(st.builds(Records, ODD_COUNTS, ODD_COUNTS, ODD_COUNTS, ODD_COUNTS, ODD_COUNTS)),
        unaccounted=draw(ODD_COUNTS), error_type=draw(st.none() | NAMES), upstream=draw(st.tuples(NAMES)),
        datasets=draw(st.tuples(st.builds(Dataset, NAMES, NAMES, ODD_COUNTS))),
        checks=draw(st.tuples(st.builds(Check, NAMES, st.none() | NAMES, passed=ODD_COUNTS, failed=ODD_COUNTS))),
        record_errors=draw(st.tuples(st.builds(RecordError, NAMES, NAMES))),
    )  # fmt: skip


@st.composite
def odd_runs(draw: st.DrawFn) -> Run:
    moment, text, number = st.integers(-(10**20), 10**20), draw(NAMES), draw(ODD_FLOATS)
    return replace(
        RUN, started=draw(moment), ended=draw(moment), self_time=number, cpu_time=number, memory_peak=draw(ODD_COUNTS),
        pipeline=text, result=text, error_type=text, error_message=text, not_started=(text,),
    )  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    stages=st.lists(odd_stages(), max_size=4),
    run=odd_runs(),
    width=st.integers(0, 250),
    ascii_only=st.booleans(),
)
def test_odd_values_never_raise(stages: list[Stage], run: Run, width: int, ascii_only: bool) -> None:
    """Whatever the values, the summary is drawn, and no line is wider than the terminal."""
    text = drawn(run, tuple(stages), max(width, 40), ascii_only=ascii_only)
    assert max(map(cell_len, text.splitlines())) <= max(width, 40)
    drawn(run, tuple(stages), max(width, 1))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (math.nan, ""), (math.inf, ""), (-1.0, ""), (0.0, "0 s"), (-1e-9, "0 s"), (2e-5, "<0.1 ms"),
        (0.0004, "0.4 ms"), (0.0042, "4.2 ms"), (0.00999, "10 ms"), (0.42, "420 ms"), (0.9996, "1.00 s"),
        (1.239, "1.24 s"), (9.996, "10.0 s"), (59.94, "59.9 s"), (59.96, "1m 00s"), (185, "3m 05s"),
        (3599.9, "1h 00m"), (8040, "2h 14m"), (86399, "1d 00h"), (3 * 86400, "3d 00h"), (273_600, "3d 04h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    """Durations from a fraction of a millisecond to days have the digits that matter, rounded to the right unit."""
    assert figures.duration(seconds) == text


def test_other_figures() -> None:
    """Counts have separators, rates the unit that can be read, sizes binary units, and small shares are not 0."""
    assert [figures.count(1_234_567), figures.count(None), figures.count(1_234_567, compact=True)] == [
        "1,234,567", "", "1.23M"]  # fmt: skip
    assert [figures.rate(1000, 0.5), figures.rate(3, 2), figures.rate(1, 30), figures.rate(1, 3600), figures.rate(0, 1),
            figures.rate(1, 0)] == ["2,000/s", "1.5/s", "2.0/min", "1.0/h", "0/s", ""]  # fmt: skip
    assert [figures.size(1000), figures.size(5 * 2**20), figures.size(2**60)] == [
        "1000 B",
        "5.0 MiB",
        "1,048,576.0 TiB",
    ]
    assert [figures.percent(1, 1000), figures.percent(0, 1), figures.percent(1, 0)] == ["<1%", "0%", ""]


def test_bars() -> None:
    """A bar lies on the run's axis, solid in proportion to self time, at least a cell, and never outside."""
    axis = Axis(0, 100, 50)
    assert axis.bar(0, 100, 25e-9) == Bar(0, 13, 37, 0)
    assert axis.bar(50, 50, 0.0) == Bar(25, 1, 0, 24)
    assert axis.bar(100, 100, 0.0) == Bar(49, 1, 0, 0)
    assert axis.bar(-50, 500, math.nan) == Bar(0, 50, 0, 0)
    assert axis.bar(90, 10, 1.0) == Bar(45, 1, 0, 4)
    assert Axis(5, 5, 10).bar(1, 9, 8e-9) == Bar(0, 1, 0, 9)


@pytest.mark.parametrize("seconds", [0.0004, 0.03, 1, 7.3, 59, 61, 3599, 86_401, 3 * 86_400, 4000 * 86_400])
def test_ticks_have_room(seconds: float) -> None:
    """Ticks begin at 0, stand at round times, and leave room for their labels."""
    ticks = Axis(0, round(seconds * SECOND), 60).ticks()
    assert ticks[0] == (0, "0")
    assert 2 <= len(ticks) <= 8
    for one, next_ in itertools.pairwise(ticks):
        assert one.cell + len(one.label) < next_.cell


def test_tick_labels() -> None:
    """Labels of ticks leave out what says nothing."""
    assert [tick_label(s) for s in (0, 0.0002, 5, 150, 3600, 90_000)] == ["0", "0.2 ms", "5 s", "2m 30s", "1h", "1d 1h"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colour, unless NO_COLOR is set; a file gets none. The words are the same."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "90")
    colour, plain, file = _Terminal(), _Terminal(), io.StringIO()
    print_summary(*GOOD, colour)
    print_summary(*GOOD, file)
    monkeypatch.setenv("NO_COLOR", "1")
    print_summary(*GOOD, plain)
    assert "\x1b[" in colour.getvalue()
    assert "\x1b" not in plain.getvalue()
    assert plain.getvalue() == file.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
def test_encodings(encoding: str) -> None:
    """Every encoding that a stream may have can take the summary, signs or ASCII."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    print_summary(*FAILING, file)
    text = raw.getvalue().decode(encoding)
    assert text.isascii() is not encoding.startswith("utf")
    assert "failure" in text


def test_a_file_that_cannot_be_written() -> None:
    """A closed file or a broken pipe does not reach the pipeline whose summary it was."""
    closed = io.StringIO()
    closed.close()
    print_summary(*GOOD, closed)

    class Broken(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    print_summary(*GOOD, Broken())


def test_import_is_cheap() -> None:
    """Importing the package loads no rich: who prints no summary does not pay for it."""
    code = "import sys, otel_pipeline.terminal; sys.exit(any(m.split('.')[0] == 'rich' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
