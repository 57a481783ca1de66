"""The pipeline of the end-to-end tests: three lazy stages, a database, failed records, logs. Fails when told to.

Run by ``python``, by ``opentelemetry-instrument python``, and by ``otel-pipeline run -- python``.
"""

import logging
import sqlite3
import sys

import otel_pipeline as op

log = logging.getLogger("orders")


@op.stage
def extract(count):
    yield from op.current_stage().track(range(count))


@op.stage
def transform(rows):
    for row in rows:
        if row % 10 == 3:
            op.current_stage().fail(ValueError(f"order {row} has no customer"), record={"order": row})
        elif row % 10 == 7:
            op.current_stage().add(dropped=1, duplicate=1)
        else:
            yield (row,)


@op.stage
def load(rows, fail):
    cursor = sqlite3.connect(":memory:").cursor()
    cursor.execute("CREATE TABLE orders (id INTEGER)")
    cursor.executemany("INSERT INTO orders VALUES (?)", list(rows))
    op.current_stage().dataset("warehouse.orders", "write", records=cursor.rowcount)
    log.warning("loaded %d orders", cursor.rowcount)
    if fail:
        raise RuntimeError("the warehouse is closed")


@op.pipeline("orders_etl")
def main(fail):
    load(transform(extract(1000)), fail)


if __name__ == "__main__":
    if "--setup" in sys.argv:
        op.setup()
    main("--fail" in sys.argv)
