"""What a command's process tells its parent ``otel-pipeline run`` about the run, by a folder that both know.

::

    the command's processes                          the parent, when the command has ended
      claim()          ──► FOLDER/claim    ─────┐
      run_started …    ──► FOLDER/events.jsonl ─┴──► read() ─► Report

``claim`` is created exclusively: the first pipeline of the first process gets the run. ``events.jsonl`` has one JSON
object a line, each appended by one write, so that several processes share the file and a process that dies at any
moment loses at most the line that it was writing. Nothing here raises into the process that is watched. Secrets are
masked, but in what the parent needs to send: where to, and how.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from otel_pipeline import masking, model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CLAIM = "claim"
_EVENTS = "events.jsonl"
_HOLDER = "parent"
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)

STAGE_EVENTS_LIMIT = 20_000
"""Stage events that one process writes: a script with a stage per record must not fill the temporary folder, which is
often memory. The rest are counted in ``Handover.left_out``; the stages' spans are exported all the same."""

_Value = TypeVar("_Value")
ExceptionData = tuple[str, str, str]
"""Type, message and stack trace of an exception."""


class Handover:
    """The writing side, in the command's process.

    It keeps no file open: a program that closes every descriptor (a daemon does) and opens its own would else get our
    lines into its files. For the same reason a fork needs no care.
    """

    def __init__(self, folder: str | os.PathLike[str], *, stage_events_limit: int = STAGE_EVENTS_LIMIT) -> None:
        self._folder = Path(folder)
        self._stage_events = 0
        self._limit = stage_events_limit
        self.failed = 0
        """Events that could not be written, such as on a full disk."""
        self.left_out = 0
        """Stage events beyond the limit."""

    @property
    def holder(self) -> str:
        """The file that the parent keeps locked while it lives."""
        return str(self._folder / _HOLDER)

    def claim(self) -> bool:
        """Whether this run is now the caller's: true once per folder; false for all others, or without a folder."""
        try:
            descriptor = os.open(self._folder / _CLAIM, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            return False
        with contextlib.suppress(OSError):
            os.write(descriptor, str(os.getpid()).encode())
        os.close(descriptor)
        return True

    def service(self, settings: Mapping[str, str | None]) -> None:
        """What this process is set up with, so that the parent's span is of the same service.

        May be told again: the last word of the process that claimed the run counts, else the first of any process.
        """
        self._write({"event": "service", "settings": dict(settings), "process": os.getpid()})

    def run_started(self, name: str, *, attempt: int = 1, backfill: bool = False) -> None:
        """The claimed run began, as the pipeline ``name``."""
        self._append("run_started", name=name, attempt=attempt, backfill=backfill)

    def stage_started(self, span_id: str, name: str) -> None:
        """A stage began; ``span_id`` in hexadecimal, as in ``Stage.span_id``."""
        self._append_stage("stage_started", span_id=span_id, name=name)

    def stage_ended(self, stage: model.Stage) -> None:
        """A stage ended."""
        self._append_stage("stage_ended", stage=asdict(stage))

    def run_ended(
        self,
        run: model.Run,
        exception: ExceptionData | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """The claimed run ended; ``attributes`` are the user's own on it."""
        self._append(
            "run_ended",
            run=asdict(run),
            exception=exception,
            attributes=dict(attributes or {}),
            left_out=self.left_out,
        )

    def _append_stage(self, event: str, **data: Any) -> None:
        if self._stage_events >= self._limit:
            self.left_out += 1
            return
        self._stage_events += 1
        self._append(event, **data)

    def _append(self, event: str, **data: Any) -> None:
        try:
            self._write({"event": event, **masking.inside(data)})
        except Exception:  # noqa: BLE001 - an attribute of the user's may do anything
            self.failed += 1

    def _write(self, event: dict[str, Any]) -> None:
        try:
            text = json.dumps(event, separators=(",", ":"), default=str)
            # The newline before it parts the line from one that a full disk or a death has torn.
            line = f"\n{text}\n".encode("utf-8", "backslashreplace")
            descriptor = os.open(self._folder / _EVENTS, _APPEND, 0o600)
            try:
                if os.write(descriptor, line) < len(line):
                    self.failed += 1
            finally:
                os.close(descriptor)
        except (OSError, TypeError, ValueError, RecursionError):
            self.failed += 1


def hold(folder: str | os.PathLike[str]) -> None:
    """Say, for as long as this process lives, that it makes the span of the folder's run. Raises OSError."""
    with contextlib.suppress(ImportError):
        import fcntl  # noqa: PLC0415 - not on Windows

        fcntl.flock(os.open(Path(folder) / _HOLDER, os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_EX)


@dataclass(frozen=True)
class Report:
    """What the command's processes told.

    ``run`` is there when the claimed run told its end, ``name`` when it told its start. ``open_stages`` are the names
    of the stages that began and did not end, in the order of their beginning.
    """

    claimed: bool = False
    name: str | None = None
    attempt: int = 1
    backfill: bool = False
    run: model.Run | None = None
    exception: ExceptionData | None = None
    attributes: tuple[tuple[str, Any], ...] = ()
    stages: tuple[model.Stage, ...] = ()
    open_stages: tuple[str, ...] = ()
    service: tuple[tuple[str, str], ...] = ()
    left_out: int = 0


def read(folder: str | os.PathLike[str]) -> Report:
    """What was told in ``folder``; lines that are torn or of another shape are passed over."""
    events = list(_events(Path(folder) / _EVENTS))
    ended = _last(events, "run_ended")
    started = _last(events, "run_started")
    service = _service(events, Path(folder) / _CLAIM)
    stages = tuple(stage for event in events if (stage := _stage(event.get("stage"))))
    name, nothing = _get(started, "name", ""), dict[str, Any]()
    return Report(
        claimed=(Path(folder) / _CLAIM).exists(),
        name=name or None,
        attempt=_get(started, "attempt", 1),
        backfill=_get(started, "backfill", False),
        run=_run(ended.get("run")),
        exception=_exception(ended.get("exception")),
        attributes=tuple(_get(ended, "attributes", nothing).items()),
        stages=stages,
        open_stages=_open_stages(events, stages),
        service=tuple(
            (key, value) for key, value in _get(service, "settings", nothing).items() if isinstance(value, str)
        ),
        left_out=_get(ended, "left_out", 0),
    )


def _events(file: Path) -> Iterable[dict[str, Any]]:
    try:
        text = file.read_text("utf-8", errors="replace")
    except OSError:
        return
    # Not splitlines(): a message may hold other line separators of Unicode.
    for line in text.split("\n"):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event


def _last(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next((event for event in reversed(events) if event["event"] == name), {})


def _service(events: list[dict[str, Any]], claim: Path) -> dict[str, Any]:
    told = [event for event in events if event["event"] == "service"]
    try:
        claimant = int(claim.read_text("ascii"))
    except (OSError, ValueError):
        claimant = None
    claimants = [event for event in told if event.get("process") == claimant]
    return claimants[-1] if claimants else told[0] if told else {}


def _open_stages(events: list[dict[str, Any]], ended: tuple[model.Stage, ...]) -> tuple[str, ...]:
    started = [event for event in events if event["event"] == "stage_started"]
    open_ = {_get(event, "span_id", ""): _get(event, "name", "") for event in started}
    open_.pop("", None)
    for stage in ended:
        open_.pop(stage.span_id, None)
    return tuple(open_.values())


def _get(event: dict[str, Any], key: str, default: _Value) -> _Value:
    value = event.get(key)
    return value if isinstance(value, type(default)) else default


def _exception(data: Any) -> ExceptionData | None:
    if not isinstance(data, list) or len(data) != 3 or not all(isinstance(part, str) for part in data):
        return None
    return (data[0], data[1], data[2])


def _run(data: Any) -> model.Run | None:
    return _value(model.Run, data, not_started=tuple, open_stages=tuple)


def _stage(data: Any) -> model.Stage | None:
    return _value(
        model.Stage,
        data,
        records=lambda value: _value(model.Records, value) or model.Records(),
        upstream=tuple,
        datasets=lambda values: _values(model.Dataset, values),
        checks=lambda values: _values(model.Check, values),
        record_errors=lambda values: _values(model.RecordError, values, keys=tuple, values=tuple),
        operations=lambda values: _values(model.Operation, values),
    )


def _values(type_: type[_Value], data: Any, **parts: Any) -> tuple[_Value, ...]:
    return tuple(value for item in data if (value := _value(type_, item, **parts)) is not None)


def _value(type_: type[_Value], data: Any, **parts: Any) -> _Value | None:
    """A value of ``type_``, its fields converted by ``parts``; fields that only another version knows are left out."""
    if not isinstance(data, dict):
        return None
    known = {field.name for field in fields(type_)}  # type: ignore[arg-type]
    chosen = {key: value for key, value in data.items() if key in known}
    try:
        return type_(**{key: parts[key](value) if key in parts else value for key, value in chosen.items()})
    except (TypeError, ValueError):
        return None
