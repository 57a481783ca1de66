"""Python's logging, sent out as OpenTelemetry log records joined to the trace.

It listens behind ``Logger.callHandlers`` rather than as a handler on the root logger. A handler there changes what the
program prints: ``logging.warning`` no longer configures the root logger, and the handler of last resort falls silent.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry.instrumentation.logging.handler import LoggingHandler

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

# What OpenTelemetry and the sender's HTTP client say while they send would be sent in turn.
_NOT_SENT = ("opentelemetry", "urllib3", "requests", "grpc")
_original = logging.Logger.callHandlers


def capture(provider: LoggerProvider) -> None:
    """Send every record that a logger lets through, whatever handlers there are, to ``provider``."""
    translate = LoggingHandler(logger_provider=provider, log_code_attributes=True)

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        _original(self, record)
        if not record.name.startswith(_NOT_SENT) and not _sending():
            translate.handle(record)

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]


def release() -> None:
    """Undo ``capture``."""
    logging.Logger.callHandlers = _original  # type: ignore[method-assign]


def _sending() -> bool:
    suppressed: Any = context_api.get_value(context_api._SUPPRESS_INSTRUMENTATION_KEY)
    return bool(suppressed)
