"""The store as one file of SQLite's, with a journal (WAL): readers go on while somebody writes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import create_engine, event, exc
from sqlalchemy.pool import QueuePool

from otel_pipeline.store import statements
from otel_pipeline.store.errors import StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Table

    from otel_pipeline.store.rows import Row

_BUSY = "another process is writing to it; try again"
_CAUSES = (
    ("locked", StoreBusyError, _BUSY),
    ("busy", StoreBusyError, _BUSY),
    ("malformed", StoreError, "it is damaged; move it away, and a new one is begun"),
    ("not a database", StoreError, "it is no SQLite database; move it away, or name another (OTEL_PIPELINE_STORE)"),
    ("readonly", StoreError, "it is read-only; what has ended stays in the queue until it can be written"),
    ("full", StoreError, "the disk is full; what has ended stays in the queue until there is room"),
    (
        "unable to open",
        StoreError,
        "it cannot be opened; want a file in a folder that may be written (OTEL_PIPELINE_STORE)",
    ),
)
_AT_ONCE = 100
"""Values looked for by one statement."""


class Sqlite:
    """The file ``path``; for its user alone when it is made here.

    ``busy_s``: how long a writer waits for another. ``sync``: ``normal`` outlives the death of the process, ``full``
    a loss of power too.
    """

    def __init__(self, path: Path, *, busy_s: float, sync: str) -> None:
        self.path = path
        self.name = str(path)
        self.read_only = False
        self._busy_s = busy_s
        self._sync = sync
        # Connections are kept: to open one costs more than a small transaction.
        self._engine = create_engine("sqlite://", creator=self.connect, poolclass=QueuePool, max_overflow=-1)
        event.listen(self._engine, "begin", _begin)
        event.listen(self._engine, "connect", self._remember)
        event.listen(self._engine, "checkout", self._check)

    def prepare(self) -> None:
        """Make the file and its journal; where they cannot be written, the file is only read."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self.read_only = not (os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK))
        if not self.read_only:
            with contextlib.closing(self.connect()) as connection:
                connection.execute("PRAGMA journal_mode = WAL")

    def connect(self) -> sqlite3.Connection:
        """A connection of the driver's."""
        mode = "mode=ro" if self.read_only else "mode=rw"
        if self.read_only and not self.path.with_name(f"{self.path.name}-wal").exists():
            mode += "&immutable=1"  # its journal could not be made here, and nobody has one open
        address = f"{self.path.absolute().as_uri()}?{mode}"
        connection = sqlite3.connect(
            address, uri=True, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA synchronous = {self._sync}")
        return connection

    def close(self) -> None:
        """Close what is open; whoever uses it later opens it again."""
        self._engine.dispose()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write."""
        # IMMEDIATE: a transaction that begins by reading and then finds another writer could only fail.
        with self._engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment."""
        with self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """The driver's exceptions within become ``StoreError``."""
        try:
            yield
        except (exc.DBAPIError, sqlite3.Error) as error:
            text = str(error.orig if isinstance(error, exc.DBAPIError) else error)
            for part, kind, advice in _CAUSES:
                if part in text:
                    raise kind(f"store {self.name}: {advice}") from error
            raise StoreError(f"store {self.name}: {text}") from error
        except OSError as error:
            raise StoreError(f"store {self.name}: {error.strerror or error}") from error

    def alone(self, connection: Connection) -> None:
        """Nothing to do: there is one writer at a time."""

    def clock(self, connection: Connection) -> int:
        """Now, in nanoseconds since the epoch: all who share a file are on one machine."""
        del connection
        return time.time_ns()

    def add_new(self, connection: Connection, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
        """Insert the rows that are not there; which those were."""
        cursor, text, width = _cursor(connection), _add_new(table), len(table.primary_key)
        cursor.execute("SAVEPOINT adding")
        cursor.executemany(text, rows)
        if cursor.rowcount != len(rows):  # seldom: then one after another, to see which
            cursor.execute("ROLLBACK TO adding")
            rows = [row for row in rows if cursor.execute(text, row).rowcount == 1]
        cursor.execute("RELEASE adding")
        return [row[:width] for row in rows]

    def merge(self, connection: Connection, table: Table, rows: Sequence[Row], columns: Sequence[str] = ()) -> None:
        """Insert rows, or change those that are there."""
        if rows:
            _cursor(connection).executemany(_merge(table, tuple(columns) or tuple(table.c.keys())), rows)

    def find(
        self, connection: Connection, table: Table, columns: Sequence[str], by: str, values: Sequence[Any]
    ) -> list[Row]:
        """``columns`` of the rows whose column ``by`` is among ``values``."""
        cursor, text = _cursor(connection), f"SELECT {', '.join(columns)} FROM {table.name} WHERE {by} IN"
        found: list[Row] = []
        for start in range(0, len(values), _AT_ONCE):
            some = values[start : start + _AT_ONCE]
            found += cursor.execute(f"{text} ({', '.join('?' * len(some))})", some)
        return found

    def _remember(self, connection: sqlite3.Connection, record: Any) -> None:
        del connection
        record.info["file"] = self._file()

    def _check(self, connection: sqlite3.Connection, record: Any, proxy: Any) -> None:
        # A file that was moved away or replaced would be written to unseen.
        del connection, proxy
        if record.info["file"] != self._file():
            raise exc.DisconnectionError

    def _file(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_dev, found.st_ino


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _cursor(connection: Connection) -> sqlite3.Cursor:
    return cast("sqlite3.Cursor", connection.connection.cursor())


@cache
def _add_new(table: Table) -> str:
    return statements.add_new(table, _values(len(table.c)))


@cache
def _merge(table: Table, columns: tuple[str, ...]) -> str:
    return statements.merge(table, columns, _values(len(columns)), "max")


def _values(number: int) -> str:
    return f"VALUES ({', '.join('?' * number)})"
