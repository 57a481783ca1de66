"""The parent's course: start the command, wait, make the run of what is known, send it, say it."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from otel_pipeline import config
from otel_pipeline.instrument.naming import name_from
from otel_pipeline.run import ending, environment
from otel_pipeline.run.supervision import supervise
from otel_pipeline.sdk.handover import Report, hold, read
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

    from otel_pipeline.model import Run, Stage
    from otel_pipeline.run.environment import Identity
    from otel_pipeline.run.supervision import Ended

_Value = TypeVar("_Value")

_GRACE = 1.0  # seconds for what is not sending: to set up, make one span and stop


class Telemetry(Protocol):
    """What the parent needs of ``sdk.handle.Handle``."""

    @property
    def tracer_provider(self) -> TracerProvider | None:
        """Makes the run's span; none where telemetry is turned off."""

    def shutdown(self) -> Any:
        """Send what there is, within the exit timeout that it was set up with, and stop."""


def run(
    command: Sequence[str],
    *,
    name: str | None = None,
    quiet: bool = False,
    exit_timeout: float | None = None,
    environ: Mapping[str, str] | None = None,
    telemetry: Callable[[Mapping[str, Any]], Telemetry] | None = None,
    summary: Callable[[Run, Sequence[Stage]], None] | None = None,
) -> Ended:
    """Run ``command`` as one run and say how it ended; hand that to ``leave``.

    ``name`` names a run that no pipeline of the command takes over (else the setting ``name``, else the command does);
    ``quiet`` leaves out the summary; ``exit_timeout`` bounds the sending, in seconds (else the setting). ``environ`` is
    the process's unless given. For tests, ``telemetry`` sets up the sending, and ``summary`` prints.

    Nothing of ours that fails changes how the command runs or ends: it is one line on stderr. To be called in a process
    of its own: its signals stay blocked, its standard input and output are let go.
    """
    environ = config.environment() if environ is None else environ
    if config.sdk_disabled(environ):
        return _supervise(command, environ, _let_go_of_streams)
    identity = environment.identify(environ)
    loading = threading.Thread(target=_load, daemon=True)
    with _handover_folder() as folder:
        told = environment.command_environment(environ, identity, handover=folder, name=name)
        ended = _supervise(command, told, lambda: _while_it_runs(loading))
        report = (_guarded("read what the command told", read, folder) if folder else None) or Report()
        if loading.ident is not None:
            loading.join()

        def finish() -> None:
            # What is wrong in a setting, the command's process has said, or setup() says.
            settings = config.load({"name": name, "exit_timeout": exit_timeout}, environ, say=lambda line: None)
            run_name = settings.name or name_from(command)
            the_run = ending.conclude(identity, run_name, ended, report)
            if ended.signal is not None and settings.progress != "never":
                _sweep()
            service = {"service_name": settings.service_name or run_name, **dict(report.service)}
            shown = None if quiet or settings.summary == "never" else summary or _summary
            outcome = _Outcome(the_run, report, identity, command[0], service, settings.exit_timeout)
            outcome.go_out(telemetry or _telemetry, shown)

        # The folder stays until the run's span is on disk: while it is held, nobody else closes the run as lost.
        _guarded("report the run", finish)
    return ended


@dataclass(frozen=True)
class _Outcome:
    """The run and what it came from, on its way out."""

    run: Run
    report: Report
    identity: Identity
    program: str
    service: Mapping[str, str]
    exit_timeout: float

    def go_out(
        self,
        telemetry: Callable[[Mapping[str, Any]], Telemetry],
        summary: Callable[[Run, Sequence[Stage]], None] | None,
    ) -> None:
        """Send the run and print it, both at once; wait for the sending no longer than the exit timeout."""
        sender = threading.Thread(target=_guarded, args=("send the run", self._send, telemetry), daemon=True)
        sender.start()
        if summary is not None:
            _guarded("show the summary", self._show, summary)
        sender.join(self.exit_timeout + _GRACE)
        if sender.is_alive():
            _say(f"the run could not be sent within {self.exit_timeout:g} s")

    def _send(self, telemetry: Callable[[Mapping[str, Any]], Telemetry]) -> None:
        from otel_pipeline.sdk.emit import emit_run  # noqa: PLC0415 - the command must not wait for the SDK to load
        from otel_pipeline.sdk.lost import close_lost  # noqa: PLC0415

        handle = telemetry({**self.service, "exit_timeout": self.exit_timeout})
        if handle.tracer_provider is None:
            return
        attributes = {a.PROCESS_COMMAND: self.program, **dict(self.report.attributes)}
        if self.identity.parent_run_id:
            attributes[a.RUN_PARENT_ID] = self.identity.parent_run_id
        emit_run(handle.tracer_provider, self.run, self._parent(), self.report.exception, attributes)
        if (sender := getattr(handle, "sender", None)) is not None:
            close_lost(sender.queue, closed=frozenset((self.run.span_id,)))
        handle.shutdown()

    def _show(self, summary: Callable[[Run, Sequence[Stage]], None]) -> None:
        # The stages of runs below it are in their own summaries.
        summary(self.run, [stage for stage in self.report.stages if stage.run_id in (None, self.run.run_id)])
        if self.report.left_out:
            _say(f"{self.report.left_out} stages are not in the summary, which is bounded")

    def _parent(self) -> Context | None:
        from opentelemetry import trace  # noqa: PLC0415 - see _send()

        if self.identity.parent_span_id is None:
            return None
        flags = trace.TraceFlags(int(self.identity.flags, 16))
        ids = (int(self.identity.trace_id, 16), int(self.identity.parent_span_id, 16))
        return trace.set_span_in_context(trace.NonRecordingSpan(trace.SpanContext(*ids, True, flags)))


def _telemetry(settings: Mapping[str, Any]) -> Telemetry:
    from otel_pipeline.sdk.setup import parent  # noqa: PLC0415 - see _Outcome._send()

    told = ("service_name", "version", "environment", "endpoint", "protocol", "queue_dir", "exit_timeout")
    # This process is not the pipeline: it has one span to send, nothing to instrument, and prints by itself.
    own: dict[str, Any] = {"script_run": False, "instrument": False, "logs": False, "handle_signals": False}
    quiet = {"summary": "never", "progress": "never"}
    return parent({key: settings.get(key) for key in told} | own | quiet)


def _summary(run: Run, stages: Sequence[Stage]) -> None:
    from otel_pipeline.terminal import print_summary  # noqa: PLC0415 - see _Outcome._send()

    print_summary(run, stages, file=sys.stderr)


def _sweep() -> None:
    from otel_pipeline.sdk import screen  # noqa: PLC0415 - see _Outcome._send()

    screen.sweep()


def _load() -> None:
    """Load the SDK while the command runs, so that its end need not wait for that."""
    with contextlib.suppress(Exception):  # it comes again where it is used, and is reported there
        importlib.import_module("otel_pipeline.sdk.setup")


def _supervise(command: Sequence[str], environ: Mapping[str, str], started: Callable[[], None]) -> Ended:
    ended = supervise(command, environ, started=started)
    if ended.problem is not None:
        _say(ended.problem)
    return ended


@contextlib.contextmanager
def _handover_folder() -> Iterator[str | None]:
    """A folder that only this user can read; without a place for one the run's processes cannot tell of it."""
    try:
        folder = tempfile.mkdtemp(prefix="otel-pipeline-")
    except OSError as error:
        _say(f"cannot learn from the command's processes: no temporary folder: {error}")
        yield None
        return
    with contextlib.suppress(OSError):
        hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _while_it_runs(loading: threading.Thread) -> None:
    _let_go_of_streams()
    loading.start()


def _let_go_of_streams() -> None:
    """Keep no end of the command's pipes open: who reads its output must see the end when the command closes it.

    What the parent itself prints goes to stderr.
    """
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)


def _guarded(doing: str, action: Callable[..., _Value], *arguments: Any) -> _Value | None:
    try:
        return action(*arguments)
    except Exception as error:  # noqa: BLE001 - telemetry never changes how a command ends
        first_line = (str(error).splitlines() or [""])[0]
        _say(f"cannot {doing}: {type(error).__name__}: {first_line}")
        return None


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"otel-pipeline: {text}\n")
        sys.stderr.flush()
