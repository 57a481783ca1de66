"""The stages of a run as a table around one time axis.

Where the terminal is too narrow for everything, time and records become two tables below each other: no count is left
out, and a column in which every stage's value is unknown is not drawn at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from otel_pipeline.terminal.figures import clean, count, duration, fit, known, percent, rate
from otel_pipeline.terminal.timeline import Axis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otel_pipeline.model import Run, Stage
    from otel_pipeline.terminal.figures import Signs

MOST_ROWS = 20
_WIDEST_NAME = 28
_NARROWEST_BAR = 8
_NARROW = 40
_GOOD_BAR = 32
_GAP = 2
_COUNTS = (("in", "in_", ""), ("out", "out", ""), ("failed", "failed", "bold red"), ("dropped", "dropped", "yellow"),
           ("duplicate", "duplicate", "yellow"))  # fmt: skip
_SHORT_TITLES = {"dropped": "drop", "duplicate": "dup"}

RESULT_STYLES = {"success": "green", "failure": "red", "timeout": "red", "lost": "red", "skip": "dim"}


@dataclass(frozen=True)
class Column:
    """One column: a cell per row, below its title."""

    title: str
    cells: tuple[Text, ...]
    right: bool = True

    @property
    def width(self) -> int:
        """The width of its widest cell, or of its title."""
        return max((cell_len(self.title), *(cell.cell_len for cell in self.cells)))

    def line(self, row: int) -> Text:
        """The cell of ``row`` (-1: the title), padded to the column's width."""
        cell = Text(self.title, style="dim") if row < 0 else self.cells[row].copy()
        padding = " " * (self.width - cell.cell_len)
        return Text.assemble(padding, cell) if self.right else Text.assemble(cell, padding)


def lay(columns: Sequence[Column], titles: bool = True) -> list[Text]:
    """Return the columns beside each other, a line per row."""
    rows = range(-1 if titles else 0, len(columns[0].cells))
    return [Text(" " * _GAP).join(column.line(row) for column in columns) for row in rows]


def sign(result: str, signs: Signs) -> str:
    """The sign of a result of a run or a stage."""
    table = {
        "success": signs.good,
        "failure": signs.bad,
        "timeout": signs.bad,
        "skip": signs.skipped,
        "lost": signs.lost,
    }
    return table.get(result, signs.stopped)


def chosen(stages: Sequence[Stage], most: int = MOST_ROWS) -> tuple[list[Stage], list[Stage]]:
    """Return at most ``most`` stages in order of start, and the rest: failures first, then the most self time.

    A lazy stage starts a moment before those that it pulls from; these are shown before it nevertheless, as records
    flow.
    """
    ranked = sorted(stages, key=lambda stage: (stage.result != "failure", -own_time(stage)))
    return _as_records_flow(sorted(ranked[:most], key=lambda stage: stage.started)), ranked[most:]


def _as_records_flow(by_start: list[Stage]) -> list[Stage]:
    placed: dict[int, Stage] = {}
    entered: set[int] = set()

    def place(index: int) -> None:
        if index in entered:
            return
        entered.add(index)
        for other, stage in enumerate(by_start):
            if stage.name in by_start[index].upstream and stage.started < by_start[index].ended:
                place(other)
        placed[index] = by_start[index]

    for index in range(len(by_start)):
        place(index)
    return list(placed.values())


def own_time(stage: Stage) -> float:
    """The stage's self time; 0 where it makes no sense."""
    return max(stage.self_time, 0.0) if known(stage.self_time) else 0.0


def stage_table(run: Run, stages: Sequence[Stage], width: int, signs: Signs) -> list[Text]:
    """Return the stages as lines of at most ``width`` cells."""
    if not stages:
        return []
    shown, rest = chosen(stages)
    counts, notes = _count_columns(shown, signs), _notes(shown, signs)
    name, times = _left_of_counts(run, shown, notes, width, signs)
    room = width - _width([name, *times, *counts, *notes]) - _GAP
    one_table = room >= (_GOOD_BAR if counts else _NARROWEST_BAR)
    if not one_table:
        room = max(width - _width([name, *times, *notes]) - _GAP, _NARROWEST_BAR)
    bars = _bar_column(run, shown, room, signs)
    lines = lay([name, bars, *times, *(counts if one_table else []), *notes])
    lines += _axis_lines(run, name.width + _GAP, room, signs) + _rest_line(run, rest, signs)
    return lines if one_table else [*lines, Text(), *_records_table(shown, width, signs)]


def _left_of_counts(
    run: Run, shown: list[Stage], notes: list[Column], width: int, signs: Signs
) -> tuple[Column, list[Column]]:
    """The names and times that leave room for a bar: where it is narrow, names are cut, then the share is left out."""
    times = _time_columns(run, shown, signs)
    names = [_name_column(shown, most, signs) for most in (width, _NARROW)]
    tries = [(names[0], times), (names[1], times), (names[0], times[:-1]), (names[1], times[:-1])]
    fitting = (pair for pair in tries if _width([pair[0], *pair[1], *notes]) + _GAP + _NARROWEST_BAR <= width)
    return next(fitting, (names[1], times[:1]))


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _records_table(shown: list[Stage], width: int, signs: Signs) -> list[Text]:
    """The records below the times; where they do not fit, names give way first, then rates, and digits last."""
    shown = [stage for stage in shown if stage.records]
    names = [_name_column(shown, most, signs) for most in (width, _NARROW)]
    exact, short = (_count_columns(shown, signs, compact=compact) for compact in (False, True))
    bare = [replace(column, title=_SHORT_TITLES.get(column.title, column.title)) for column in _without_rate(exact)]
    for counts in (exact, _without_rate(exact), bare, _without_rate(short)):
        for name in names:
            if _width([name, *counts]) <= width:
                return lay([name, *counts])
    return lay([names[-1], *_without_rate(short)])


def _without_rate(columns: list[Column]) -> list[Column]:
    return [column for column in columns if column.title != "rate"]


def _name_column(shown: list[Stage], width: int, signs: Signs) -> Column:
    most = min(_WIDEST_NAME, width // 4)
    cells = (
        Text.assemble((sign(stage.result, signs), RESULT_STYLES.get(stage.result, "yellow")), " ",
                      fit(clean(stage.name, signs), most, signs))
        for stage in shown
    )  # fmt: skip
    return Column("  stage", tuple(cells), right=False)


def _cell(figure: str, signs: Signs, style: str = "") -> Text:
    if not figure:
        return Text(signs.unknown, style="dim")
    return Text(figure, style="dim" if figure == "0" else style)


def _time_columns(run: Run, shown: list[Stage], signs: Signs) -> list[Column]:
    most = max(map(own_time, shown))

    def own(figures: Iterable[str]) -> tuple[Text, ...]:
        strong = ("bold" if 0 < own_time(stage) == most else "" for stage in shown)
        return tuple(_cell(figure, signs, style) for figure, style in zip(figures, strong, strict=True))

    return [
        Column("time", tuple(_cell(duration(stage.duration), signs) for stage in shown)),
        Column("self", own(duration(stage.self_time) for stage in shown)),
        Column("of run", own(percent(stage.self_time, run.duration) for stage in shown)),
    ]


def _count_columns(shown: list[Stage], signs: Signs, compact: bool = False) -> list[Column]:
    columns = [
        Column(title, tuple(_cell(count(getattr(s.records, key), compact=compact), signs, style) for s in shown))
        for title, key, style in _COUNTS
        if any(getattr(stage.records, key) is not None for stage in shown)
    ]
    rates = [_rate(stage) for stage in shown]
    return [*columns, Column("rate", tuple(_cell(figure, signs) for figure in rates))] if any(rates) else columns


def _rate(stage: Stage) -> str:
    records = stage.records
    return rate(records.in_ if records.out is None else records.out, stage.duration)


def _notes(shown: list[Stage], signs: Signs) -> list[Column]:
    cells = tuple(Text(fit(note(stage, signs), 24, signs), style=_note_style(stage)) for stage in shown)
    return [Column("", cells, right=False)] if any(cells) else []


def note(stage: Stage, signs: Signs) -> str:
    """What is to be said of a stage that did not simply succeed; empty for one that did."""
    told = [clean(stage.result, signs)] if stage.result != "success" else []
    told += ["stopped early"] if stage.exhausted is False and stage.result == "success" else []
    return ", ".join([*told, *(["late"] if stage.late else [])])


def _note_style(stage: Stage) -> str:
    return "yellow" if stage.result == "success" else RESULT_STYLES.get(stage.result, "yellow")


def _axis(run: Run, cells: int) -> Axis:
    return Axis(run.started, run.ended, cells)


def _bar_column(run: Run, shown: list[Stage], cells: int, signs: Signs) -> Column:
    axis = _axis(run, cells)
    bars = []
    for stage in shown:
        bar = axis.bar(stage.started, stage.ended, stage.self_time)
        style = {"failure": "red", "aborted": "yellow", "skip": "bright_black"}.get(stage.result, "cyan")
        light = (signs.rest * bar.rest, style)
        bars.append(Text.assemble(" " * bar.left, (signs.own * bar.own, style), light, " " * bar.right))
    legend = f"{signs.own} own time  {signs.rest} waiting or in other stages"
    short = f"{signs.own} own  {signs.rest} rest"
    title = next((text for text in (legend, short) if cell_len(text) <= cells), "")
    return Column(title, tuple(bars), right=False)


def _axis_lines(run: Run, indent: int, cells: int, signs: Signs) -> list[Text]:
    axis, ruler, labels = _axis(run, cells), list(signs.axis * (cells - 1) + signs.last_tick), ""
    for tick in axis.ticks():
        ruler[tick.cell] = signs.tick if tick.cell else signs.first_tick
        if tick.cell + cell_len(tick.label) <= cells:
            labels = labels.ljust(tick.cell) + tick.label
    end = duration(axis.seconds)
    if axis.seconds and len(labels) + _GAP + len(end) <= cells:
        labels = labels.ljust(cells - len(end)) + end
    return [Text(" " * indent + line, style="dim") for line in ("".join(ruler), labels)]


def _rest_line(run: Run, rest: list[Stage], signs: Signs) -> list[Text]:
    if not rest:
        return []
    own = sum(map(own_time, rest))
    share = percent(own, run.duration)
    text = f"  {signs.ellipsis} and {len(rest):,} more stages with less self time: {duration(own)} in all"
    return [Text(text + (f" ({share} of the run)" if share else ""), style="dim")]
