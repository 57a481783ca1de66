"""Plays one case: starts the program, breaks and mends its Collector, ends it, drains its queue, and compares.

::

    start ─► gate "outage" ─► gate "recovery" ─► the end ─► status as without us?
          ─► arrived + queued = ended? ─► drain ─► arrived = ended, each once? folder empty? counts right?
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..clients import eventually
from . import truth
from .arrived import in_jaeger, in_queue, left_over
from .collectors import COLLECTORS, GENEROUS, Failing
from .matrix import ENDS, Case, End

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..clients import Jaeger, JaegerSpan, Prometheus
    from ..servers import Program, Server

PROGRAM = Path(__file__).with_name("program.py")
OTEL_PIPELINE = Path(sys.executable).with_name("otel-pipeline")
NEXT_PROCESS = "import otel_pipeline as op; op.setup(script_run=False)"
PATIENCE = 30.0
T = TypeVar("T")


@dataclass(frozen=True)
class Backends:
    """The real servers that all cases share, and how to launch one more."""

    gateway: Server
    jaeger: Jaeger
    prometheus: Prometheus
    stores: Mapping[str, str]
    launch: Callable[[Program, Mapping[str, str]], Server]


@dataclass
class Outcome:
    """What came of a case: `problems` in words, none when all is well; spans `ended`, and how many of them were
    `queued` when the last process had gone; `status` as `subprocess` gives it."""

    problems: list[str] = field(default_factory=list)
    status: int | None = None
    ended: int = 0
    queued: int = 0


@functools.cache
def memory_cgroup() -> tuple[str, ...]:
    """The command before a command whose memory the kernel bounds; empty where the machine does not allow it."""
    user = () if os.getuid() == 0 else ("--user",)
    limits = ("-p", "MemoryMax=96M", "-p", "MemorySwapMax=0", "-p", "OOMPolicy=continue")
    command = ("systemd-run", *user, "--scope", "--quiet", "--collect", *limits, "--")
    try:
        tried = subprocess.run(
            [*command, "true"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if tried.returncode == 0 else ()


def _end_of(case: Case) -> End:
    end = ENDS[case.end]
    return replace(end, argument="eat memory", sent=None) if case.end == "OOM" and memory_cgroup() else end


def status_without_us(end: str, folder: Path) -> tuple[int | None, int]:
    """How the same program ends by itself: its status, and how many tracebacks it prints. Tried once per folder."""
    with _plain_lock:
        return _status_without_us(end, folder)


_plain_lock = threading.Lock()


@functools.cache
def _status_without_us(end: str, folder: Path) -> tuple[int | None, int]:
    case = Case(end, parent=False, collector="up")
    with _Started(case, folder / f"plain {end}", {}, plain=True) as started:
        started.pass_gates(lambda: None, lambda: None)
        started.end()
        return started.status(), started.tracebacks()


def play(case: Case, backends: Backends, folder: Path, service: str) -> Outcome:
    """Play one case in `folder`; `service` is a name that no other case uses. Raises nothing: what fails is a problem.

    Several may be played at once, each in a thread.
    """
    outcome = Outcome()
    try:
        with COLLECTORS[case.collector](backends.gateway, backends.launch, backends.stores, case.protocol) as collector:
            _play(case, backends, folder, service, collector, outcome)
    except Exception as error:  # a case that breaks must not take the others with it
        outcome.problems.append(f"{type(error).__name__}: {error}")
    return outcome


def _play(  # noqa: PLR0917 - what a case is played with
    case: Case, backends: Backends, folder: Path, service: str, collector: Failing, outcome: Outcome
) -> None:
    environment = {
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint(),
        "OTEL_EXPORTER_OTLP_PROTOCOL": case.protocol,
        "OTEL_PIPELINE_QUEUE_DIR": str(folder / "queue"),
    }
    with _Started(case, folder, environment) as started:
        check = _Check(case, backends, folder, service)

        def arrived() -> None:
            eventually(check.arrived, within=GENEROUS)

        started.pass_gates(lambda: collector.outage(arrived), lambda: collector.recovery(arrived))
        started.end()
        outcome.status = started.status()
    # A test's folder is its own; the plain runs of a session share one.
    same = status_without_us(case.end, folder.parent)
    if (outcome.status, started.tracebacks()) != same:
        found = f"status {outcome.status} and {started.tracebacks()} tracebacks"
        outcome.problems.append(f"{found}; without us {same[0]} and {same[1]}\n{started.tail()}")
    check.learn(started.account())
    outcome.ended = len(check.ended)
    outcome.queued = check.before_drain(outcome.problems)
    if case.collector == "refusing":
        up = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.gateway.url(collector.port)}
        outcome.problems += _drain_by_next_process(folder, environment | up)
    else:
        outcome.problems += drain(folder / "queue", collector.afterwards())
    check.after_drain(outcome.problems)


class _Started:
    """The program, running; a context manager that leaves no process behind."""

    def __init__(self, case: Case, folder: Path, environment: Mapping[str, str], *, plain: bool = False) -> None:
        self._end = _end_of(case)
        self._gates = folder / "gates"
        self._gates.mkdir(parents=True)
        self._log = folder / "output"
        self._truth = folder / "truth"
        command = [sys.executable, str(PROGRAM), self._end.argument, "--truth", str(self._truth)]
        command += ["--gates", str(self._gates), *(["--plain"] if plain else [])]
        if case.parent:
            command = [str(OTEL_PIPELINE), "run", "--", *command]
        if case.end == "OOM":
            command = [*memory_cgroup(), *command]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                # Where the parent leaves its folder when it is killed as well.
                env={**_clean_environment(), **environment, "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> _Started:
        return self

    def __exit__(self, *_: object) -> None:
        # Its own session, and so a group with only what this program has started.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def account(self) -> list[truth.Line]:
        """What it has said so far."""
        return truth.read(self._truth)

    def pass_gates(self, outage: Callable[[], object], recovery: Callable[[], object]) -> None:
        """Let it through both gates, each after the call that belongs to it."""
        for name, call in (("outage", outage), ("recovery", recovery)):
            self._wait_for(truth.AT_GATE, name)
            call()
            (self._gates / name).touch()

    def end(self) -> None:
        """Send the signal that ends it, if one does."""
        if self._end.sent is not None:
            held = self._wait_for(truth.HELD)
            if self._end.to_all:
                os.killpg(self._process.pid, self._end.sent)
            else:
                os.kill(held.pid if self._end.to_child else self._process.pid, self._end.sent)

    def status(self) -> int | None:
        """Its status when it has ended; None when it hangs."""
        try:
            return self._process.wait(GENEROUS)
        except subprocess.TimeoutExpired:
            return None

    def tracebacks(self) -> int:
        """How many exceptions its output shows."""
        return self._log.read_text(errors="replace").count("Traceback (most recent call last)")

    def tail(self) -> str:
        """The end of its output."""
        return self._log.read_text(errors="replace")[-2000:]

    def _wait_for(self, event: str, name: str = "") -> truth.Line:
        def said() -> list[truth.Line]:
            return [line for line in self.account() if (line.event, line.name) == (event, name)]

        eventually(lambda: said() or self._process.poll() is not None, within=GENEROUS)
        if not (lines := said()):
            raise AssertionError(f"ended before {event!r} {name!r}\n{self.tail()}")
        return lines[0]


class _Check:
    """Compares the truth with the stores and the queue."""

    def __init__(self, case: Case, backends: Backends, folder: Path, service: str) -> None:
        self._case = case
        self._backends = backends
        self._queue = folder / "queue"
        self._service = service

    def learn(self, lines: list[truth.Line]) -> None:
        """What the program said, when it has ended."""
        self._lines = lines
        self._opened = truth.spans(lines, "opened")
        self.ended = truth.spans(lines, truth.ENDED)
        self._whole = {span_id: name for span_id, name in self._opened.items() if name == "run whole"}
        seen = self._case.parent and not ENDS[self._case.end].to_all
        self._vanished = not seen and not self._whole.keys() <= self.ended.keys()
        if not self._vanished:
            # The parent makes the span of the run that the program took over, however the program ended.
            self.ended |= self._whole

    def before_drain(self, problems: list[str]) -> int:
        """What arrived and what the queue holds is what has ended; returns how much of that the queue holds."""

        def lacking() -> tuple[set[str], int]:
            # The queue first: what a late sender takes from it meanwhile has then arrived.
            queued = {span_id for held in in_queue(self._queue) for span_id, _ in held.spans}
            return set(self.ended) - queued - {span.span_id for span in self.arrived()}, len(queued)

        lost, queued = _patiently(lacking, lambda found: not found[0])
        if lost:
            problems.append(f"neither arrived nor queued: {self._names(lost)}")
        for held in in_queue(self._queue):
            if not held.readable:
                problems.append(f"{held.path.name} is damaged: {held.corrupt_bytes} bytes")
            if strangers := {span_id for span_id, _ in held.spans} - set(self._opened):
                problems.append(f"queued though never opened: {len(strangers)}")
        return queued

    def after_drain(self, problems: list[str]) -> None:
        """What has ended has arrived, each once, and nothing else; the counts are right.

        A run whose process nobody saw vanish is closed as lost by whoever drains.
        """
        self.ended |= self._whole
        spans = _patiently(self.arrived, lambda spans: set(self.ended) <= {span.span_id for span in spans})
        times = Counter(span.span_id for span in spans)
        if lost := set(self.ended) - set(times):
            problems.append(f"did not arrive: {self._names(lost)}")
        if twice := [span_id for span_id, count in times.items() if count > 1]:
            problems.append(f"arrived more than once: {self._names(twice)}")
        if strangers := [span.name for span in spans if span.span_id not in self._opened]:
            problems.append(f"arrived though never opened: {Counter(strangers)}")
        if renamed := [span.name for span in spans if self._opened.get(span.span_id, span.name) != span.name]:
            problems.append(f"arrived under another name: {renamed}")
        if names := left_over(self._queue):
            problems.append(f"left in the queue's folder: {names}")
        self._results(spans, problems)
        if ENDS[self._case.end].orderly:
            self._records(problems)

    def _results(self, spans: list[JaegerSpan], problems: list[str]) -> None:
        want = "lost" if self._vanished else ENDS[self._case.end].result
        found = [span.tags.get("pipeline.run.result") for span in spans if span.name == "run whole"]
        if found != [want]:
            problems.append(f"the result of the run is {found}, want {want}")

    def _records(self, problems: list[str]) -> None:
        want = sum(line.records for line in self._lines if line.event == truth.ENDED)
        records = f'pipeline_stage_records_total{{job="{self._service}",pipeline_record_status="in"}}'
        query = f"sum(last_over_time({records}[1h]))"
        found = _patiently(lambda: self._backends.prometheus.value(query), lambda value: value == want)
        if found != want:
            problems.append(f"Prometheus has {found} records, want {want}")

    def arrived(self) -> list[JaegerSpan]:
        """What is in Jaeger."""
        return in_jaeger(self._backends.jaeger, self._service)

    def _names(self, span_ids: set[str] | list[str]) -> str:
        names = Counter(self._opened.get(span_id, "?") for span_id in span_ids)
        return ", ".join(f"{count} × {name}" for name, count in sorted(names.items()))


def drain(folder: Path, url: str) -> list[str]:
    """Deliver what a queue folder holds, as people and cron do; what is wrong with that, in words."""
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_PIPELINE_QUEUE_DIR": str(folder)}
    command = [str(OTEL_PIPELINE), "queue", "drain", "--timeout", str(GENEROUS)]
    ended = subprocess.run(
        command, env=_clean_environment() | told, capture_output=True, text=True, timeout=GENEROUS * 2, check=False
    )
    bad = ended.returncode or ended.stderr
    return [f"the drain ended with {ended.returncode}: {ended.stdout} {ended.stderr[-1000:]}"] if bad else []


def _drain_by_next_process(folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Start another process with the same queue, which does nothing itself."""
    command = [sys.executable, "-c", NEXT_PROCESS]
    told = {**_clean_environment(), **environment, "OTEL_PIPELINE_EXIT_TIMEOUT": str(GENEROUS)}
    ended = subprocess.run(
        command, env=told, cwd=folder, capture_output=True, text=True, timeout=GENEROUS * 2, check=False
    )
    bad = ended.returncode or ended.stderr
    return [f"the next process ended with {ended.returncode}: {ended.stderr[-1000:]}"] if bad else []


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}


def _patiently(call: Callable[[], T], until: Callable[[T], object]) -> T:
    """`call`'s result when `until` accepts it, else its last one, which the caller judges."""
    deadline = time.monotonic() + PATIENCE
    while True:
        result = call()
        if until(result) or time.monotonic() > deadline:
            return result
        time.sleep(0.1)
