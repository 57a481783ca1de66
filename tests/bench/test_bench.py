"""The bench measures every row that it names; what the figures are is nothing for a test."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import report
from bench.__main__ import main
from bench.figures import Samples, Spread, ratio, verdict
from bench.rounds import Bench
from bench.rows import NOT_YET, ROWS, UNITS, Row
from tests.e2e.servers import missing_binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

# Stock OpenTelemetry gives a dead receiver up after this many seconds: its ten would be the test's.
_STOCK = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
_SHOWN_ONCE = {(row.case, row.sides): row for row in ROWS}.values()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """One round of a few items, by this interpreter: peers that it has not are left out."""
    with Bench(Path(sys.executable), tmp_path, 1, "tiny", _STOCK) as found:
        yield found


def _id(row: Row) -> str:
    return f"{row.number} {row.sides[0]} {row.argument}".strip()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="rows are measured as Linux shows them")
@pytest.mark.parametrize("row", _SHOWN_ONCE, ids=_id)
def test_measures_each_row(row: Row, bench: Bench) -> None:
    if row.case in ("serve", "short") and (lacking := missing_binaries()):
        pytest.skip(f"{', '.join(lacking)} not installed (run `make backends`)")
    samples = row.measure(bench, row)
    ours = samples.by_side[row.sides[0]]
    assert ours
    assert set(samples.by_side) <= set(row.sides) - set(row.above.values())
    table = report.lines([(row, samples)])
    assert table[0][0] == row.number


def test_what_a_killed_or_ended_process_has_ended_is_on_disk(bench: Bench) -> None:
    kill = next(row for row in ROWS if row.number == "6")
    assert kill.measure(bench, kill).by_side["ours"] == [0.0]
    end = next(row for row in ROWS if row.number == "5")
    note = end.measure(bench, end).note
    assert "ours: 11 ended run and stage spans, 11 on disk" in note
    assert "0 files left" in note


def test_subtracts_what_is_not_measured_round_by_round() -> None:
    samples = Samples({"ours": [5.0, 7.0], "bare": [1.0, 2.0], "peer": [3.0, 3.0]})
    assert samples.above({"ours": "bare"}).by_side == {"ours": [4.0, 5.0], "peer": [3.0, 3.0]}


def test_ratios_are_of_the_same_round_where_the_rounds_are_the_same() -> None:
    assert ratio([1.0, 2.0], [2.0, 4.0]) == Spread(0.5, 0.5, 0.5)
    assert ratio([1.0, 2.0, 3.0], [4.0]) == Spread(0.5, 0.5, 0.5)
    assert ratio([1.0], [0.0]) is None


def test_a_goal_missed_by_less_than_the_noise_is_a_tie() -> None:
    assert [verdict(value, 1.0) for value in (0.9, 1.0, 1.1, 1.3)] == ["met", "met", "tie", "missed"]
    assert verdict(1.0, None) == ""


def test_the_worst_of_two_goals_counts() -> None:
    row = Row("5", "exit", "s", "exiting", ("ours", "stock"), lambda bench, row: Samples(), {"stock": 0.02}, most=0.2)
    slow = Samples({"ours": [0.5], "stock": [100.0]})
    assert report.lines([(row, slow)])[0][-2:] == ("≤ 0.02, ours ≤ 0.2 s", "missed")


def test_the_report_names_rows_that_are_not_measured_yet_and_no_machine() -> None:
    row = next(row for row in ROWS if row.number == "4")
    results = [(row, Samples({"ours": [0.03, 0.03], row.sides[1]: [0.08, 0.08]}, "a note"))]
    at = datetime(2026, 11, 24, tzinfo=timezone.utc)
    circumstances = report.Circumstances(at, 2, "full", (0.5, 1.0), {"tqdm": "4.70.1"})
    page = report.markdown(report.lines(results), report.notes(results), circumstances)
    ours = "| 4 | `import otel_pipeline` | 30.0 ms | opentelemetry.sdk.trace | 80.0 ms | 0.38 | ≤ 0.5 | met |"
    assert f"{ours} 2026-11-24 00:00 |" in page
    assert all(f"| {number} | {what} | not yet |" in page for number, what in NOT_YET.items())
    assert "tqdm 4.70.1" in page
    assert "- 4, `import otel_pipeline`: a note" in page


def test_rows_that_were_not_measured_again_stay_in_the_report() -> None:
    first, second = (next(row for row in ROWS if row.number == number) for number in ("4", "7"))
    page = ""
    for hour, rows in enumerate(((first, second), (first,))):
        results = [(row, Samples({"ours": [0.03 + hour] * 2, row.sides[1]: [0.08] * 2}, f"{hour}")) for row in rows]
        at = datetime(2026, 11, 24, hour, tzinfo=timezone.utc)
        told = report.Circumstances(at, 2, "full", (0.5, 1.0), {"tqdm": f"4.{hour}"})
        page = report.markdown(report.lines(results), report.notes(results), told, page)
    measured = {line[0]: line[-1] for line in report._rows(page)}
    assert measured == {"4": "2026-11-24 01:00", "7": "2026-11-24 00:00"}
    assert all(f"**2026-11-24 0{hour}:00**: " in page for hour in (0, 1))
    assert [line for line in page.split("\n") if line.startswith("- ")] == [
        "- 4, `import otel_pipeline`: 1", f"- 7, {second.what}: 0"
    ]  # fmt: skip
    assert page.count("| 11 |") == 1


def test_rows_are_well_formed() -> None:
    for row in ROWS:
        assert row.unit in UNITS
        assert set(row.goals) <= set(row.sides[1:]), row.what
        assert set(row.above) | set(row.above.values()) <= set(row.sides), row.what


def test_an_unknown_row_is_refused_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["99"]) == 2
    assert "row 99: there is none" in capsys.readouterr().err
