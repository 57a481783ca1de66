"""What can be wrong with a store, in one line that says what to do; the driver's exceptions end here."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from otel_pipeline.errors import PipelineTelemetryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class StoreError(PipelineTelemetryError):
    """The store cannot be read or written; nothing of the transaction has happened."""


class StoreBusyError(StoreError):
    """Another process holds the store; the same again will do."""


_CAUSES = (
    ("locked", StoreBusyError, "another process is writing to it; try again"),
    ("busy", StoreBusyError, "another process is writing to it; try again"),
    ("malformed", StoreError, "it is damaged; move it away, and a new one is begun"),
    ("not a database", StoreError, "it is no SQLite database; move it away, or name another (OTEL_PIPELINE_STORE)"),
    ("readonly", StoreError, "it is read-only; what has ended stays in the queue until it can be written"),
    ("full", StoreError, "the disk is full; what has ended stays in the queue until there is room"),
    ("unable to open", StoreError, "it cannot be opened; see its folder's permissions (OTEL_PIPELINE_STORE)"),
)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """The driver's exceptions within become ``StoreError``."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        text = str(error.orig if isinstance(error, DBAPIError) else error)
        for part, kind, advice in _CAUSES:
            if part in text:
                raise kind(f"store {path}: {advice}") from error
        raise StoreError(f"store {path}: {text}") from error
    except OSError as error:
        raise StoreError(f"store {path}: {error.strerror or error}") from error
