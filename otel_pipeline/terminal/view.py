"""The lines of a run's summary, section by section, from the most important to the least.

Every text that comes from the user's code passes ``clean`` and becomes a rich ``Text``, never markup.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from rich.text import Text

from otel_pipeline.terminal import findings
from otel_pipeline.terminal.figures import (
    ASCII,
    UNICODE,
    Signs,
    clean,
    count,
    duration,
    fit,
    known,
    percent,
    plural,
    size,
)
from otel_pipeline.terminal.table import RESULT_STYLES, Column, lay, sign, stage_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import tzinfo

    from otel_pipeline.model import Check, Run, Stage

_NARROWEST = 40
_MOST = 6
_TIME_BAR = 24


@dataclass(frozen=True)
class _Page:
    """What a section is drawn from, and onto."""

    run: Run
    stages: Sequence[Stage]
    width: int
    signs: Signs
    zone: tzinfo | None

    def said(self, text: object, width: int | None = None) -> str:
        """A text of the user's, made harmless and cut to ``width``, by default the page's."""
        return fit(clean(text, self.signs), self.width if width is None else width, self.signs)

    def name(self, text: object) -> str:
        return self.said(text, max(self.width // 3, 16))


def lines(
    run: Run, stages: Sequence[Stage], width: int, *, ascii_only: bool = False, zone: tzinfo | None = None
) -> list[Text]:
    """Return the summary as lines of at most ``width`` cells."""
    page = _Page(run, stages, max(width, _NARROWEST), ASCII if ascii_only else UNICODE, zone)
    told: list[Text] = []
    for section in _SECTIONS:
        block = section(page)
        told += [Text(), *block] if told and block else block
    for line in told:
        line.no_wrap, line.overflow = True, "crop"
        line.rstrip()
    return told


def _title(text: str, *rest: str) -> Text:
    return Text.assemble((text, "bold"), *((f"  {more}", "dim") for more in rest if more))


def _header(page: _Page) -> list[Text]:
    run, signs = page.run, page.signs
    colour = RESULT_STYLES.get(run.result, "yellow")
    result, took = clean(run.result, signs)[:16], duration(run.duration) or f"{signs.unknown} s"
    name = page.said(run.pipeline, page.width - len(result) - len(took) - 8)
    left = Text.assemble((f" {sign(run.result, signs)} {result} ", f"bold reverse {colour}"), "  ", (name, "bold"))
    gap = " " * max(page.width - left.cell_len - len(took), 1)
    # A UUID version 7 begins with the time to the millisecond, which takes 13 characters: fewer would be ambiguous.
    ids = [f"run {page.said(run.run_id[:13])}", f"trace {page.said(run.trace_id, 36)}"]
    ids += [f"attempt {run.attempt}"] if run.attempt != 1 else []
    ids += ["backfill"] if run.backfill else []
    facts = [fact for fact in (*ids, _when(page)) if fact]
    return [Text.assemble(left, gap, (took, "bold")), *_joined(page, facts)]


def _when(page: _Page) -> str:
    try:
        moment = datetime.fromtimestamp(page.run.started // 10**9, timezone.utc).astimezone(page.zone)
    except (ValueError, OverflowError, OSError):
        return ""
    return page.said(f"{moment:%Y-%m-%d %H:%M:%S} {moment.tzname() or moment.strftime('%z')}")


def _joined(page: _Page, facts: Sequence[str], indent: str = "") -> list[Text]:
    """Return facts beside each other, on as many lines as they need."""
    between, rows = f"  {page.signs.dot}  ", [""]
    for fact in facts:
        longer = f"{rows[-1]}{between}{fact}" if rows[-1] else fact
        if len(indent) + len(longer) > page.width and rows[-1]:
            rows.append(fact)
        else:
            rows[-1] = longer
    return [Text(fit(indent + row, page.width, page.signs), style="dim") for row in rows if row]


def _stages(page: _Page) -> list[Text]:
    if page.stages:
        return stage_table(page.run, page.stages, page.width, page.signs)
    return [Text("No stages were reported.", style="dim")]


def _time(page: _Page) -> list[Text]:
    own = page.run.self_time
    if not page.stages or not (page.run.duration > 0):
        return []
    shares = findings.shares(page.stages)
    rows = [(_times(page, share), share.seconds, "cyan") for share in shares[:_MOST]]
    if rest := shares[_MOST:]:
        rows.append((plural(len(rest), "other name"), sum(share.seconds for share in rest), "cyan"))
    rows += [("outside stages", own, "blue")] if own is not None and known(own) else []
    cells = min(_TIME_BAR, page.width // 3)
    busy = sum(seconds for _, seconds, _ in rows)
    scale = max(busy, page.run.duration)
    columns = [
        Column("", tuple(Text(f"  {name}") for name, _, _ in rows), right=False),
        Column(
            "", tuple(Text(page.signs.own * _cells(seconds, scale, cells), style) for _, seconds, style in rows), False
        ),
        Column("", tuple(Text(percent(seconds, page.run.duration)) for _, seconds, _ in rows)),
        Column("", tuple(Text(duration(seconds), style="dim") for _, seconds, _ in rows)),
    ]
    parallel = percent(busy, page.run.duration) if busy > page.run.duration * 1.02 else ""
    return [
        _title("Where the time went", parallel and f"busy {parallel}: stages ran in parallel"),
        *lay(columns, titles=False),
    ]


def _times(page: _Page, share: findings.Share) -> str:
    return page.name(share.name) + (f" {page.signs.times}{share.stages:,}" if share.stages > 1 else "")


def _cells(seconds: float, scale: float, cells: int) -> int:
    share = seconds / scale * cells if scale > 0 else 0
    return max(round(share), 1) if seconds > 0 else 0


def _datasets(page: _Page) -> list[Text]:
    found = findings.datasets(page.stages)
    if not found:
        return []
    columns = [
        Column("", tuple(Text(f"  {page.said(operation, 12)}") for operation, _, _ in found[:_MOST]), right=False),
        Column("", tuple(Text(page.name(name)) for _, name, _ in found[:_MOST]), right=False),
        Column("", tuple(Text(count(records) or page.signs.unknown) for _, _, records in found[:_MOST])),
        Column("", tuple(Text("" if n is None else "records", style="dim") for _, _, n in found[:_MOST]), right=False),
    ]
    return [_title("Datasets"), *lay(columns, titles=False), *_more(page, len(found))]


def _more(page: _Page, number: int) -> list[Text]:
    return [Text(f"  {page.signs.ellipsis} and {number - _MOST:,} more", style="dim")] if number > _MOST else []


def _checks(page: _Page) -> list[Text]:
    failed, passed = findings.checks(page.stages)
    rows = [
        (failed, page.signs.bad, "red", "failed"),
        (passed, page.signs.good, "green", "passed"),
    ]
    return [_check_line(page, *row) for row in rows if row[0]]


def _check_line(page: _Page, checks: list[Check], mark: str, style: str, verb: str) -> Text:
    start = f"{mark} {plural(len(checks), 'check')} {verb}: "
    told = ", ".join(_check(page, check) for check in checks[:50])
    return Text.assemble((start, style), page.said(told, page.width - len(start)))


def _check(page: _Page, check: Check) -> str:
    of = f" of {page.name(check.dataset)}" if check.dataset else ""
    if not check.failed:
        return page.name(check.name) + of
    whole = f" of {count(check.failed + check.passed)}" if check.passed is not None else ""
    return f"{page.name(check.name)}{of} ({count(check.failed)}{whole})"


def _errors(page: _Page) -> list[Text]:
    groups, others = findings.error_groups(page.stages), findings.raised(page.run, page.stages)
    failed = findings.failed_records(page.stages)
    told = [_error(page, _number(page, group), group.type, group.stage, group.message) for group in groups[:_MOST]]
    told += _more(page, len(groups))
    told += [_error(page, "", s.error_type or "", s.name, s.error_message or "") for s in others[:_MOST]]
    told += _more(page, len(others))
    title = [_title("Errors", f"{plural(failed, 'record')} failed" if failed else "")] if told else []
    return title + told


def _number(page: _Page, group: findings.ErrorGroup) -> str:
    return f"{'' if group.exact else page.signs.at_least}{count(group.count)} {page.signs.times} "


def _error(page: _Page, number: str, type_: str, stage: str, message: str) -> Text:
    start = Text.assemble(
        "  ", (page.signs.bad, "red"), " ", number, (page.name(type_), "red"), f" in {page.name(stage)}"
    )  # fmt: skip
    return Text.assemble(start, (": " if message else "") + page.said(message, max(page.width - start.cell_len - 2, 0)))


def _ending(page: _Page) -> list[Text]:
    """What ended the run, last before the figures of the process: the eye is at the bottom of the screen."""
    run = page.run
    if run.skip_reason:
        return [Text.assemble(("Skipped: ", "bold"), page.said(run.skip_reason, page.width - 9))]
    if run.error_type is None:
        return []
    stage = run.error_stage or ", ".join(run.open_stages)
    where = f" in {page.name(stage)}" if stage else " outside stages" if page.stages and not run.signal else ""
    start = Text.assemble((f"{page.signs.bad} Ended by ", "bold red"), (page.name(run.error_type), "bold red"), where)
    return [start, *_wrapped(page, clean(run.error_message or "", page.signs), most=3)]


def _wrapped(page: _Page, text: str, most: int, first: str = "  ", style: str = "") -> list[Text]:
    """Return ``text`` on at most ``most`` lines, behind ``first`` and then indented as far."""
    room = page.width - len(first)
    rows = textwrap.wrap(text, room, max_lines=most, placeholder=f" {page.signs.ellipsis}")
    starts = [first, *([" " * len(first)] * most)]
    return [Text(start + fit(row, room, page.signs), style=style) for start, row in zip(starts, rows, strict=False)]


def _warnings(page: _Page) -> list[Text]:
    told = [_unaccounted(page, stage, stage.unaccounted) for stage in page.stages if stage.unaccounted]
    more = [f"{len(told) - _MOST:,} more stages with records unaccounted for"] if len(told) > _MOST else []
    told = told[:_MOST] + more
    for why, names in (("not started, since nothing was pulled from them", page.run.not_started),
                       ("still open at the end", page.run.open_stages)):  # fmt: skip
        told += [f"{why}: {_names(page, names)}"] if names else []
    mark = f"{page.signs.warning} "
    return [line for text in told for line in _wrapped(page, text, most=2, first=mark, style="yellow")]


def _names(page: _Page, names: Iterable[str]) -> str:
    return ", ".join(page.name(name) for name in list(names)[:50])


def _unaccounted(page: _Page, stage: Stage, number: int) -> str:
    if number < 0:
        return f"{page.name(stage.name)}: {plural(-number, 'record')} more came out than went in"
    where = (
        "in flight when it was stopped" if stage.exhausted is False else "unaccounted for (in - out - failed - dropped)"
    )
    return f"{page.name(stage.name)}: {plural(number, 'record')} {where}"


def _process(page: _Page) -> list[Text]:
    run = page.run
    busy = percent(run.cpu_time, run.duration)
    facts = (
        "" if run.exit_code is None else f"exit code {run.exit_code}",
        f"signal {page.said(run.signal, 16)}" if run.signal else "",
        f"CPU {duration(run.cpu_time)}" + (f" ({busy} of the run)" if busy else "") if duration(run.cpu_time) else "",
        f"peak memory {size(run.memory_peak)}" if size(run.memory_peak) else "",
    )
    return _joined(page, [fact for fact in facts if fact])


_SECTIONS: tuple[Callable[[_Page], list[Text]], ...] = (
    _header, _stages, _time, _datasets, _checks, _errors, _warnings, _ending, _process,
)  # fmt: skip
