"""The schema's version, and the way from each to the next.

A store of an earlier version is brought up step by step, in one transaction; one of a later version is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect, select

from otel_pipeline.store.errors import StoreError
from otel_pipeline.store.tables import FORWARD, exported, lease, meta, metadata, taken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

VERSION = 2


def _from_0(connection: Connection) -> None:
    # Version 0 is an empty database, and this the only step that leads to the present version at once.
    metadata.create_all(connection)
    _add_lease(connection)


def _from_1(connection: Connection) -> None:
    for table in (taken, exported, lease):
        table.create(connection)
    _add_lease(connection)


def _add_lease(connection: Connection) -> None:
    # There from the start, so that it can be locked: two that find none would both make one.
    connection.execute(lease.insert().values(name=FORWARD, holder="", until=0, last=0))


STEPS: Mapping[int, Callable[[Connection], None]] = {0: _from_0, 1: _from_1}
"""What makes the next version of each."""


def version_of(connection: Connection) -> int:
    """The version of the schema that is there; 0 where there is none."""
    if not inspect(connection).has_table(meta.name):
        return 0
    return int(connection.scalar(select(meta.c.value).where(meta.c.name == "schema")) or 0)


def upgrade(
    connection: Connection, *, steps: Mapping[int, Callable[[Connection], None]] = STEPS, to: int = VERSION
) -> None:
    """Bring the schema to version ``to``. Raises StoreError for a store of a later version."""
    found = version_of(connection)
    if found > to:
        raise StoreError(f"the store has schema {found}, want {to} or less: it is of a later version of otel_pipeline")
    for version in range(found, to) if found else (0,):
        steps[version](connection)
    if found < to:
        connection.execute(meta.delete().where(meta.c.name == "schema"))
        connection.execute(meta.insert().values(name="schema", value=str(to)))
