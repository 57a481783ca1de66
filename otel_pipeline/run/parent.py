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
from typing import TYPE_CHECKING, Any, Protocol

from otel_pipeline.instrument.naming import name_from
from otel_pipeline.run import ending, environment
from otel_pipeline.run.supervise import supervise
from otel_pipeline.sdk.handover import Report, read
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

    from otel_pipeline.model import Run, Stage
    from otel_pipeline.run.environment import Identity
    from otel_pipeline.run.supervise import Ended

EXIT_TIMEOUT = 2.0
"""Seconds that sending may take when the command has ended."""

_GRACE = 0.5  # for what is not sending: to set up, make one span and stop


class Telemetry(Protocol):
    """What the parent needs of ``sdk.setup.Handle``."""

    @property
    def tracer_provider(self) -> TracerProvider:
        """Makes the run's span."""

    def flush(self, timeout: float) -> Any:
        """Send what there is, for at most ``timeout`` seconds."""

    def shutdown(self) -> Any:
        """Stop."""


def run(
    command: Sequence[str],
    *,
    name: str | None = None,
    quiet: bool = False,
    exit_timeout: float = EXIT_TIMEOUT,
    environ: Mapping[str, str] | None = None,
    telemetry: Callable[[Mapping[str, str]], Telemetry] | None = None,
    summary: Callable[[Run, Sequence[Stage]], None] | None = None,
) -> Ended:
    """Run ``command`` as one run and say how it ended; hand that to ``leave``.

    ``name`` names a run that no pipeline of the command takes over (else ``OTEL_PIPELINE_NAME``, else the command
    does); ``quiet`` leaves out the summary; ``exit_timeout`` bounds the sending, in seconds. ``environ`` is the
    process's unless given; ``telemetry`` sets up the sending by the settings that the command's process used, and
    ``summary`` prints, for tests.

    Nothing of ours that fails changes how the command runs or ends: it is one line on stderr.
    """
    environ = os.environ if environ is None else environ
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return _supervise(command, environ, _let_go_of_streams)
    identity = environment.identify(environ)
    loading = threading.Thread(target=_load, daemon=True)
    with _handover_folder() as folder:
        told = environment.command_environment(environ, identity, handover=folder, name=name)
        ended = _supervise(command, told, lambda: _while_it_runs(loading))
        report = read(folder) if folder else Report()
    run_name = name or environ.get(environment.NAME) or name_from(command)
    the_run = ending.conclude(identity, run_name, ended, report)
    outcome = _Outcome(the_run, report, identity, command[0], environ)
    sender = threading.Thread(
        target=_guarded, args=("send the run", outcome.send, telemetry, exit_timeout), daemon=True
    )
    if loading.ident is not None:
        loading.join()
    sender.start()
    if not quiet:
        _guarded("show the summary", outcome.show, summary)
    sender.join(exit_timeout + _GRACE)
    if sender.is_alive():
        _say(f"the run could not be sent within {exit_timeout:g} s")
    return ended


@dataclass(frozen=True)
class _Outcome:
    """The run and what it came from, on its way out."""

    run: Run
    report: Report
    identity: Identity
    program: str
    environ: Mapping[str, str]

    def send(self, telemetry: Callable[[Mapping[str, str]], Telemetry] | None, timeout: float) -> None:
        """Make the run's span and send it."""
        from otel_pipeline.sdk.emit import emit_run  # noqa: PLC0415 - the command must not wait for the SDK to load

        handle = (telemetry or _telemetry)(self._settings())
        attributes = {a.PROCESS_COMMAND: self.program, **dict(self.report.attributes)}
        if self.identity.parent_run_id:
            attributes[a.RUN_PARENT_ID] = self.identity.parent_run_id
        emit_run(handle.tracer_provider, self.run, self._parent(), self.report.exception, attributes)
        handle.flush(timeout)
        handle.shutdown()

    def show(self, summary: Callable[[Run, Sequence[Stage]], None] | None) -> None:
        """Print the run and its own stages; those of runs below it have their own."""
        stages = [stage for stage in self.report.stages if stage.run_id in (None, self.run.run_id)]
        (summary or _summary)(self.run, stages)
        if self.report.left_out:
            _say(f"{self.report.left_out} stages are not in the summary, which is bounded")

    def _settings(self) -> dict[str, str]:
        told = dict(self.report.service)
        named = self.environ.get("OTEL_SERVICE_NAME") or "service.name=" in self.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        return told if named else {"service_name": self.run.pipeline, **told}

    def _parent(self) -> Context | None:
        from opentelemetry import trace  # noqa: PLC0415 - see send()

        if self.identity.parent_span_id is None:
            return None
        flags = trace.TraceFlags(int(self.identity.flags, 16))
        ids = (int(self.identity.trace_id, 16), int(self.identity.parent_span_id, 16))
        return trace.set_span_in_context(trace.NonRecordingSpan(trace.SpanContext(*ids, True, flags)))


def _telemetry(settings: Mapping[str, str]) -> Telemetry:
    from otel_pipeline.sdk.setup import setup  # noqa: PLC0415 - see _Outcome.send()

    return setup(script_run=False, **settings)


def _summary(run: Run, stages: Sequence[Stage]) -> None:
    from otel_pipeline.terminal import print_summary  # noqa: PLC0415 - see _Outcome.send()

    print_summary(run, stages, file=sys.stderr)


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


def _guarded(doing: str, action: Callable[..., None], *arguments: Any) -> None:
    try:
        action(*arguments)
    except Exception as error:  # noqa: BLE001 - telemetry never changes how a command ends
        first_line = (str(error).splitlines() or [""])[0]
        _say(f"cannot {doing}: {type(error).__name__}: {first_line}")


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"otel-pipeline: {text}\n")
        sys.stderr.flush()
