"""A store of any earlier version is brought up to the present one; one of a later version is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text

from otel_pipeline.store import schema
from otel_pipeline.store.errors import StoreError
from otel_pipeline.store.store import Store
from otel_pipeline.store.tables import metadata
from tests.kpi.events import NOW, run, stage

VERSIONS = sorted(Path(__file__).parent.glob("version-*.sql"))


def test_there_is_a_step_from_each_version_and_an_old_store_of_each() -> None:
    """Whoever raises the version adds both."""
    assert sorted(schema.STEPS) == list(range(schema.VERSION))
    assert [path.name for path in VERSIONS] == [f"version-{n}.sql" for n in range(1, schema.VERSION + 1)]


@pytest.mark.parametrize("old", VERSIONS, ids=lambda path: path.stem)
def test_an_old_store_is_upgraded_and_keeps_what_it_has(tmp_path: Path, old: Path) -> None:
    """Its run and stage are there, it knows them when they arrive again, and its tables are those of today."""
    path = tmp_path / "store.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.connection.driver_connection.executescript(old.read_text("utf-8"))  # type: ignore[union-attr]
    store = Store(path)
    with store.reading() as reader:
        [record] = reader.find_run("r1")
        assert record.run == run()
        assert reader.stages_of(record) == [stage()]
    assert store.write([run(), stage()], now=NOW) == {"repeated": 2}
    with engine.connect() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == set(metadata.tables)
        for name, table in metadata.tables.items():
            assert [column["name"] for column in found.get_columns(name)] == [column.name for column in table.c]
    engine.dispose()


def test_each_step_is_taken_once_in_order(tmp_path: Path) -> None:
    """From the version that is there to the one that is wanted, all in one transaction."""
    taken: list[int] = []

    def step(number: int) -> None:
        taken.append(number)

    def failing(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (x)"))
        raise RuntimeError

    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    steps = {0: schema.STEPS[0], 1: lambda _: step(1), 2: lambda _: step(2)}
    with engine.begin() as connection:
        schema.upgrade(connection, steps=steps, to=1)
    with engine.begin() as connection:
        schema.upgrade(connection, steps=steps, to=3)
    with engine.begin() as connection:
        schema.upgrade(connection, steps=steps, to=3)
        assert (taken, schema.version_of(connection)) == ([1, 2], 3)
    with pytest.raises(RuntimeError), engine.begin() as connection:
        schema.upgrade(connection, steps={3: failing}, to=4)
    with engine.connect() as connection:
        assert schema.version_of(connection) == 3
    engine.dispose()


def test_a_later_store_is_left_alone(tmp_path: Path) -> None:
    """The error says which version is there."""
    store = Store(tmp_path / "store.db")
    with store._writing() as connection:
        connection.execute(text("UPDATE meta SET value = '99' WHERE name = 'schema'"))
    with pytest.raises(StoreError, match="schema 99"):
        Store(store.name)
