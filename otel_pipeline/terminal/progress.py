"""How far the open runs are, as lines: each run's name and time, and a row for each of its open stages.

::

    orders-etl · 12.4 s · 1 stage ended
      transform  12.3 s   41,230 in   40,100 out   311 failed   3,352/s  ━━━━━━━─────────  41%  17.6 s left

Values in, a rich renderable out: who draws it, where and how often is the SDK room's business. What does not fit is
left out, the least important first; no line is wider than ``width``, and there are at most ``height`` of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from otel_pipeline.terminal.figures import ASCII, UNICODE, Signs, clean, count, duration, fit, known, plural, rate
from otel_pipeline.terminal.table import Column, lay

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_STAGES = 10
"""Stages drawn of one run; the others are a number."""
_WIDEST_BAR = 24
_NARROWEST_BAR = 6
_WIDEST_NAME = 28
_GAP = 2
# Where it is narrow they are left out in this order.
_LESS_IMPORTANT = ("rate", "time", "bar", "left", "out", "failed", "in")


@dataclass(frozen=True)
class StageProgress:
    """How far an open stage is: counts of records so far, ``None`` where nobody reported any.

    ``done`` of ``total`` is what the bar shows: records that went in, or pages of a crawl.
    """

    name: str
    seconds: float
    records_in: int | None = None
    records_out: int | None = None
    failed: int | None = None
    done: int | None = None
    total: int | None = None
    upstream: Sequence[str] = ()


@dataclass(frozen=True)
class RunProgress:
    """How far an open run is; ``stages`` are the open ones that are to be drawn, ``more`` how many others there are."""

    pipeline: str
    seconds: float
    stages: Sequence[StageProgress] = field(default=())
    ended: int = 0
    more: int = 0


def progress(runs: Sequence[RunProgress], width: int, height: int, *, ascii_only: bool = False) -> Group:
    """Return the open runs as a rich renderable of at most ``width`` columns and ``height`` lines.

    Example::

        rich.print(progress([RunProgress("orders", 2.5, [StageProgress("load", 2.4, records_in=100)])], 80, 12))
    """
    signs = ASCII if ascii_only else UNICODE
    lines = [line for run in runs for line in _run_lines(run, width, signs)]
    if len(lines) > height:
        lines = [*lines[: max(height - 1, 0)], Text(f"  {signs.ellipsis}", style="dim")][: max(height, 0)]
    for line in lines:
        line.rstrip()
        line.no_wrap = True
        line.truncate(max(width, 0))
    return Group(*lines)


def left(done: int | None, total: int | None, seconds: float) -> float | None:
    """How long the rest takes at the pace until now, in seconds; ``None`` where nobody can know."""
    if not done or not total or done < 0 or done > total or not count(total) or not known(seconds):
        return None
    return seconds / done * (total - done)


def _run_lines(run: RunProgress, width: int, signs: Signs) -> list[Text]:
    parts = [duration(run.seconds)]
    if run.ended > 0:
        parts.append(f"{plural(run.ended, 'stage')} ended")
    said = "".join(f" {signs.dot} {part}" for part in parts if part)
    name = fit(clean(run.pipeline, signs), max(width - len(said), 8), signs)
    lines = [Text.assemble((name, "bold"), (said, "dim"))]
    if run.stages:
        lines += _table(_as_records_flow(run.stages[:MOST_STAGES]), width, signs)
    more = max(run.more, 0) + len(run.stages[MOST_STAGES:])
    return [*lines, Text(f"  and {plural(more, 'more stage')}", style="dim")] if more else lines


def _as_records_flow(stages: Sequence[StageProgress]) -> list[StageProgress]:
    """In the given order, but each below those that it pulls from."""
    entered: set[int] = set()
    placed: list[StageProgress] = []

    def place(index: int) -> None:
        if index not in entered:
            entered.add(index)
            for other, stage in enumerate(stages):
                if stage.name in stages[index].upstream:
                    place(other)
            placed.append(stages[index])

    for index in range(len(stages)):
        place(index)
    return placed


def _table(stages: Sequence[StageProgress], width: int, signs: Signs) -> list[Text]:
    columns = _columns(stages, signs)
    for name in ("", *_LESS_IMPORTANT):
        columns.pop(name, None)
        bar = _NARROWEST_BAR if "bar" in columns else -_GAP
        room = width - sum(column.width + _GAP for column in columns.values() if column.title != "bar") - bar
        if room >= 0:
            break
    if "bar" in columns:
        columns["bar"] = _bars(stages, min(_NARROWEST_BAR + room, _WIDEST_BAR), signs)
    elif room < 0:
        columns["name"] = _names(stages, max(columns["name"].width + room - _GAP, 8), signs)
    return lay([*columns.values()], titles=False)


def _columns(stages: Sequence[StageProgress], signs: Signs) -> dict[str, Column]:
    columns = {
        "name": _names(stages, _WIDEST_NAME, signs),
        "time": _column([(duration(stage.seconds), "dim") for stage in stages]),
        "in": _column([(_counted(stage.records_in, "in") or _counted(stage.done, "done"), "") for stage in stages]),
        "out": _column([(_counted(stage.records_out, "out"), "") for stage in stages]),
        "failed": _column([(_counted(stage.failed or None, "failed"), "bold red") for stage in stages]),
        "rate": _column([(rate(_pace(stage), stage.seconds) if _pace(stage) else "", "dim") for stage in stages]),
    }
    if any(_share(stage) is not None for stage in stages):
        columns["bar"] = Column("bar", tuple(Text() for _ in stages))
        columns["done"] = _column([(_percent(stage), "") for stage in stages])
        columns["left"] = _column([(_left(stage), "dim") for stage in stages])
    return {name: column for name, column in columns.items() if column.width}


def _names(stages: Sequence[StageProgress], most: int, signs: Signs) -> Column:
    return Column("", tuple(Text(f"  {fit(clean(stage.name, signs), most, signs)}") for stage in stages), right=False)


def _column(cells: Sequence[tuple[str, str]]) -> Column:
    return Column("", tuple(Text(text, style=style) for text, style in cells))


def _bars(stages: Sequence[StageProgress], width: int, signs: Signs) -> Column:
    return Column("", tuple(_bar(_share(stage), width, signs) for stage in stages), right=False)


def _bar(share: float | None, width: int, signs: Signs) -> Text:
    if share is None:
        return Text(" " * width)
    full = round(share * width)
    return Text.assemble((signs.own * full, "green"), (signs.rest * (width - full), "dim"))


def _counted(number: int | None, word: str) -> str:
    return f"{text} {word}" if (text := count(number)) else ""


def _pace(stage: StageProgress) -> int | None:
    """What its rate counts: what the bar counts, else what came out."""
    return stage.done or stage.records_in or stage.records_out


def _share(stage: StageProgress) -> float | None:
    if not count(stage.total) or not count(stage.done) or stage.total is None or stage.done is None or stage.total <= 0:
        return None
    return min(max(stage.done / stage.total, 0.0), 1.0)


def _percent(stage: StageProgress) -> str:
    # Rounded down: 100% is said of what is done, and not before.
    return "" if (share := _share(stage)) is None else f"{int(share * 100)}%"


def _left(stage: StageProgress) -> str:
    seconds = left(stage.done, stage.total, stage.seconds)
    return f"{duration(seconds)} left" if seconds else ""
