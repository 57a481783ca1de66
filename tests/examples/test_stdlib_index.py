"""The plain twin does what `os.walk`, `ast.parse` and `hashlib` say, and the instrumented example is the same work."""

import ast
import importlib.util
import os
import sqlite3
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import TREE, Truth, find_truth

EXAMPLES = Path(__file__).parents[2] / "examples"
TWIN = EXAMPLES / "stdlib_index_plain.py"
INSTRUMENTED = EXAMPLES / "stdlib_index.py"
PURE_FUNCTIONS = ["python_files", "parse_module", "storable", "create_tables", "find"]
PURE_VALUES = ["Rows", "TABLES", "SEARCHES", "UNPARSABLE"]


class NoFts5Cursor(sqlite3.Cursor):
    """A cursor on an SQLite that was built without FTS5."""

    def execute(self, sql: str, *parameters: Any) -> "NoFts5Cursor":
        """Refuse virtual tables as such a build does."""
        if "VIRTUAL" in sql:
            raise sqlite3.OperationalError("no such module: fts5")
        super().execute(sql, *parameters)
        return self


def run_twin(*options: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # Warnings are errors there too, so that a source with a doubtful escape would show as a broken one.
    command = [sys.executable, "-W", "error", TWIN, *options]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, cwd=cwd)


def stored(database: Path, truth: Truth) -> Truth:
    """Give the truth with what the database holds in the places of the rows."""
    with closing(sqlite3.connect(database)) as connection:
        return truth._replace(
            modules=sorted(connection.execute("SELECT path, size FROM modules")),
            functions=sorted(connection.execute("SELECT path, name, line FROM functions")),
            classes=sorted(connection.execute("SELECT path, name, line FROM classes")),
        )


@pytest.fixture
def twin() -> ModuleType:
    """Import the twin without running it."""
    spec = importlib.util.spec_from_file_location("stdlib_index_plain", TWIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def definitions(path: Path) -> dict[str, str]:
    """Give functions and assigned values of a source by name, as dumped trees without positions."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = ast.dump(node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.dump(node)
    return found


def test_truth_of_the_made_folder_is_what_was_written_there(tree: Path) -> None:
    """The independent count agrees with the tables that the folder is made from."""
    assert find_truth(tree) == TREE


def test_database_holds_what_the_made_folder_defines(tree: Path, tmp_path: Path) -> None:
    """BOM, cookies, CRLF and lone surrogates are parsed; broken encodings and syntax, null bytes, depth are not."""
    done = run_twin("--root", tree, "--database", tmp_path / "index.db")
    assert done.returncode == 0, done.stderr
    assert stored(tmp_path / "index.db", TREE) == TREE


def test_log_says_the_counts(tree: Path) -> None:
    """One line tells files, duplicates and files that do not parse; standard output stays empty."""
    done = run_twin("--root", tree)
    assert (
        f"read {TREE.files} files, 0 unreadable, {TREE.duplicates} duplicates, {TREE.unparsable} unparsable"
        in done.stderr
    )
    assert f"indexed {len(TREE.modules)} modules, {len(TREE.functions)} functions" in done.stderr
    assert done.stdout == ""


def test_standard_library_with_a_limit(tmp_path: Path) -> None:
    """The first files of the interpreter's own library, by default, give what the independent count gives."""
    truth = find_truth(Path(sysconfig.get_path("stdlib")), limit=150)
    done = run_twin("--limit", "150", "--database", tmp_path / "index.db")
    assert done.returncode == 0, done.stderr
    assert stored(tmp_path / "index.db", truth) == truth
    assert f"read 150 files, 0 unreadable, {truth.duplicates} duplicates, {truth.unparsable} unparsable" in done.stderr


def test_second_run_replaces_the_index(tree: Path, tmp_path: Path) -> None:
    """Running twice into one file gives one index, of the last state."""
    options = ("--root", tree, "--database", tmp_path / "index.db")
    run_twin(*options)
    (tree / "good.py").write_bytes(b"")
    (tree / "package" / "good_again.py").unlink()
    done = run_twin(*options)
    assert done.returncode == 0, done.stderr
    truth = find_truth(tree)
    assert stored(tmp_path / "index.db", truth) == truth != TREE


def test_failed_load_leaves_the_index_of_the_run_before(twin: ModuleType) -> None:
    """An error in the middle of the input rolls everything back, the replaced tables as well."""
    with closing(sqlite3.connect(":memory:")) as connection:
        twin.load(iter([twin.parse_module("before.py", b"def before(): pass")]), connection)

        def broken_source() -> Any:
            yield from (twin.parse_module(f"after{number}.py", b"") for number in range(500))
            raise ConnectionError("input lost")

        with pytest.raises(ConnectionError):
            twin.load(broken_source(), connection)
        assert list(connection.execute("SELECT path FROM modules")) == [("before.py",)]
        assert twin.find(connection.cursor(), "before") != []


def test_default_database_leaves_no_file(tree: Path, tmp_path: Path) -> None:
    """Without --database the index is SQLite's own temporary one."""
    folder = tmp_path / "empty"
    folder.mkdir()
    assert run_twin("--root", tree, cwd=folder).returncode == 0
    assert list(folder.iterdir()) == []


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A wrong --root ends with the status of a usage error before the index is touched."""
    done = run_twin("--root", tmp_path / "absent", "--database", tmp_path / "index.db")
    assert done.returncode == 2
    assert "absent" in done.stderr
    assert not (tmp_path / "index.db").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_unreadable_file_is_counted_and_passed_over(tree: Path) -> None:
    """A dangling link ends nothing."""
    (tree / "dangling.py").symlink_to(tree / "gone.py")
    done = run_twin("--root", tree)
    assert done.returncode == 0, done.stderr
    assert f"read {TREE.files + 1} files, 1 unreadable" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_file_name_that_is_not_unicode_is_stored_escaped(tree: Path, tmp_path: Path) -> None:
    """Any name that the system allows can be indexed."""
    Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9.py")).write_bytes(b"def named(): pass\n")
    done = run_twin("--root", tree, "--database", tmp_path / "index.db")
    assert done.returncode == 0, done.stderr
    assert ("caf\\udce9.py", "named", 1) in stored(tmp_path / "index.db", TREE).functions


@pytest.mark.parametrize("factory", [sqlite3.Cursor, NoFts5Cursor])
@pytest.mark.parametrize(
    ("phrase", "places"),
    [("pour cup", ["good.py:2"]), ("tea", ["good.py:1"]), ("lait", ["cookie.py:2"]), ('"', []), ("absent", [])],
)
def test_search_with_and_without_full_text(
    twin: ModuleType, tree: Path, factory: type[sqlite3.Cursor], phrase: str, places: list[str]
) -> None:
    """Words of names and docstrings are found with FTS5 and, where SQLite lacks it, without; no phrase is an error."""
    with closing(sqlite3.connect(":memory:")) as connection:
        cursor = connection.cursor(factory)
        twin.create_tables(cursor)
        texts = [
            row
            for path in ("cookie.py", "good.py")
            for row in twin.parse_module(path, (tree / path).read_bytes())["texts"]
        ]
        cursor.executemany("INSERT INTO texts VALUES (?, ?, ?, ?)", texts)
        assert twin.find(cursor, phrase) == places


def test_walk_has_one_order_and_leaves_out_third_party(twin: ModuleType, tree: Path) -> None:
    """Files come before those of subfolders, each sorted, so --limit and the first of two duplicates never change."""
    files = list(twin.python_files(tree))
    assert files == sorted(files, key=lambda path: ("/" in path, path))
    assert len(files) == TREE.files


def test_twin_has_no_line_of_ours() -> None:
    """The twin imports the standard library alone."""
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(TWIN.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("name", PURE_FUNCTIONS + PURE_VALUES)
def test_both_files_do_the_same_work(name: str) -> None:
    """What the tests above show of the twin holds for the instrumented file: its pure parts are the same."""
    assert definitions(INSTRUMENTED)[name] == definitions(TWIN)[name]
