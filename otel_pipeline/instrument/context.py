"""Where we are: the frame in OpenTelemetry's context, and its way into other processes.

The context holds one value of ours, the frame whose code is executing (a stage or a run), beside OpenTelemetry's span.
Both travel together: into asyncio tasks by themselves, into threads by OpenTelemetry's threading instrumentation, into
processes as a *carrier*, a dictionary of environment variables. What only carriers need is loaded by the first one.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import set_span_in_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span

    from otel_pipeline.instrument.frame import Frame

FRAME_KEY = context_api.create_key("otel_pipeline.frame")

TRACEPARENT = "TRACEPARENT"
TRACESTATE = "TRACESTATE"
PARENT_RUN = "OTEL_PIPELINE_PARENT_RUN"


class _Current(Protocol):
    def get(self) -> Context: ...
    def set(self, context: Context, /) -> object: ...


class _ByApi:
    """The same by the public calls, for a runtime context that is not a ContextVar."""

    def get(self) -> Context:
        return context_api.get_current()

    def set(self, context: Context) -> object:
        return context_api.attach(context)


def _current() -> _Current:
    # A lazy stage swaps the context twice per record, so the variable itself is used where it is one: four calls fewer.
    variable = getattr(context_api._RUNTIME_CONTEXT, "_current_context", None)
    return cast("_Current", variable) if isinstance(variable, ContextVar) else _ByApi()


current = _current()


def current_frame() -> Frame | None:
    """The frame whose code is executing, if it is inside any of ours."""
    return cast("Frame | None", current.get().get(FRAME_KEY))


def inside(frame: Frame, span: Span, outer: Context) -> Context:
    """``outer`` with this frame and span as the current ones."""
    return context_api.set_value(FRAME_KEY, frame, set_span_in_context(span, outer))


def carrier(context: Context | None = None) -> dict[str, str]:
    """The environment variables that make a child process continue here: empty outside any trace."""
    from urllib.parse import quote  # noqa: PLC0415 - see the module

    context = current.get() if context is None else context
    found: dict[str, str] = {}
    _propagator().inject(found, context)
    variables = {key.upper(): value for key, value in found.items()}
    frame = cast("Frame | None", context.get(FRAME_KEY))
    if variables and frame is not None and frame.run is not None:
        parts = [quote(frame.run.id), quote(frame.run.name), *(["backfill"] if frame.run.backfill else [])]
        variables[PARENT_RUN] = ":".join(parts)
    return variables


class Inherited(NamedTuple):
    """What a carrier describes: a context, with the id and the name of the run in it, and whether it is a backfill."""

    context: Context
    run_id: str | None = None
    name: str | None = None
    backfill: bool = False


def from_carrier(variables: Mapping[str, str]) -> Inherited:
    """What ``carrier`` has put into the environment."""
    if TRACEPARENT not in variables and PARENT_RUN not in variables:
        return Inherited(Context())
    from urllib.parse import unquote  # noqa: PLC0415 - see the module

    found = {key.lower(): variables[key] for key in (TRACEPARENT, TRACESTATE) if key in variables}
    context = _propagator().extract(found, Context())
    run_id, name, kind, *_ = (*map(unquote, variables.get(PARENT_RUN, "").split(":")), "", "", "")
    return Inherited(context, run_id or None, name or None, kind == "backfill")


def _propagator() -> TextMapPropagator:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - as above

    return TraceContextTextMapPropagator()
