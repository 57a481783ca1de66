"""`otel-pipeline runs`, `show` and `stats`: first bring in what waits in the queues, then ask the store.

::

    queues ─drain─► store ─► Reader ─┬─► terminal/runs.py (people)
                                     └─► JSON, CSV, Prometheus's text (programs)
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from otel_pipeline import config
from otel_pipeline.embedded import drain, embedded_folder
from otel_pipeline.errors import ExpectationError, UsageError
from otel_pipeline.kpi import names, statistics
from otel_pipeline.kpi.measures import served
from otel_pipeline.kpi.times import iso
from otel_pipeline.opening import opened
from otel_pipeline.store.errors import StoreError
from otel_pipeline.terminal import runs as shown
from otel_pipeline.ticking import declared_in_file, tick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from otel_pipeline.kpi.values import RunRecord
    from otel_pipeline.kpi.verdicts import Breach
    from otel_pipeline.model import Stage
    from otel_pipeline.store.reading import Reader

MOST_SHOWN = 10
"""Runs of each pipeline that people see, unless they ask for more."""
MOST_UNMET = 3
"""Breaches of each pipeline that people see there."""
MOST = 100_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
FORMATS: dict[str, Callable[[names.Name, Sequence[statistics.Statistic]], str]] = {
    "json": statistics.as_json,
    "csv": statistics.as_csv,
    "prometheus": statistics.as_prometheus,
}


def runs(pipeline: str | None, *, last: int | None = None, as_json: bool = False) -> int:
    """Print the last runs of each pipeline, or of one: ``last`` of each, else 10, as JSON all. Exit status 0.

    1 when there is no such pipeline. Raises UsageError for ``last`` below 1.
    """
    if last is not None and last < 1:
        raise UsageError(f"--last {last}: want 1 or more")
    most = last if last is not None else MOST if as_json else MOST_SHOWN
    with _reader() as reader:
        known = reader.pipelines()
        chosen = [name for name in known if pipeline in (None, name)]
        found = {name: [(r, reader.stages_of(r)) for r in reader.last_runs(name, most)] for name in chosen}
        state = reader.pipeline_states(time.time_ns(), pipeline)
        unmet = [b for name in chosen for b in reader.breaches(name, still_open=True, most=MOST_UNMET)]
    if pipeline is not None and not chosen:
        return _unknown(f"no runs of {pipeline!r}; there are {', '.join(known) or 'none of any pipeline'}")
    if as_json:
        every = sorted((pair for pairs in found.values() for pair in pairs), key=lambda pair: -pair[0].started)
        return _print(json.dumps([run_object(record, stages) for record, stages in every], indent=2))
    shown.print_runs(found, state, time.time_ns(), sys.stdout, unmet)
    return 0


def show(run: str, *, as_json: bool = False) -> int:
    """Print one run (``last``, an id or its beginning) and how it differs from the last good one. Exit status 0.

    1 when there is no such run, or several.
    """
    with _reader() as reader:
        found = reader.find_run(run)
        if not found:
            return _unknown(f"no run {run!r}; see `otel-pipeline runs`")
        if len({record.run_id for record in found}) > 1:
            return _unknown(f"{run!r} may be {', '.join(dict.fromkeys(record.run_id for record in found))}")
        record = found[0]
        stages = reader.stages_of(record)
        good = reader.last_good_before(record)
        before = None if good is None else (good, reader.stages_of(good))
        unmet = reader.breaches_of(record)
    if as_json:
        return _print(json.dumps(_shown_object(record, stages, before, unmet), indent=2))
    shown.print_run(record, stages, before, time.time_ns(), sys.stdout, breaches=unmet)
    return 0


def stats(metric: str, *, window: str = "1h", form: str = "table") -> int:
    """Print the statistics of a metric over the last ``window`` (``90s``, ``15m``, ``1h``, ``7d``). Exit status 0.

    1 when there is no such metric. Raises UsageError for a window that is none.
    """
    now = time.time_ns()
    since = now - round(seconds(window) * 1e9)
    packs = config.packs(config.load())
    with _reader() as reader:
        figures = reader.figures(now)
        catalogue = served(reader.catalogue, figures)
        name = names.find(metric, catalogue, packs)
        if name is None:
            known = sorted(each.name for each in names.names_of(catalogue, packs))
            near = get_close_matches(metric.replace(".", "_"), known, n=3, cutoff=0.5)
            wanted = f"did you mean {', '.join(near)}" if near else f"there are {', '.join(known)}"
            return _unknown(f"no metric {metric!r}; {wanted}")
        # Clocks of other machines may be a little ahead.
        facts = () if name.kpi.derived else reader.facts_ended(since, now + 60 * 10**9)
        found = statistics.statistics(name, facts, figures, now)
    if form == "table":
        span = "since ever" if name.kpi.event == "stream" else f"the last {window}"
        shown.print_statistics(name.name, span, found, sys.stdout)
        return 0
    return _print(FORMATS[form](name, found).rstrip("\n"))


def seconds(window: str) -> float:
    """A window in seconds.

    >>> seconds("1h30m")
    5400.0
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhdw])", window)
    if not parts or "".join(number + unit for number, unit in parts) != window:
        raise UsageError(f"--window {window!r}: want a number with a unit, such as 90s, 15m, 1h, 7d")
    if (total := sum(float(number) * _UNITS[unit] for number, unit in parts)) == 0:
        raise UsageError(f"--window {window!r}: want more than no time, such as 90s, 15m, 1h, 7d")
    return total


def run_object(record: RunRecord, stages: Sequence[Stage]) -> dict[str, Any]:
    """One run as ``runs --json`` has it (docs/store.md): what is not known is null, as is the end of an open run."""
    run = record.run
    return {
        "pipeline": record.pipeline,
        "run_id": record.run_id,
        "attempt": run.attempt if run is not None else None,
        "backfill": record.backfill,
        "result": run.result if run is not None else None,
        "started": iso(record.started),
        "ended": iso(run.ended) if run is not None else None,
        "duration": run.duration if run is not None else None,
        "stages": [_stage_object(stage) for stage in stages],
    }


def _stage_object(stage: Stage) -> dict[str, Any]:
    records = stage.records
    return {
        "name": stage.name,
        "result": stage.result,
        "duration": stage.duration,
        "self": stage.self_time,
        "records": {
            "in": records.in_,
            "out": records.out,
            "failed": records.failed,
            "dropped": records.dropped,
            "duplicate": records.duplicate,
        },
    }


def breach_object(breach: Breach) -> dict[str, Any]:
    """What was not as expected, as ``show --json`` has it: durations in seconds."""
    numbers: dict[str, float | None] = {"value": breach.value, "low": breach.low, "high": breach.high}
    if breach.kind in ("too_fast", "too_slow"):
        numbers = {name: None if number is None else number / 1e9 for name, number in numbers.items()}
    return {
        "what": breach.kind,
        "since": iso(breach.since),
        "resolved": iso(breach.resolved),
        **numbers,
        "learned": breach.learned,
    }


def _shown_object(
    record: RunRecord,
    stages: Sequence[Stage],
    before: tuple[RunRecord, Sequence[Stage]] | None,
    unmet: Sequence[Breach],
) -> dict[str, Any]:
    run = record.run
    return {
        **run_object(record, stages),
        "error": None
        if run is None or (run.error_type is None and run.error_message is None)
        else {"type": run.error_type, "message": run.error_message, "stage": run.error_stage},
        "datasets": [
            {"name": d.name, "operation": d.operation, "records": d.records, "bytes": d.bytes, "watermark": d.watermark}
            for stage in stages
            for d in stage.datasets
        ],
        "checks": [
            {"name": c.name, "dataset": c.dataset, "kind": c.kind, "passed": c.passed, "failed": c.failed}
            for stage in stages
            for c in stage.checks
        ],
        "operations": [
            {"stage": stage.name, "name": o.name, "count": o.count, "errors": o.errors, "self": o.self_time}
            for stage in stages
            for o in stage.operations
        ],
        "unexpected": [breach_object(breach) for breach in unmet],
        "last_good": None if before is None else run_object(*before),
    }


@contextlib.contextmanager
def _reader() -> Iterator[Reader]:
    """A reader of what there is now. What could not be brought in is said, and the rest is read nevertheless."""
    settings = config.load()
    store = opened(settings)
    try:
        drained = drain(embedded_folder(settings), store)
        if drained.busy:
            _say("another process is bringing in the queues; what follows may lack the latest runs")
        if not store.read_only:
            store.forget(most=2)
    except (StoreError, OSError) as error:
        _say(f"the queues were not brought in: {error}")
    try:
        tick(store, file=_declared())
    except StoreError as error:
        _say(f"expectations were not looked at: {error}")
    with store.reading() as reader:
        yield reader


def _declared() -> Mapping[str, str] | None:
    try:
        return declared_in_file()
    except ExpectationError as error:
        _say(f"{error}; what the file says of pipelines is left out")
        return None


def _say(text: str) -> None:
    sys.stderr.write(f"otel-pipeline: {text}\n")


def _unknown(text: str) -> int:
    _say(text)
    return 1


def _print(text: str) -> int:
    sys.stdout.write(f"{text}\n")
    return 0
