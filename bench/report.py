"""The report: one line for each row and peer, on the screen and as Markdown."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.figures import Spread, ratio, spread, verdict
from bench.rows import NOT_YET, UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from bench.figures import Samples
    from bench.rows import Row

HEADER = ("#", "what", "ours", "peer", "its value", "ratio (quartiles)", "goal", "")
Line = tuple[str, ...]
NOT_YET_MEASURED = "not yet"


@dataclass(frozen=True)
class Circumstances:
    """Under which the figures came about; ``loads`` are one-minute load averages at the start and at the end."""

    at: datetime
    rounds: int
    scale: str
    loads: tuple[float, float]
    versions: Mapping[str, str]

    @property
    def name(self) -> str:
        """By which a row says when it was measured."""
        return f"{self.at:%Y-%m-%d %H:%M}"

    def lines(self) -> Iterator[str]:
        """As sentences; what would identify the machine is left out."""
        yield (
            f"{self.at:%Y-%m-%d %H:%M} UTC · Python {platform.python_version()} · {sys.platform} · "
            f"{os.cpu_count()} cores · load average {self.loads[0]:.1f} at the start, {self.loads[1]:.1f} at the end · "
            f"{self.rounds} rounds, {self.scale} sizes"
        )
        if self.versions:
            yield " · ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))


def lines(results: Sequence[tuple[Row, Samples]]) -> list[Line]:
    """The table's lines, those not yet measured last."""
    found = [line for row, samples in results for line in _of_row(row, samples)]
    return found + [(number, what, NOT_YET_MEASURED, "", "", "", "", "") for number, what in NOT_YET.items()]


def text(table: Sequence[Line]) -> str:
    """For a screen."""
    widths = [max(len(line[column]) for line in (HEADER, *table)) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (HEADER, *table)
    )


def markdown(table: Sequence[Line], notes: Sequence[str], circumstances: Circumstances, before: str = "") -> str:
    """As a file. Rows that were not measured now stay as they are in ``before``, the file as it was."""
    measured = {line[0] for line in table if line[2] != NOT_YET_MEASURED}
    old = [line for line in _rows(before) if line[0] not in measured]
    known = measured | {line[0] for line in old}
    new = [(*line, circumstances.name if line[0] in measured else "") for line in table]
    rows = sorted(
        [line for line in new if line[0] in measured or line[0] not in known] + old, key=lambda line: _order(line[0])
    )
    names = {line[-1] for line in rows}
    told = [*notes, *(note for note in _notes(before) if note.partition(",")[0] not in measured)]
    runs = [f"**{circumstances.name}**: " + " · ".join(circumstances.lines())]
    runs += [run for run in before.split("\n") if run.startswith("**") and run[2:].partition("**")[0] in names]
    return "\n".join(
        [
            "# What it costs, beside its peers",
            "",
            "Written by `python -m bench`; `docs/performance.md` says how to read it. Medians of interleaved rounds,",
            "CPU time except in row 5; ratios are ours / peer, round by round. A goal missed by less than 20 %: tie.",
            "",
            *(f"| {' | '.join(line)} |" for line in [(*HEADER, "measured"), ("---",) * (len(HEADER) + 1), *rows]),
            "",
            *(f"- {note}" for note in sorted(told, key=lambda note: _order(note.partition(",")[0]))),
            *([""] if told else []),
            *(line for run in dict.fromkeys(runs) for line in (run, "")),
        ]
    )


def _rows(page: str) -> list[Line]:
    """The lines of a report's table."""
    lines = [tuple(line[2:-2].split(" | ")) for line in page.split("\n") if line.startswith("| ")]
    return [line for line in lines[2:] if len(line) == len(HEADER) + 1 and line[2] != NOT_YET_MEASURED]


def _notes(page: str) -> list[str]:
    return [line[2:] for line in page.split("\n") if line.startswith("- ")]


def _order(number: str) -> tuple[int, str]:
    return int("".join(filter(str.isdigit, number)) or 0), number


def notes(results: Sequence[tuple[Row, Samples]]) -> list[str]:
    """What numbers do not say."""
    return [f"{row.number}, {row.what}: {samples.note}" for row, samples in results if samples.note]


def _of_row(row: Row, samples: Samples) -> Iterator[Line]:
    ours = samples.by_side.get(row.sides[0])
    if ours is None:
        return
    shown = _shown(spread(ours), row)
    peers = [side for side in row.sides[1:] if side in samples.by_side]
    for peer in peers:
        theirs = samples.by_side[peer]
        found = ratio(ours, theirs)
        cells = (shown, peer, _shown(spread(theirs), row), _ratio(found))
        yield row.number, row.what, *cells, *_judged(row, peer, ours, found)
    if not peers:
        yield row.number, row.what, shown, "not installed", "", "", *_judged(row, "", ours, None)


def _judged(row: Row, peer: str, ours: list[float], found: Spread | None) -> tuple[str, str]:
    """The goals of a line, and whether they are met: the worst of them counts."""
    goals: list[tuple[str, str]] = []
    if (goal := row.goals.get(peer)) is not None:
        goals.append((f"≤ {goal:g}", verdict(found.median if found else None, goal)))
    if row.most is not None:
        goals.append((f"ours ≤ {row.most:g} {row.unit}", verdict(spread(ours).median * UNITS[row.unit], row.most)))
    verdicts = [verdict for _, verdict in goals]
    worst = next((each for each in ("missed", "tie", "met") if each in verdicts), "")
    return ", ".join(text for text, _ in goals), worst


def _shown(values: Spread, row: Row) -> str:
    value = values.median * UNITS[row.unit]
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {row.unit}"


def _ratio(found: Spread | None) -> str:
    if found is None:
        return "-"
    digits = 4 if found.median < 0.1 else 2
    if found.low == found.high:
        return f"{found.median:.{digits}f}"
    return f"{found.median:.{digits}f} ({found.low:.{digits}f}–{found.high:.{digits}f})"
