"""The whole matrix of ends, parents and Collectors, before the real servers: see `tests/e2e/ends/matrix.py`."""

from __future__ import annotations

import sys
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..e2e.clients import Jaeger, Prometheus
from ..e2e.ends.matrix import CASES, COLLECTORS, ENDS, Case, known
from ..e2e.ends.play import Backends, Outcome, memory_cgroup, play
from ..e2e.servers import GATEWAY, JAEGER, PROMETHEUS, VICTORIALOGS, Program, Server
from .report import Section, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

AT_ONCE = 8


def ends(folder: Path) -> Section:
    """Play every case."""
    outcomes: dict[Case, Outcome] = {}
    with _backends(folder) as backends, ThreadPoolExecutor(AT_ONCE) as threads:
        futures = {
            threads.submit(play, case, backends, folder / str(number), f"service-{uuid.uuid4().hex[:12]}"): case
            for number, case in enumerate(CASES)
        }
        for future in as_completed(futures):
            case, outcome = futures[future], future.result()
            outcomes[case] = outcome
            sys.stderr.write(f"{len(outcomes)}/{len(CASES)} {case}: {_verdict(case, outcome)}\n")
    passed = all(_as_expected(case, outcome) for case, outcome in outcomes.items())
    return Section(tuple(_lines(outcomes)), passed, servers=True)


@contextmanager
def _backends(folder: Path) -> Iterator[Backends]:
    started: list[Server] = []

    def launch(program: Program, environment: Mapping[str, str]) -> Server:
        server = Server(program, folder / f"{program.binary}-{uuid.uuid4().hex[:8]}", environment)
        started.append(server)
        return server

    try:
        jaeger, prometheus, logs = (
            launch(program, {}).start_on_free_ports() for program in (JAEGER, PROMETHEUS, VICTORIALOGS)
        )
        stores = {
            "GATEWAY_JAEGER": jaeger.address("otlp"),
            "GATEWAY_PROMETHEUS": prometheus.url("http"),
            "GATEWAY_VICTORIALOGS": logs.url("http"),
        }
        gateway = launch(GATEWAY, stores).start_on_free_ports()
        clients = Jaeger(jaeger.url("http")), Prometheus(prometheus.url("http"))
        yield Backends(gateway, *clients, stores, launch)
    finally:
        for server in reversed(started):
            server.stop()


def _as_expected(case: Case, outcome: Outcome) -> bool:
    return bool(outcome.problems) == (known(case) is not None)


def _verdict(case: Case, outcome: Outcome) -> str:
    if known(case) is None:
        return "FAILED: " + _found(outcome) if outcome.problems else "passed"
    return "fails as known: " + _found(outcome) if outcome.problems else "FAILED: passes though known to fail"


def _found(outcome: Outcome) -> str:
    """The problems on one line, without what a program printed."""
    return " / ".join(problem.splitlines()[0] for problem in outcome.problems)


def _lines(outcomes: Mapping[Case, Outcome]) -> Iterator[str]:
    passed = sum(not outcome.problems for outcome in outcomes.values())
    ended = sum(outcome.ended for outcome in outcomes.values())
    queued = sum(outcome.queued for outcome in outcomes.values())
    oom = "the kernel's, in a memory cgroup" if memory_cgroup() else "a SIGKILL that stands for it"
    yield f"{passed} of {len(outcomes)} cases passed; what the others found is below the table. {ended} runs and stages"
    yield f"had ended, of which {queued} were in the queue's files when the last process had gone. Passed means: after"
    yield "the drain each was in Jaeger once, nothing else of ours was, the folder was empty. A cell has ended/queued"
    yield f"spans; `grpc` in it, where the case is also played over gRPC. OOM is {oom}."
    yield ""
    names = tuple(COLLECTORS)
    rows: list[tuple[object, ...]] = [
        (end, "run" if parent else "", *(_cell(outcomes, end, parent, name) for name in names))
        for end in ENDS
        for parent in (False, True)
    ]
    yield from table(("end", "parent", *names), rows)
    yield ""
    for case in CASES:
        if (verdict := _verdict(case, outcomes[case])) != "passed":
            yield f"- {case}: {verdict}" + (f" ({reason})" if (reason := known(case)) else "")


def _cell(outcomes: Mapping[Case, Outcome], end: str, parent: bool, collector: str) -> str:
    played = {case: each for case, each in outcomes.items() if (case.end, case.parent) == (end, parent)}
    texts = []
    for case, outcome in played.items():
        if case.collector == collector:
            verdict = "passed" if not outcome.problems else "**known**" if known(case) else "**FAILED**"
            label = " grpc" if case.protocol == "grpc" else ""
            texts.append(f"{verdict}{label} {outcome.ended}/{outcome.queued}")
    return ", ".join(texts)
