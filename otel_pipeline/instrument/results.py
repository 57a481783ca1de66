"""How things end: from an exception to a result, and which stage saw it first.

Where the meaning comes from: contract §1. ``SystemExit`` is judged by its code; KeyboardInterrupt and asyncio's
cancellation came from outside; a timeout is any ``TimeoutError``, of which 3.10 still has several classes.
"""

from __future__ import annotations

import traceback

_ORIGIN = "__otel_pipeline_origin__"
_STACKTRACE_LIMIT = 16_000


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
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_message(error: BaseException) -> str:
    """``str(error)``, also when that itself fails."""
    try:
        return clean(str(error))
    except Exception:  # noqa: BLE001 - the user's __str__ may do anything
        return f"<{type(error).__name__} whose message cannot be shown>"


def stacktrace(error: BaseException) -> str:
    """The formatted traceback, its end when it is very long."""
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:  # noqa: BLE001 - formatting calls the user's __str__ and __repr__
        return ""
    return clean(text[-_STACKTRACE_LIMIT:])


def clean(text: str) -> str:
    """``text`` as UTF-8 can hold it: lone surrogates (undecodable file names, say) are escaped.

    An exporter that meets one loses the whole batch.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def origin(error: BaseException, stage: str) -> str:
    """The first stage that saw ``error``: ``stage`` itself when nobody was before.

    The name is kept on the exception object: a reference to it elsewhere would keep the user's frames alive, and its
    id alone could be that of another exception later. It even comes back from a worker process with the exception.
    """
    first = getattr(error, _ORIGIN, None)
    if isinstance(first, str):
        return first
    try:
        setattr(error, _ORIGIN, stage)
    except Exception:  # noqa: BLE001 - an exception class may forbid new attributes
        return stage
    return stage


def known_origin(error: BaseException) -> str | None:
    """The stage that saw ``error`` first, if any did."""
    first = getattr(error, _ORIGIN, None)
    return first if isinstance(first, str) else None


def _clean_exit(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code in (None, 0)


def _is_a(error: BaseException, name: str) -> bool:
    # By name, so that asyncio and concurrent.futures need not be imported to ask.
    return any(kind.__name__ == name for kind in type(error).__mro__)
