"""Who the run is, and the environment by which the command knows."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otel_pipeline.config import HANDOVER, RUN_ID
from otel_pipeline.instrument.context import PARENT_RUN, TRACEPARENT, TRACESTATE
from otel_pipeline.instrument.identity import new_run_id
from otel_pipeline.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = f"{PREFIX}NAME"
STARTUP = Path(__file__).with_name("startup")
"""The folder whose ``sitecustomize`` every Python below the command loads first."""

# https://www.w3.org/TR/trace-context/#traceparent-header: a version above 00 may have more after the flags.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = "01"


@dataclass(frozen=True)
class Identity:
    """The ids of a run in hexadecimal, fixed before the command starts, and what the run hangs below."""

    trace_id: str
    span_id: str
    run_id: str
    flags: str = _SAMPLED
    parent_span_id: str | None = None
    parent_run_id: str | None = None

    @property
    def traceparent(self) -> str:
        """The run span's context, as processes hand it on."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def identify(environ: Mapping[str, str]) -> Identity:
    """A new run's identity: below the ``TRACEPARENT`` of ``environ`` where there is a valid one."""
    above = _TRACEPARENT.fullmatch(environ.get(TRACEPARENT, "").strip())
    return Identity(
        trace_id=above[1] if above else os.urandom(16).hex(),
        span_id=os.urandom(8).hex(),
        run_id=new_run_id(),
        flags=above[3] if above else _SAMPLED,
        parent_span_id=above[2] if above else None,
        parent_run_id=environ.get(PARENT_RUN, "").partition(":")[0] or environ.get(RUN_ID) or None,
    )


def command_environment(
    environ: Mapping[str, str],
    identity: Identity,
    *,
    handover: str | None = None,
    name: str | None = None,
    startup: Path = STARTUP,
) -> dict[str, str]:
    """``environ`` with what makes a Python below the command join the run; other programs do not notice."""
    made = {**environ, TRACEPARENT: identity.traceparent, RUN_ID: identity.run_id}
    if identity.parent_span_id is None:
        made.pop(TRACESTATE, None)  # it belongs to a parent that is not there
    for of_another_run in (HANDOVER, PARENT_RUN):
        made.pop(of_another_run, None)
    if handover is not None:
        made[HANDOVER] = handover
    if name is not None:
        made[_NAME] = name
    # An empty entry would mean the current folder, so an empty variable is not appended.
    there = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path != str(startup)]
    rest = os.pathsep.join(there)
    made["PYTHONPATH"] = f"{startup}{os.pathsep}{rest}" if rest else str(startup)
    made.setdefault("OTEL_PYTHON_DISTRO", "otel_pipeline")
    made.setdefault("OTEL_PYTHON_CONFIGURATOR", "otel_pipeline")
    return made
