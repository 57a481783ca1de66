"""The arrows that import-linter cannot draw: which packages of OpenTelemetry a room may import, and who reads what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "otel_pipeline"
API_ONLY = ("instrument", "kpi", "terminal", "semconv", "model.py", "errors.py")


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(room: str) -> list[Path]:
    """The Python files of a room."""
    path = PACKAGE / room
    return [path] if path.suffix else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("room", API_ONLY)
def test_rooms_of_the_users_code_import_the_api_only(room: str) -> None:
    """Neither OpenTelemetry's SDK nor an exporter is imported by what user code calls, not even lazily."""
    for path in files(room):
        heavy = ("opentelemetry.sdk", "opentelemetry.exporter")
        forbidden = [name for name in imported(path) if name.startswith(heavy)]
        assert not forbidden, f"{path}: {forbidden}"


def test_only_config_reads_the_environment() -> None:
    """``os.environ`` is read by config.py; elsewhere it is only handed on to processes that are started."""
    hands_on = {"config.py", "sdk/processes.py"}
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "environ" in {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    }
    assert {name for name in readers if not name.startswith("run/")} <= hands_on


def test_files_are_short() -> None:
    """A file is read top-down; one of more than 400 lines is two files."""
    long = {path.name: n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 400}
    assert not long
