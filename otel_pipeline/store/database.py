"""Where the tables are: SQLite or PostgreSQL. All that differs between them is behind ``Database``.

::

    Store ─► Database ─┬─ Sqlite      (sqlite.py)      a file of this user's; one writer at a time
                       └─ Postgresql  (postgresql.py)  a server; several processors write at the same time

**Order.** Rows are given in the order of their keys, and tables in the order of ``run_key``, ``stage`` and ``run``,
``daily``, ``watched``, sums and the rest. Two transactions that want the same rows then wait for each other and never
in a circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Table

    from otel_pipeline.store.rows import Row


class Database(Protocol):
    """A place for the tables."""

    name: str
    """As people and errors see it: without a password."""
    read_only: bool

    def prepare(self) -> None:
        """Make it where it is missing and can be made; see whether it is read-only."""

    def close(self) -> None:
        """Close what is open; whoever uses it later opens it again."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that sees one moment."""

    def translated(self) -> AbstractContextManager[None]:
        """The driver's exceptions within become ``StoreError``."""

    def alone(self, connection: Connection) -> None:
        """Wait until no other process changes the schema, and keep others away until the transaction ends."""

    def clock(self, connection: Connection) -> int:
        """Now, in nanoseconds since the epoch, by one clock for all who share the place."""

    def add_new(self, connection: Connection, table: Table, rows: Sequence[Row]) -> Iterable[Row]:
        """Insert the rows that are not there; which those were, by their primary keys, the first columns."""

    def merge(self, connection: Connection, table: Table, rows: Sequence[Row], columns: Sequence[str] = ()) -> None:
        """Insert rows, or change those that are there, by the rules of the table's columns.

        ``columns`` are the rows' columns, where they have not all.
        """

    def find(
        self, connection: Connection, table: Table, columns: Sequence[str], by: str, values: Sequence[Any]
    ) -> list[Row]:
        """``columns`` of the rows whose column ``by`` is among ``values``."""
