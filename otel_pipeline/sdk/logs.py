"""Python's logging, sent out as OpenTelemetry log records joined to the trace.

It listens behind ``Logger.callHandlers`` rather than as a handler on the root logger. A handler there changes what the
program prints: ``logging.warning`` no longer configures the root logger, and the handler of last resort falls silent.

How a record becomes one of OpenTelemetry's: its log data model (severity numbers, appendix B), and the semantic
conventions for code and exceptions.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry._logs import LogRecord, SeverityNumber

from otel_pipeline.instrument import results
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

# What OpenTelemetry and the sender's HTTP client say while they send would be sent in turn.
_NOT_SENT = ("opentelemetry", "urllib3", "requests", "grpc")
_SEVERITIES = (
    (50, SeverityNumber.FATAL, "FATAL"),
    (40, SeverityNumber.ERROR, "ERROR"),
    (30, SeverityNumber.WARN, "WARN"),
    (20, SeverityNumber.INFO, "INFO"),
    (10, SeverityNumber.DEBUG, "DEBUG"),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_original = logging.Logger.callHandlers


def capture(provider: LoggerProvider) -> None:
    """Send every record that a logger lets through, whatever handlers there are, to ``provider``."""

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        _original(self, record)
        if record.name.startswith(_NOT_SENT) or _sending():
            return
        try:
            provider.get_logger(record.name).emit(_translated(record))
        except Exception:  # noqa: BLE001 - a format that does not fit its arguments: the program's handlers said so
            return

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]


def release() -> None:
    """Undo ``capture``."""
    logging.Logger.callHandlers = _original  # type: ignore[method-assign]


def _sending() -> bool:
    suppressed: Any = context_api.get_value(context_api._SUPPRESS_INSTRUMENTATION_KEY)
    return bool(suppressed)


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
        body=results.clean(record.getMessage()),
        attributes=_attributes(record),
    )


def _attributes(record: logging.LogRecord) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "code.file.path": record.pathname,
        "code.function.name": record.funcName,
        "code.line.number": record.lineno,
    }
    for key, value in vars(record).items():
        if key not in _STANDARD and value is not None:
            attributes[key] = value if isinstance(value, (bool, int, float)) else results.clean(str(value))
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        attributes[a.EXCEPTION_TYPE] = results.error_type(error)
        attributes[a.EXCEPTION_MESSAGE] = results.error_message(error)
        attributes[a.EXCEPTION_STACKTRACE] = results.stacktrace(error)
    return attributes
