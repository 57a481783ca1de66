"""The run of a whole script: what an unmodified program is, until a ``pipeline`` in it takes the run over.

::

    otel-pipeline run ──TRACEPARENT, RUN_ID, HANDOVER──► its child: identity given, the parent makes the span
    launcher, setup() in a script ─────────────────────► identity made here, the span made at exit

Its identity is in the context of the main thread from the start, so that whatever the script does hangs below it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opentelemetry import context as context_api
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span

from otel_pipeline import config
from otel_pipeline.instrument import registry
from otel_pipeline.instrument.context import current_frame, from_carrier, inside
from otel_pipeline.instrument.run import Run
from otel_pipeline.sdk import exits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context

    from otel_pipeline.config import Settings
    from otel_pipeline.sdk.handover import Handover
    from otel_pipeline.sdk.identity import PlannedIdGenerator

# Programs that serve: their process is no run, and what happens in them is not below one.
SERVERS = (
    "airflow", "celery", "daphne", "dagster-daemon", "dagster-webserver", "fastapi", "flask", "granian", "gunicorn",
    "hypercorn", "ipython", "jupyter", "jupyter-lab", "jupyter-notebook", "luigid", "prefect", "pytest", "streamlit",
    "uvicorn", "uwsgi",
)  # fmt: skip


def script_name(settings: Settings) -> str:
    """The name of the script's run."""
    if settings.name:
        return settings.name
    from otel_pipeline.instrument.naming import name_from  # noqa: PLC0415 - only where nobody named it

    return name_from(getattr(sys, "orig_argv", None) or [sys.executable, *sys.argv])


def continue_parent(environ: Mapping[str, str], settings: Settings) -> Handover | None:
    """Take up what a parent process says in the environment: its run, or at least its trace."""
    above, run_id, name, backfill = from_carrier(environ)
    span = get_current_span(above).get_span_context()
    if not span.is_valid:
        return None
    own_id, folder = environ.get(config.RUN_ID), environ.get(config.HANDOVER)
    handover = _handover(folder) if folder else None
    if run_id is not None:
        # Started by code inside a run: what happens here belongs to that run, which ends elsewhere.
        _attach(Run(name or "unknown", id=run_id, backfill=backfill, identity_=span, remote=True), above)
    elif own_id and handover:
        run = Run(script_name(settings), id=own_id, identity_=span, remote=True)
        run.above = above
        registry.set_script(run, handover.claim)
        _attach(run, above)
    else:
        context_api.attach(above)
    return handover


def _handover(folder: str) -> Handover:
    from otel_pipeline.sdk.handover import Handover  # noqa: PLC0415 - only below `otel-pipeline run`

    return Handover(folder)


def start(settings: Settings, ids: PlannedIdGenerator) -> Run:
    """Begin the script's run in this process: its identity is fixed now, its span is made at its end."""
    above = context_api.get_current()
    parent = get_current_span(above).get_span_context()
    identity = SpanContext(
        parent.trace_id if parent.is_valid else ids.random_bits(128),
        ids.random_bits(64),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID),
    )
    run = Run(script_name(settings), identity_=identity)
    run.above = above
    registry.set_script(run, None)
    _attach(run, above)
    exits.watch()
    return run


def end(run: Run, error: BaseException | None) -> None:
    """Make the span of a script's run that no pipeline took over.

    What ended the program is ``error``, else the exception that Python has reported, else what ``sys.exit`` was told
    (exits.py).
    """
    error = error or getattr(sys, "last_value", None) or exits.seen()
    run.begin(run.above or context_api.Context())
    run.leave(None)
    run.end(error)


def wanted(settings: Settings, *, launched: bool, by_main: bool) -> bool:
    """Whether this process is a script whose whole is a run."""
    if settings.script_run != "auto":
        return settings.script_run == "true"
    if not (launched or by_main) or _interactive():
        return False
    if current_frame() is not None:
        return False  # started by code inside a run, which this script then belongs to
    return script_name(settings) not in SERVERS


def _interactive() -> bool:
    return bool(sys.flags.interactive) or hasattr(sys, "ps1") or "ipykernel" in sys.modules


def _attach(run: Run, above: Context) -> None:
    run.enter(None)
    context_api.attach(inside(run, NonRecordingSpan(run.identity or get_current_span(above).get_span_context()), above))
