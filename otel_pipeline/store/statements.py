"""The statements that every batch runs, as the driver's text; SQLAlchemy's own way costs several times as much.

Both places understand the same ``INSERT … ON CONFLICT``. What differs is given: ``source``, where the rows come from,
and ``greatest``, the function that takes the greater of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table


def add_new(table: Table, source: str) -> str:
    """Insert the rows that are not there yet."""
    return f"{_insert(table, [column.name for column in table.c])} {source} ON CONFLICT DO NOTHING"


def merge(table: Table, columns: Sequence[str], source: str, greatest: str) -> str:
    """Insert rows of ``columns``; those that are there take what arrives by each column's rule.

    Of a table that has columns ``newest`` only rows that are greater by these.
    """
    rules = {name: rule for name in columns if (rule := table.c[name].info.get("rule")) is not None}
    changes = ", ".join(f"{name} = {_changed(table, name, rule, greatest)}" for name, rule in rules.items())
    text = f"{_insert(table, columns)} {source} ON CONFLICT ({', '.join(identity(table))}) DO UPDATE SET {changes}"
    if (newest := table.info.get("newest")) is not None:
        arrives, there = (", ".join(f"{of}.{name}" for name in newest) for of in ("excluded", table.name))
        text += f" WHERE ({arrives}) > ({there})"
    elif set(rules.values()) == {"greatest"}:  # the row is locked even so, but nothing is written
        text += " WHERE " + " OR ".join(f"excluded.{name} > {table.name}.{name}" for name in rules)
    return text


def identity(table: Table) -> tuple[str, ...]:
    """The columns by which a row is known again."""
    return tuple(table.info.get("identity", (column.name for column in table.primary_key)))


def _insert(table: Table, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table.name} ({', '.join(columns)})"


def _changed(table: Table, name: str, rule: str, greatest: str) -> str:
    there, arrives = f"{table.name}.{name}", f"excluded.{name}"
    return {"add": f"{there} + {arrives}", "greatest": f"{greatest}({there}, {arrives})", "replace": arrives}[rule]
