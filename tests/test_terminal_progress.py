"""The progress of open runs as lines: golden pictures, and what no input may do to it.

Set ``UPDATE_GOLDEN=1`` to write the golden files anew; then read the difference.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from otel_pipeline.terminal.printing import progress_lines
from otel_pipeline.terminal.progress import MOST_STAGES, RunProgress, StageProgress, left, progress

GOLDEN = Path(__file__).parent / "golden"
EXTRACT = StageProgress("extract", 72.4, 41_230, 41_230, None, done=41_230, total=100_000)
TRANSFORM = StageProgress("transform", 72.4, 41_230, 40_919, 311, done=41_230, upstream=("extract",))
LOAD = StageProgress("load", 72.5, 40_000, upstream=("transform",))
CRAWL = StageProgress("crawl example.org", 12.0, failed=0, done=300, total=1200)
RUNS = (
    RunProgress("orders-etl", 75.2, (LOAD, TRANSFORM, EXTRACT), ended=1, more=3),
    RunProgress("news_crawl", 12.4, (CRAWL, StageProgress("index", 0.02))),
)


def drawn(*runs: RunProgress, width: int = 99, height: int = 16, ascii_only: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width or 1, color_system=None, force_terminal=False)
    console.print(progress(runs, width, height, ascii_only=ascii_only))
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_golden(width: int) -> None:
    """Two open runs, with known and unknown totals, are the golden files, letter by letter."""
    file, text = GOLDEN / f"progress-{width}.txt", drawn(*RUNS, width=width - 1)
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


def test_golden_ascii() -> None:
    """Where the encoding has no such signs the same is said in ASCII."""
    file, text = GOLDEN / "progress-ascii.txt", drawn(*RUNS, ascii_only=True)
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("ascii")


def test_unknown_is_not_zero() -> None:
    """What nobody reported is not there; a count of zero is; without a total there is neither bar nor time left."""
    assert drawn(RunProgress("p", 2, [StageProgress("s", 2)])) == "p · 2.00 s\n  s  2.00 s\n"
    assert "0 in" in drawn(RunProgress("p", 2, [StageProgress("s", 2, records_in=0)]))
    text = drawn(RunProgress("p", 2, [StageProgress("s", 2, records_in=10, done=10)]))
    assert text == "p · 2.00 s\n  s  2.00 s  10 in  5.0/s\n"


def test_many_stages_are_bounded() -> None:
    """Ten stages of a run are drawn and the others counted; several runs together keep to the height."""
    many = [StageProgress(f"s{number}", 1) for number in range(100)]
    text = drawn(RunProgress("p", 2, many, more=900))
    assert text.splitlines()[-1] == f"  and {1000 - MOST_STAGES} more stages"
    assert len(text.splitlines()) == MOST_STAGES + 2
    assert drawn(*[RunProgress("p", 2, many)] * 3, height=7).splitlines()[6:] == ["  …"]


def test_a_bar_is_full_at_the_end_and_not_before() -> None:
    """99.9% is not 100%; more than there was to be is."""
    for done, share, rest in ((999, "99%", "left"), (1000, "100%", ""), (1500, "100%", ""), (0, "0%", "")):
        text = drawn(RunProgress("p", 2, [StageProgress("s", 2, done=done, total=1000)]))
        assert share in text
        assert ("left" in text) is bool(rest)


@pytest.mark.parametrize(
    ("done", "total", "seconds", "wanted"),
    [(50, 100, 10, 10), (None, 100, 1, None), (0, 100, 1, None), (100, 100, 9, 0), (5, 4, 1, None), (5, None, 1, None)],
)
def test_time_left(done: int | None, total: int | None, seconds: float, wanted: float | None) -> None:
    """It is the pace until now over what is left."""
    assert left(done, total, seconds) == wanted


def test_hostile_names() -> None:
    """What a terminal would obey is neutralised, and markup is text."""
    text = drawn(RunProgress("a\nb\x1b[31m[bold]x[/]", 1, [StageProgress("\x1b[2J\r:smile:日本語", 1)]))
    assert not set(text) & set("\x1b\r")
    assert len(text.splitlines()) == 2
    assert "[bold]x[/]" in text


COUNTS = st.none() | st.integers() | st.just(10**400)
STAGES = st.builds(StageProgress, st.text(max_size=40), st.floats(), COUNTS, COUNTS, COUNTS, COUNTS, COUNTS,
                   st.tuples(st.text(max_size=3)))  # fmt: skip
OPEN_RUNS = st.builds(RunProgress, st.text(max_size=40), st.floats(), st.lists(STAGES, max_size=12), st.integers(),
                      st.just(10**400) | st.integers())  # fmt: skip


@given(runs=st.lists(OPEN_RUNS, max_size=3), width=st.integers(0, 150), height=st.integers(0, 20))
def test_odd_values_never_raise(runs: list[RunProgress], width: int, height: int) -> None:
    """Whatever the values, it is drawn within the width and the height that it was given."""
    lines = drawn(*runs, width=width, height=height).splitlines()
    assert len(lines) <= height
    assert max(map(cell_len, lines), default=0) <= width


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colour, unless NO_COLOR is set, and anything else none; the words are the same."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    failing = replace(RUNS[0], stages=(TRANSFORM,))
    assert "\x1b[1;31m311 failed" in "\n".join(progress_lines([failing], 99, 9, _Terminal()))
    plain = progress_lines([failing], 99, 9, io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    without = progress_lines([failing], 99, 9, _Terminal())
    assert "\x1b[1;31m" not in "\n".join(without)
    assert "311 failed" in "\n".join(plain)


def test_nothing_that_draws_is_loaded_where_nothing_is_drawn() -> None:
    """Without a terminal there is no thread, and no rich: a run costs what it cost before."""
    code = (
        "import sys, threading, otel_pipeline as op\n"
        "op.setup('etl', instrument=False, heartbeat_interval=0)\n"
        "with op.pipeline('p'), op.stage('s'): names = [t.name for t in threading.enumerate()]\n"
        "assert 'otel_pipeline progress' not in names, names\n"
        "sys.exit(any(m.split('.')[0] == 'rich' for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
