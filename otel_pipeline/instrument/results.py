"""How things end: from an exception to a result, and which stage saw it first.

Where the meaning comes from: contract §1. ``SystemExit`` is judged by its code; KeyboardInterrupt and asyncio's
cancellation came from outside; a timeout is any ``TimeoutError``, of which 3.10 still has several classes.
"""

from __future__ import annotations

import contextlib
import traceback

_ORIGIN = "__otel_pipeline_origin__"
_STACKTRACE_LIMIT = 16_000
_MESSAGE_LIMIT = 4_000


class Aborted(Exception):
    """Ended from outside while open: by the end of the run around a stage, or of the process around a run."""


def run_result(error: BaseException | None) -> str:
    """One of ``semconv.attributes.RUN_RESULTS``."""
    if error is None or isinstance(error, GeneratorExit) or _clean_exit(error):
        return "success"
    if isinstance(error, (KeyboardInterrupt, Aborted)) or _is_a(error, "CancelledError"):
        return "cancellation"
    return "timeout" if _is_a(error, "TimeoutError") else "failure"


def stage_result(error: BaseException | None) -> str:
    """One of ``semconv.attributes.STAGE_RESULTS``."""
    result = run_result(error)
    return {"success": "success", "cancellation": "aborted"}.get(result, "failure")


def error_type(error: BaseException) -> str:
    """The qualified name, without the module for built-in exceptions (OpenTelemetry's ``error.type``)."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return clean(name)


def error_message(error: BaseException) -> str:
    """``str(error)``, also when that itself fails; the beginning where it is very long."""
    try:
        return clean(str(error)[:_MESSAGE_LIMIT])
    except Exception:  # noqa: BLE001 - the user's __str__ may do anything
        return f"<{type(error).__name__} whose message cannot be shown>"


def stacktrace(error: BaseException) -> str:
    """The formatted traceback, its end when it is very long."""
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:  # noqa: BLE001 - formatting calls the user's __str__ and __repr__
        return ""
    return clean(text[-_STACKTRACE_LIMIT:])


def quoted(value: object) -> str:
    """The beginning of ``repr(value)``, also when that itself fails."""
    try:
        return clean(f"{value!r:.80}")
    except Exception:  # noqa: BLE001 - the user's __repr__ may do anything
        return f"<{clean(type(value).__name__)}>"


def described(error: BaseException) -> str:
    """Type and message, for one line of a warning."""
    return f"{error_type(error)}: {error_message(error)[:200]}"


def clean(text: str) -> str:
    """``text`` as UTF-8 can hold it: lone surrogates (undecodable file names, say) are escaped.

    An exporter that meets one loses the whole batch.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def origin(error: BaseException, stage: str, trace_id: int = 0) -> str:
    """The first stage that saw ``error`` in this trace: ``stage`` itself when none was before.

    The name is kept on the exception object: a reference to it elsewhere would keep the user's frames alive, and its
    id alone could be that of another exception later. It even comes back from a worker process with the exception.
    With the trace, since one exception object may be raised in several runs.
    """
    seen = _seen(error, trace_id)
    if seen is not None and seen[1] is not None:
        return seen[1]
    mark(error, stage, trace_id)
    return stage


def mark(error: BaseException, stage: str | None, trace_id: int) -> None:
    """``error`` was recorded in this trace, by a stage or by a run without one."""
    with contextlib.suppress(Exception):
        # Not setattr(): the exception's class may have a __setattr__ that forbids it.
        BaseException.__setattr__(error, _ORIGIN, (trace_id, stage))


def recorded(error: BaseException, trace_id: int) -> bool:
    """Whether ``error`` was recorded in this trace before."""
    return _seen(error, trace_id) is not None


def known_origin(error: BaseException, trace_id: int | None = None) -> str | None:
    """The stage that saw ``error`` first, if any did: in this trace, where one is given."""
    seen = _seen(error, trace_id)
    return seen[1] if seen is not None else None


def _seen(error: BaseException, trace_id: int | None) -> tuple[int, str | None] | None:
    try:
        # Not getattr(): the exception's class may have a __getattr__ that raises.
        found = object.__getattribute__(error, "__dict__").get(_ORIGIN)
        trace, stage = found
    except Exception:  # noqa: BLE001 - nothing there, or nothing of ours
        return None
    return (trace, stage) if trace_id in (None, trace) else None


def _clean_exit(error: BaseException) -> bool:
    # Anything may be a code: only whole numbers are compared, since another object's == may do anything.
    return isinstance(error, SystemExit) and (error.code is None or (isinstance(error.code, int) and error.code == 0))


def _is_a(error: BaseException, name: str) -> bool:
    # By name, so that asyncio and concurrent.futures need not be imported to ask.
    return any(kind.__name__ == name for kind in type(error).__mro__)
