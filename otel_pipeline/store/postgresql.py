"""The store in a database of PostgreSQL's, which several processors share.

::

    merge, add_new ─► one statement for all rows:  INSERT … SELECT * FROM unnest(a column's values, …) ON CONFLICT …

**A processor that hangs** in the middle of a transaction holds rows that others wait for; so the server ends the
session of one that says nothing, and nobody waits for long. Both are for the server to time: a process that was
stopped cannot.
"""

from __future__ import annotations

import contextlib
import ssl
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import pg8000.dbapi as driver  # type: ignore[import-untyped]
from sqlalchemy import create_engine, event, exc, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import QueuePool

from otel_pipeline.store import statements
from otel_pipeline.store.errors import StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Column, Connection, Table

    from otel_pipeline.store.rows import Row

SCHEMES = ("postgresql", "postgres")
WANTED = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
SILENT_S = 5
"""How long a session may say nothing within a transaction; the others wait for it meanwhile."""
STATEMENT_S = 60
_CONNECT_S = 10.0
_SCHEMA_LOCK = 0x6F70_7363_6865_6D61
"""Of the advisory lock under which the tables are made and changed; any number that nobody else uses."""
_SSL_MODES = ("disable", "require", "verify-full")

_BUSY, _AWAY = "another process holds it; try again", "its server is away or ends connections; try again later"
# By SQLSTATE or its class, https://www.postgresql.org/docs/current/errcodes-appendix.html
_CAUSES: tuple[tuple[str, type[StoreError], str], ...] = (
    ("40", StoreBusyError, _BUSY),  # serialization failure, deadlock
    ("55P03", StoreBusyError, _BUSY),  # the lock was not had in time
    ("57014", StoreBusyError, _BUSY),  # the statement took too long
    ("25P03", StoreBusyError, "this process was silent for too long within a transaction; try again"),
    ("57P", StoreBusyError, _AWAY),  # it is shutting down or starting up
    ("08", StoreBusyError, _AWAY),
    ("53300", StoreBusyError, "its server has too many connections; try again later, or raise its max_connections"),
    ("28", StoreError, "its server refuses the user or the password"),
    ("3D000", StoreError, "there is no such database; make it with createdb"),
    ("25006", StoreError, "it is read-only; name the primary server (OTEL_PIPELINE_STORE)"),
    ("42501", StoreError, "its user may not do this; let it own the database"),
    ("53100", StoreError, "the server's disk is full; what has ended stays in the queue until there is room"),
    ("XX001", StoreError, "it is damaged"),
    ("XX002", StoreError, "it is damaged"),
)


class Postgresql:
    """The database that ``url`` names, as libpq writes it. ``busy_s``: how long a writer waits for another.

    Of libpq's parameters it may have ``host`` (a folder, of a Unix socket), ``sslmode`` (disable, require,
    verify-full), ``sslrootcert`` and ``application_name``.
    """

    def __init__(self, url: str, *, busy_s: float) -> None:
        self._address = _Address.parsed(url)
        self.name = self._address.name
        self.read_only = False
        self._busy_s = busy_s
        self._engine = create_engine(
            "postgresql+pg8000://",
            creator=self.connect,
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=12,
        )
        event.listen(self._engine, "checkout", _check)

    def prepare(self) -> None:
        """See whether it is there, and whether it can be written."""
        with self.writing() as connection:
            self.read_only = connection.scalar(text("SHOW transaction_read_only")) == "on"

    def connect(self) -> Any:
        """A connection of the driver's, which the server watches."""
        address = self._address
        connection = _Session(
            address.user,
            host=address.host,
            port=address.port,
            database=address.database,
            password=address.password,
            unix_sock=address.socket,
            ssl_context=address.tls(),
            timeout=_CONNECT_S,
            application_name=address.application,
        )
        # The time to connect is over; statements are timed by the server. Should it be gone without a word, so is
        # whoever waits for it a little later than the server would have answered.
        connection._usock.settimeout(STATEMENT_S + _CONNECT_S)  # pg8000 has no other way
        cursor = connection.cursor()
        for name, value in (
            ("idle_in_transaction_session_timeout", SILENT_S),
            ("lock_timeout", self._busy_s),
            ("statement_timeout", STATEMENT_S),
            ("tcp_user_timeout", STATEMENT_S),
        ):
            cursor.execute(f"SET {name} = {max(round(value * 1000), 1)}")
        for name, value in (("tcp_keepalives_idle", 15), ("tcp_keepalives_interval", 5), ("tcp_keepalives_count", 3)):
            cursor.execute(f"SET {name} = {value}")
        connection.commit()
        return connection

    def close(self) -> None:
        """Close what is open; whoever uses it later opens it again."""
        self._engine.dispose()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write."""
        with self._engine.connect() as connection:
            try:
                with connection.begin():
                    yield connection
            except (driver.Error, OSError):
                connection.invalidate()  # whatever state it is in
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """The driver's exceptions within become ``StoreError``."""
        try:
            yield
        except (exc.DBAPIError, exc.TimeoutError, driver.Error, OSError) as error:
            raise self._explained(error) from error

    def alone(self, connection: Connection) -> None:
        """Wait until no other process changes the schema, and keep others away until the transaction ends."""
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SCHEMA_LOCK})

    def clock(self, connection: Connection) -> int:
        """Now, in nanoseconds since the epoch, by the server's clock."""
        found = connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"))
        return int(found or 0) * 1000

    def add_new(self, connection: Connection, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
        """Insert the rows that are not there; which those were."""
        cursor = _execute(connection, _add_new(table), _arrays(rows))
        return [tuple(row) for row in cursor.fetchall()]

    def merge(self, connection: Connection, table: Table, rows: Sequence[Row], columns: Sequence[str] = ()) -> None:
        """Insert rows, or change those that are there."""
        names = tuple(columns) or tuple(table.c.keys())
        if rows:
            _execute(connection, _merge(table, names), _arrays(rows))

    def find(
        self, connection: Connection, table: Table, columns: Sequence[str], by: str, values: Sequence[Any]
    ) -> list[Row]:
        """``columns`` of the rows whose column ``by`` is among ``values``."""
        query = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {by} = ANY(%s::{_type(table.c[by])}[])"
        cursor = _execute(connection, query, _arrays([(value,) for value in values]))
        return [tuple(row) for row in cursor.fetchall()]

    def _explained(self, error: Exception) -> StoreError:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        if isinstance(cause, driver.DatabaseError) and cause.args and isinstance(cause.args[0], dict):
            told = cause.args[0]
            state = str(told.get("C", ""))
            for begins, kind, advice in _CAUSES:
                if state.startswith(begins):
                    return kind(f"store {self.name}: {advice}")
            return StoreError(f"store {self.name}: {told.get('M')} ({state})")
        if isinstance(cause, (driver.InterfaceError, OSError, exc.TimeoutError)):
            return StoreBusyError(f"store {self.name}: {_AWAY}")
        return StoreError(f"store {self.name}: {type(cause).__name__}: {str(cause)[:200]}")


class _Address(NamedTuple):
    """Where the server is, and as whom to speak to it."""

    user: str
    password: str | None
    host: str
    port: int
    database: str
    socket: str | None
    ssl_mode: str
    ssl_root: str | None
    application: str

    @property
    def name(self) -> str:
        """Without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{self.user}@{self.socket or host}:{self.port}/{self.database}"

    @classmethod
    def parsed(cls, url: str) -> _Address:
        """Raises StoreError, which quotes all but the password."""
        try:
            parts = urlsplit(url)
            port = parts.port or 5432
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise StoreError(f"store: the URL cannot be read: want {WANTED}") from None
        if parts.scheme not in SCHEMES or not parts.username or not parts.path.strip("/"):
            shown = f"{parts.scheme}://{parts.username or ''}@{parts.hostname or ''}{parts.path}"
            raise StoreError(f"store {shown}: want a file, or {WANTED}")
        mode = options.pop("sslmode", "disable")
        folder = options.pop("host", None)
        found = cls(
            unquote(parts.username),
            unquote(parts.password) if parts.password is not None else None,
            parts.hostname or "localhost",
            port,
            unquote(parts.path.strip("/")),
            f"{folder}/.s.PGSQL.{port}" if folder else None,
            mode,
            options.pop("sslrootcert", None),
            options.pop("application_name", "otel_pipeline"),
        )
        if mode not in _SSL_MODES:
            raise StoreError(f"store {found.name}: sslmode={mode!r}: want one of {', '.join(_SSL_MODES)}")
        if options:
            raise StoreError(f"store {found.name}: there is no parameter {min(options)!r} here; see docs/store.md")
        return found

    def tls(self) -> ssl.SSLContext | None:
        """How to encrypt; None where it is not asked for."""
        if self.ssl_mode == "disable":
            return None
        context = ssl.create_default_context(cafile=self.ssl_root)
        if self.ssl_mode == "require":  # encrypted, whoever it is
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


class _Session(driver.Connection):  # type: ignore[misc]  # untyped
    """A connection that may have been ended by the other side."""

    def answers(self) -> bool:
        """Whether it is still there."""
        try:
            self.autocommit = True  # by itself, not in the transaction that is to come
            self.cursor().execute("SELECT 1")
            self.autocommit = False
        except (driver.Error, OSError):
            return False
        return True

    def close(self) -> None:
        """End it; one that is gone already is as good."""
        with contextlib.suppress(driver.Error, OSError):
            super().close()


def _check(session: _Session, record: object, proxy: object) -> None:
    # A server that was restarted has ended the sessions that are kept here.
    del record, proxy
    if not session.answers():
        raise exc.DisconnectionError


def _execute(connection: Connection, query: str, arguments: Sequence[str]) -> Any:
    cursor = connection.connection.cursor()
    cursor.execute(query, arguments)
    return cursor


@cache
def _add_new(table: Table) -> str:
    key = ", ".join(column.name for column in table.primary_key)
    return f"{statements.add_new(table, _unnested(table, tuple(table.c.keys())))} RETURNING {key}"


@cache
def _merge(table: Table, columns: tuple[str, ...]) -> str:
    return statements.merge(table, columns, _unnested(table, columns), "greatest")


def _unnested(table: Table, columns: tuple[str, ...]) -> str:
    return f"SELECT * FROM unnest({', '.join(f'%s::{_type(table.c[name])}[]' for name in columns)})"


@cache
def _type(column: Column[Any]) -> str:
    return str(column.type.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def _arrays(rows: Sequence[Row]) -> list[str]:
    """Each column's values as PostgreSQL writes an array."""
    return ["{" + ",".join(map(_element, values)) + "}" for values in zip(*rows, strict=True)]


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    if isinstance(value, str):
        # No text there has a NUL.
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\0", "�") + '"'
    return repr(value)
