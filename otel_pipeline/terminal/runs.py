"""What `otel-pipeline runs` and `show` draw: the last runs of each pipeline, and one run against the last good one."""

from __future__ import annotations

import contextlib
import io
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TextIO, TypeAlias

from rich.console import Console
from rich.text import Text

from otel_pipeline.model import Run, records_of
from otel_pipeline.terminal.figures import ASCII, UNICODE, Signs, clean, count, duration, fit, percent, plural
from otel_pipeline.terminal.printing import WIDEST
from otel_pipeline.terminal.table import RESULT_STYLES, Column, lay, sign
from otel_pipeline.terminal.unexpected import unexpected_lines
from otel_pipeline.terminal.view import lines as run_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import tzinfo

    from otel_pipeline.kpi.state import PipelineState
    from otel_pipeline.kpi.statistics import Statistic
    from otel_pipeline.kpi.values import RunRecord
    from otel_pipeline.kpi.verdicts import Breach
    from otel_pipeline.model import Stage

RUNNING, SILENT = "running", "silent"
_ALIVE_NS = 60 * 10**9
_STYLES = {**RESULT_STYLES, RUNNING: "cyan", SILENT: "yellow", "cancellation": "yellow"}
_INDENT = 2
_READABLE = 60
"""A message with fewer cells is not put beside the run, unless it is shorter."""
_BAR = 12
_ID = 13  # of a UUID version 7, the time to the millisecond
_FEW = 0.05
"""A change of less than this share is not worth a colour."""


def print_runs(
    found: Mapping[str, Sequence[tuple[RunRecord, Sequence[Stage]]]],
    states: Sequence[PipelineState],
    now: int,
    file: TextIO,
    breaches: Sequence[Breach] = (),
) -> None:
    """Write the runs of each pipeline to ``file``; ``now`` in nanoseconds since the epoch.

    ``breaches`` are those that are not over, of any pipeline.
    """
    _print(file, lambda width, signs: runs_lines(found, states, now, width, signs, breaches=breaches))


def print_run(
    record: RunRecord,
    stages: Sequence[Stage],
    before: tuple[RunRecord, Sequence[Stage]] | None,
    now: int,
    file: TextIO,
    *,
    breaches: Sequence[Breach] = (),
) -> None:
    """Write one run's summary, what of it was not as expected, and how it differs from the run ``before``."""

    def drawn(width: int, signs: Signs) -> list[Text]:
        run = as_run(record, now)
        told = run_lines(run, stages, width, ascii_only=signs.ascii_only)
        if breaches:
            told += [Text(), *unexpected_lines(breaches, width, signs)]
        if before is None or before[0].run is None:
            return told
        return [*told, Text(), *compared((run, stages), (before[0].run, before[1]), width, signs)]

    _print(file, drawn)


def print_statistics(name: str, window: str, found: Sequence[Statistic], file: TextIO) -> None:
    """Write the statistics of a metric's series over ``window`` to ``file``."""
    _print(file, lambda width, signs: statistics_lines(name, window, found, width, signs))


def statistics_lines(name: str, window: str, found: Sequence[Statistic], width: int, signs: Signs) -> list[Text]:
    """A line a series, under its labels."""
    title = Text.assemble((name, "bold"), (f"  {window}", "dim"))
    if not found:
        return [title, Text("  nothing was counted in that time", style="dim")]
    most = max(width // 3, 20)
    labels = list(dict.fromkeys(label for each in found for label in each.labels))
    told = [[fit(clean(each.labels.get(label, ""), signs), most, signs) for label in labels] for each in found]
    columns = [
        Column(f"  {label}" if not index else label,
               tuple(Text(f"  {row[index]}" if not index else row[index]) for row in told), right=False)
        for index, label in enumerate(labels)
    ] + [
        Column(statistic, tuple(_statistic(getattr(each, statistic), signs) for each in found))
        for statistic in ("count", "min", "mean", "median", "p95", "p99", "max", "last", "sum", "value")
    ]  # fmt: skip
    return [title, *lay(columns)]


def _statistic(value: float | None, signs: Signs) -> Text:
    if value is None:
        return Text(signs.unknown, style="dim")
    return Text(f"{value:,.0f}" if value == int(value) or abs(value) >= 1e5 else f"{value:,.4g}")


def as_run(record: RunRecord, now: int) -> Run:
    """The run; one without an end as far as it was seen, its result ``running`` or ``silent``."""
    return record.run or Run(
        trace_id=record.trace_id,
        span_id=record.span_id,
        run_id=record.run_id,
        pipeline=record.pipeline,
        backfill=record.backfill,
        result=RUNNING if now - record.seen <= _ALIVE_NS else SILENT,
        started=record.started,
        ended=now if now - record.seen <= _ALIVE_NS else record.seen,
        open_stages=record.open_stages,
    )


def runs_lines(
    found: Mapping[str, Sequence[tuple[RunRecord, Sequence[Stage]]]],
    states: Sequence[PipelineState],
    now: int,
    width: int,
    signs: Signs,
    *,
    zone: tzinfo | None = None,
    breaches: Sequence[Breach] = (),
) -> list[Text]:
    """The runs of each pipeline as lines of at most ``width`` cells."""
    if not found:
        return [
            Text("No runs yet.", style="bold"),
            Text("A run is here when a process with otel_pipeline has begun one: otel-pipeline run -- python etl.py"),
        ]
    told: list[Text] = []
    for state in states:
        told += [Text()] if told else []
        of_pipeline = [breach for breach in breaches if breach.pipeline == state.pipeline]
        told += [_heading(state, now, width, signs), *unexpected_lines(of_pipeline, width, signs, zone)[1:]]
        told += _table(found[state.pipeline], now, width, signs, zone)
    for line in told:
        line.no_wrap, line.overflow = True, "crop"
        line.truncate(width)
        line.rstrip()
    return told


def _heading(state: PipelineState, now: int, width: int, signs: Signs) -> Text:
    good = state.results.get("success", 0)
    bad = sum(state.results.get(result, 0) for result in ("failure", "timeout", "lost"))
    facts = [f"{state.active} running"] if state.active else []
    if good + bad:
        facts.append(f"{percent(good, good + bad)} of {plural(good + bad, 'run')} succeeded in {_days(state.window)}")
    if bad and state.last_success is not None:
        facts.append(f"last success {duration(max(now - state.last_success, 0) / 1e9)} ago")
    line = Text(fit(clean(state.pipeline, signs), max(width // 2, 20), signs), style="bold")
    for fact in facts:  # as many as there is room for, the most important first
        more = Text(f"  {signs.dot}  {fact}", style="dim")
        if line.cell_len + more.cell_len > width:
            break
        line = Text.assemble(line, more)
    return line


def _days(window: int) -> str:
    days, rest = divmod(window, 86_400 * 10**9)
    return duration(window / 1e9) if rest else plural(days, "day")


def _table(
    runs: Sequence[tuple[RunRecord, Sequence[Stage]]], now: int, width: int, signs: Signs, zone: tzinfo | None
) -> list[Text]:
    shown = [(as_run(record, now), stages, record) for record, stages in runs]
    longest = max((run.duration for run, _, _ in shown), default=0.0)
    columns = [
        Column("  result", tuple(_result(run, record, signs) for run, _, record in shown), right=False),
        Column("started", tuple(Text(_local(run.started, zone)) for run, _, _ in shown), right=False),
        Column("duration", tuple(Text(duration(run.duration) or signs.unknown) for run, _, _ in shown)),
        Column("", tuple(_bar(run, longest, signs) for run, _, _ in shown), right=False),
        Column("records", tuple(_records(stages, signs) for _, stages, _ in shown)),
        Column("run", tuple(Text(clean(run.run_id, signs)[:_ID], style="dim") for run, _, _ in shown), right=False),
    ]
    why = [_why(run, signs) for run, _, _ in shown]
    room = width - _INDENT
    beside = room - _width(columns) - 2
    if beside >= min(max((cell.cell_len for cell in why), default=0), _READABLE):
        last = Column("", tuple(Text(fit(cell.plain, max(beside, 1), signs), style=cell.style) for cell in why), False)
        return [_indented(line) for line in lay([*columns, last])]
    # Where it is narrow the bar goes first, then the id; what was wrong is told in a line of its own.
    fitting = (kept for left_out in ((), (3,), (3, 5), (3, 4, 5))
               if _width(kept := [c for index, c in enumerate(columns) if index not in left_out]) <= room)  # fmt: skip
    title, *rows = map(_indented, lay(next(fitting, columns[:3])))
    told = [title]
    for row, cell in zip(rows, why, strict=True):
        below = Text(" " * 2 * _INDENT + fit(cell.plain, max(width - 2 * _INDENT, 1), signs), style=cell.style)
        told += [row, below] if cell.plain else [row]
    return told


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _indented(line: Text) -> Text:
    return Text.assemble(" " * _INDENT, line)


def _result(run: Run, record: RunRecord, signs: Signs) -> Text:
    mark = signs.own[0] if run.result == RUNNING else sign(run.result, signs)
    style = "dim" if record.superseded else _STYLES.get(run.result, "yellow")
    attempt = f" #{run.attempt}" if run.attempt > 1 or record.superseded else ""
    backfill = " backfill" if run.backfill else ""
    return Text.assemble((f"{mark} {clean(run.result, signs)}", style), (attempt + backfill, "dim"))


def _local(nanoseconds: int, zone: tzinfo | None) -> str:
    try:
        moment = datetime.fromtimestamp(nanoseconds // 10**9, timezone.utc).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _bar(run: Run, longest: float, signs: Signs) -> Text:
    cells = max(round(run.duration / longest * _BAR), 1) if longest > 0 else 0
    return Text(signs.own * cells, style=_STYLES.get(run.result, "yellow"))


def _records(stages: Sequence[Stage], signs: Signs) -> Text:
    records = records_of(stages)
    return Text(signs.unknown, style="dim") if records is None else Text(count(records))


def _why(run: Run, signs: Signs) -> Text:
    """The first line of what ended it."""
    if run.result in ("success", RUNNING) and run.open_stages:
        return Text(clean(f"in {', '.join(run.open_stages)}", signs), style="dim")
    if run.result == "skip":
        return Text(clean(run.skip_reason or "", signs), style="dim")
    message = (run.error_message or "").strip().split("\n")[0]
    kind = (run.error_type or "").rpartition(".")[2]
    where = f" (in {run.error_stage})" if run.error_stage else ""
    told = ": ".join(part for part in (kind, message) if part)
    return Text(clean(f"{told}{where}" if told else "", signs), style=_STYLES.get(run.result, ""))


_Row: TypeAlias = "tuple[str, float | None, float | None, int | None, int | None]"


def compared(
    shown: tuple[Run, Sequence[Stage]], before: tuple[Run, Sequence[Stage]], width: int, signs: Signs
) -> list[Text]:
    """Duration, records and self time per stage against the last good run, with the change in per cent."""
    (run, stages), (good, good_stages) = shown, before
    now, then = _by_name(stages), _by_name(good_stages)
    whole: _Row = ("whole run", run.duration, good.duration, records_of(stages), records_of(good_stages))
    rows: list[_Row] = [
        (name, _self(now.get(name)), _self(then.get(name)), _out(now.get(name)), _out(then.get(name)))
        for name in dict.fromkeys([*now, *then])
    ]
    return [_compared_title(good, width, signs), *lay(_compared_columns([whole, *rows], width, signs))]


def _compared_title(good: Run, width: int, signs: Signs) -> Text:
    when = f"{_local(good.started, None)}  run {clean(good.run_id, signs)[:_ID]}"
    return Text.assemble(("Against the last good run", "bold"), (fit(f"  {when}", max(width - 25, 0), signs), "dim"))


def _compared_columns(rows: Sequence[_Row], width: int, signs: Signs) -> list[Column]:
    most = max(width // 4, 12)
    names = (
        Text(f"  {fit(clean(row[0], signs), most, signs)}", style="" if index else "bold")
        for index, row in enumerate(rows)
    )
    return [
        Column("  self time", tuple(names), right=False),
        Column("now", tuple(_figure(duration(row[1]), signs) for row in rows)),
        Column("then", tuple(_figure(duration(row[2]), signs, "dim") for row in rows)),
        Column("change", tuple(_change(row[1], row[2], more="red", less="green") for row in rows)),
        Column("records", tuple(_figure(count(row[3]), signs) for row in rows)),
        Column("then", tuple(_figure(count(row[4]), signs, "dim") for row in rows)),
        Column("change", tuple(_change(row[3], row[4], more="yellow", less="yellow") for row in rows)),
    ]


def _by_name(stages: Sequence[Stage]) -> dict[str, list[Stage]]:
    found: dict[str, list[Stage]] = {}
    for stage in stages:
        found.setdefault(stage.name, []).append(stage)
    return found


def _self(stages: list[Stage] | None) -> float | None:
    return None if stages is None else sum(stage.self_time for stage in stages)


def _out(stages: list[Stage] | None) -> int | None:
    known = [s.records.in_ if s.records.out is None else s.records.out for s in stages or ()]
    return sum(number for number in known if number is not None) if any(n is not None for n in known) else None


def _figure(text: str, signs: Signs, style: str = "") -> Text:
    return Text(text or signs.unknown, style=style if text else "dim")


def _change(now: float | None, then: float | None, *, more: str, less: str) -> Text:
    if now is None or then is None:
        return Text("" if now is None and then is None else "new" if then is None else "gone", style="dim")
    if then == 0:
        return Text("" if now == 0 else "new", style="dim")
    share = now / then - 1
    style = "dim" if abs(share) < _FEW else more if share > 0 else less
    return Text("=" if abs(share) < 0.005 else f"{share:+,.0%}", style=style)


def _print(file: TextIO, drawn: Callable[[int, Signs], list[Text]]) -> None:
    """As wide and colourful as ``file`` can show it; in a pipe as plain text, in ASCII where it has no such signs."""
    probe = Console(file=file, force_jupyter=False)
    width = min(probe.width, WIDEST) if probe.is_terminal else WIDEST
    text = io.StringIO()
    colour = None if probe.no_color or probe.legacy_windows else probe.color_system
    console = Console(
        file=text,
        width=width,
        force_terminal=probe.is_terminal,
        force_jupyter=False,
        legacy_windows=False,
        color_system=colour,  # type: ignore[arg-type]  # rich's property has a wider type than its parameter
    )
    for line in drawn(width, UNICODE if probe.encoding.startswith("utf") else ASCII):
        console.print(line, soft_wrap=True)
    with contextlib.suppress(BrokenPipeError):
        file.write(text.getvalue())
        file.flush()
