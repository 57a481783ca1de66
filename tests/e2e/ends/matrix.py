"""The cases: every end, without and with the parent `otel-pipeline run`, before every kind of Collector.

`CASES` is the whole, for the soak. `PART` is the part for every day: each end twice (without and with the parent), each
kind of Collector at least four times, both protocols. `KNOWN` says which cases fail, and why.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .collectors import COLLECTORS

if TYPE_CHECKING:
    from collections.abc import Callable

HTTP = "http/protobuf"


@dataclass(frozen=True)
class End:
    """One way to end.

    `argument` is the program's. `sent` is the signal that the program gets while it holds; to `otel-pipeline run` where
    that is the parent, unless `to_child` or, as when a container is killed, `to_all`. `result` is the run's by contract
    §1. With `orderly` the interpreter comes to its end, and so metrics must be complete.
    """

    argument: str
    result: str
    orderly: bool = False
    sent: signal.Signals | None = None
    to_child: bool = False
    to_all: bool = False


ENDS = {
    "exit 0": End("exit 0", "success", orderly=True),
    "exit 3": End("exit 3", "failure", orderly=True),
    "exception": End("exception", "failure", orderly=True),
    "SIGTERM": End("hold", "cancellation", sent=signal.SIGTERM),
    "SIGINT": End("hold", "cancellation", orderly=True, sent=signal.SIGINT),
    "SIGKILL": End("hold", "lost", sent=signal.SIGKILL, to_child=True),
    "SIGKILL of all": End("hold", "lost", sent=signal.SIGKILL, to_all=True),
    "os._exit": End("os._exit", "failure"),
    # A SIGKILL stands for it where the machine gives no memory cgroup; see play.py.
    "OOM": End("hold", "lost", sent=signal.SIGKILL, to_child=True),
    "fork pool": End("fork pool", "success", orderly=True),
    "spawn pool": End("spawn pool", "success", orderly=True),
    "terminate": End("terminate", "success"),
}


@dataclass(frozen=True)
class Case:
    """One case; `end` and `collector` are keys of `ENDS` and `COLLECTORS`."""

    end: str
    parent: bool
    collector: str
    protocol: str = HTTP

    def __str__(self) -> str:
        """Its name in tests and reports."""
        return f"{self.end}, {'run' if self.parent else 'alone'}, {self.collector}, {self.protocol.split('/')[0]}"


def _whole() -> list[Case]:
    cases = [Case(end, parent, collector) for end in ENDS for parent in (False, True) for collector in COLLECTORS]
    # The bytes of a request are the same over both; what differs is how a transport fails.
    by_grpc = [name for name in COLLECTORS if name != "503 then up"]
    for end in ("exit 0", "SIGKILL", "fork pool"):
        cases += [Case(end, parent, name, "grpc") for parent in (False, True) for name in by_grpc]
    return cases


def _part() -> list[Case]:
    names = list(COLLECTORS)
    cases = []
    for number, end in enumerate(ENDS):
        cases.append(Case(end, False, names[number % len(names)]))
        cases.append(Case(end, True, names[(number + 2) % len(names)]))
    cases.append(Case("exit 0", True, "black-holed", "grpc"))
    cases.append(Case("SIGKILL", False, "restarting", "grpc"))
    cases.append(Case("fork pool", False, "up", "grpc"))
    return cases


CASES = _whole()
PART = _part()

KNOWN: dict[Callable[[Case], bool], str] = {}
"""Which cases fail, with the reason; a case that passes nevertheless is an error too."""


def known(case: Case) -> str | None:
    """Why `case` is expected to fail, None when it is not."""
    return next((reason for fails, reason in KNOWN.items() if fails(case)), None)
