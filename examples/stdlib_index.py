"""Index the standard library of this interpreter: three lazy stages and a search.

    extract ──(path, bytes)──> parse ──Rows──> load ──> SQLite <── search

Each stage pulls from the one before it, so one batch is in memory and never all. `stdlib_index_plain.py` is the same
program without telemetry: `diff` the two to see what it takes.
"""

import argparse
import ast
import contextlib
import hashlib
import io
import itertools
import logging
import os
import sqlite3
import sysconfig
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import otel_pipeline as op

Rows = dict[str, list[tuple[object, ...]]]  # what one source file adds to each table
TABLES = {
    "modules": "path, size",
    "functions": "path, name, line",
    "classes": "path, name, line",
    "texts": "name, doc, path, line UNINDEXED",
}
SEARCHES = ("json decoder", "priority queue", "url quote")
# The parser ends with one of the last two on very deep nesting: that file is broken too, and no reason to stop.
UNPARSABLE = (SyntaxError, ValueError, LookupError, RecursionError, MemoryError)
log = logging.getLogger("stdlib_index")


@op.stage
def extract(root: Path, limit: int | None) -> Iterator[tuple[str, bytes]]:
    """Read the files; one that cannot be read is a failed record."""
    stage = op.current_stage()
    for path in stage.track(itertools.islice(python_files(root), limit)):
        try:
            yield path, (root / path).read_bytes()
        except OSError as error:
            stage.fail(error, record={"path": path})


@op.stage(kind="transform")
def parse(sources: Iterable[tuple[str, bytes]]) -> Iterator[Rows]:
    """Drop content seen before and parse the rest: in = out + failed + dropped."""
    stage = op.current_stage()
    seen: set[bytes] = set()
    for path, source in sources:
        if (digest := hashlib.sha256(source).digest()) in seen:
            stage.add(dropped=1, duplicate=1)
            continue
        seen.add(digest)
        try:
            yield parse_module(path, source)
        except UNPARSABLE as error:
            stage.fail(error, record={"path": path, "size": len(source)})


@op.stage
def load(modules: Iterator[Rows], connection: sqlite3.Connection) -> None:
    """Store all in one transaction, so a run that fails leaves the index of the run before."""
    cursor = connection.cursor()
    written = dict.fromkeys(TABLES, 0)
    with connection:
        create_tables(cursor)
        while batch := list(itertools.islice(modules, 200)):
            for table, columns in TABLES.items():
                rows = [row for module in batch for row in module[table]]
                cursor.executemany(f"INSERT INTO {table} VALUES (?{', ?' * columns.count(',')})", rows)
                written[table] += len(rows)
    stage = op.current_stage()
    for table, records in written.items():
        stage.dataset(f"stdlib.{table}", "write", records=records)
    modules_written = written["modules"]
    stage.check("not_empty", dataset="stdlib.modules", passed=modules_written, failed=int(modules_written == 0))
    log.info("indexed %s", ", ".join(f"{records} {table}" for table, records in written.items()))


@op.stage
def search(connection: sqlite3.Connection, phrases: Iterable[str]) -> None:
    """Look the phrases up in what was loaded."""
    cursor = connection.cursor()
    found = {phrase: find(cursor, phrase) for phrase in phrases}
    log.info("found %s", "; ".join(f"{phrase!r} in {', '.join(hits) or 'nothing'}" for phrase, hits in found.items()))


@op.pipeline("stdlib_index")
def build_index(root: Path, database: str, limit: int | None) -> None:
    """Run the stages; nothing is read before `load` asks for it."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        load(parse(extract(root, limit)), connection)
        search(connection, SEARCHES)


def python_files(root: Path) -> Iterator[str]:
    """Walk in a fixed order and past third-party packages: the same interpreter gives the same records."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted({*subfolders} - {"site-packages", "dist-packages"})
        yield from (Path(folder, name).relative_to(root).as_posix() for name in sorted(names) if name.endswith(".py"))


def parse_module(path: str, source: bytes) -> Rows:
    """Give the rows of one file; raises one of UNPARSABLE."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # under -W error a doubtful escape would make a good file a failed record
        tree = ast.parse(source.decode(encoding))
    path = storable(path)
    rows: Rows = {"modules": [(path, len(source))], "functions": [], "classes": [], "texts": []}
    rows["texts"].append((path, storable(ast.get_docstring(tree)), path, 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            rows["classes" if isinstance(node, ast.ClassDef) else "functions"].append((path, node.name, node.lineno))
            rows["texts"].append((node.name, storable(ast.get_docstring(node)), path, node.lineno))
    return rows


def storable(text: str | None) -> str:
    """Escape the lone surrogates of odd file names and docstrings: SQLite takes none."""
    return (text or "").encode("utf-8", "backslashreplace").decode()


def create_tables(cursor: sqlite3.Cursor) -> None:
    """Begin a transaction, since sqlite3 begins none before DDL, and replace the tables in it."""
    cursor.execute("BEGIN")
    for table in TABLES:
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
    with contextlib.suppress(sqlite3.OperationalError):  # SQLite may lack FTS5: then `texts` is a table like the others
        cursor.execute(f"CREATE VIRTUAL TABLE texts USING fts5({TABLES['texts']})")
    for table, columns in TABLES.items():
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")


def find(cursor: sqlite3.Cursor, phrase: str) -> list[str]:
    """Give the best three places by FTS5, or without it the first three that have the words in this order."""
    query = "SELECT path, line FROM texts WHERE {} LIMIT 3"
    try:
        hits = cursor.execute(query.format("texts MATCH ? ORDER BY rank, rowid"), [phrase]).fetchall()
    except sqlite3.OperationalError:
        hits = cursor.execute(query.format("name || doc LIKE ?"), [f"%{phrase.replace(' ', '%')}%"]).fetchall()
    return [f"{path}:{line}" for path, line in hits]


def main() -> None:
    """Read the options, set up telemetry, run."""
    parser = argparse.ArgumentParser(description="Index a folder of Python sources, by default the standard library.")
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_path("stdlib")), help="folder to index")
    parser.add_argument("--limit", type=int, help="stop after this many files")
    parser.add_argument("--database", default="", help="SQLite file whose index is replaced (default: a temporary one)")
    options = parser.parse_args()
    if not options.root.is_dir():
        parser.error(f"cannot index {str(options.root)!r}: --root takes a folder")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    op.setup("stdlib-index")
    build_index(options.root, options.database, options.limit)


if __name__ == "__main__":
    main()
