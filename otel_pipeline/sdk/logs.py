"""Python's logging, sent out as OpenTelemetry log records joined to the trace.

It listens where a logger has let a record through (``Logger.filter``, just before the handlers are called), not as a
handler on the root logger. A handler there changes what the program prints: ``logging.warning`` no longer configures
the root logger, and the handler of last resort falls silent. Nor does it wrap the call of the handlers: a frame of ours
would show in the call stack that logging prints when a handler fails.

How a record becomes one of OpenTelemetry's: its log data model (severity numbers, appendix B), and the semantic
conventions for code and exceptions.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry._logs import LogRecord, SeverityNumber

from otel_pipeline.instrument import results
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

_SEVERITIES = (
    (50, SeverityNumber.FATAL, "FATAL"),
    (40, SeverityNumber.ERROR, "ERROR"),
    (30, SeverityNumber.WARN, "WARN"),
    (20, SeverityNumber.INFO, "INFO"),
    (10, SeverityNumber.DEBUG, "DEBUG"),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LONGEST = 64_000


class _State(threading.local):
    """Whether this thread is sending a record: one that is logged meanwhile, by a signal handler say, is not sent."""

    sending = False


_state = _State()


def capture(provider: LoggerProvider) -> None:
    """Send every record that a logger lets through, whatever handlers there are, to ``provider``."""
    release()
    inherited = logging.Logger.filter

    def filter(self: logging.Logger, record: logging.LogRecord) -> Any:
        passed = inherited(self, record)
        if passed and not _state.sending:
            # From Python 3.12 on a filter may answer with another record to be used instead.
            _send(provider, passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    filter._otel_pipeline_inherited = inherited  # type: ignore[attr-defined]
    logging.Logger.filter = filter  # type: ignore[method-assign,assignment]


def release() -> None:
    """Undo ``capture``, unless somebody has put something over it."""
    inherited = getattr(logging.Logger.__dict__.get("filter"), "_otel_pipeline_inherited", None)
    if inherited is logging.Filterer.filter:
        del logging.Logger.filter
    elif inherited is not None:
        logging.Logger.filter = inherited  # type: ignore[method-assign]


def _send(provider: LoggerProvider, record: logging.LogRecord) -> None:
    _state.sending = True
    try:
        if not _left_out(record):
            provider.get_logger(record.name).emit(_translated(record))
    except Exception:  # noqa: BLE001 - what a record cannot say is no reason to fail where it is logged
        return
    finally:
        _state.sending = False


def _left_out(record: logging.LogRecord) -> bool:
    """What OpenTelemetry and the sender's client say while they send would be sent in turn, without end."""
    if record.name == "opentelemetry" or record.name.startswith("opentelemetry."):
        return True
    if context_api.get_value(context_api._SUPPRESS_INSTRUMENTATION_KEY):
        return True
    # Another distro, or the program itself, may have OpenTelemetry's handler in place: it sends what passes there.
    kinds = (type(handler) for handler in logging.root.handlers)
    return any(kind.__name__ == "LoggingHandler" and kind.__module__.startswith("opentelemetry.") for kind in kinds)


def _translated(record: logging.LogRecord) -> LogRecord:
    number, text = next(
        ((number, text) for level, number, text in _SEVERITIES if record.levelno >= level),
        (SeverityNumber.TRACE, "TRACE"),
    )
    return LogRecord(
        timestamp=int(record.created * 1e9),
        context=context_api.get_current(),
        severity_number=number,
        severity_text=record.levelname if record.levelname not in ("WARNING", "CRITICAL") else text,
        body=_message(record),
        attributes=_attributes(record),
    )


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - a format that does not fit its arguments; the program's handlers say so
        message = str(record.msg)
    return results.clean(message[:_LONGEST])


def _attributes(record: logging.LogRecord) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "code.file.path": record.pathname,
        "code.function.name": record.funcName,
        "code.line.number": record.lineno,
    }
    for key, value in vars(record).items():
        if key not in _STANDARD and value is not None:
            attributes[results.clean(key)] = _value(value)
    if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
        error = record.exc_info[1]
        attributes[a.EXCEPTION_TYPE] = results.error_type(error)
        attributes[a.EXCEPTION_MESSAGE] = results.error_message(error)
        attributes[a.EXCEPTION_STACKTRACE] = results.stacktrace(error)
    return attributes


def _value(value: Any) -> bool | int | float | str:
    if isinstance(value, (bool, float)) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    try:
        return results.clean(str(value)[:_LONGEST])
    except Exception:  # noqa: BLE001 - the user's __str__ may do anything
        return f"<{type(value).__name__} that cannot be shown>"
