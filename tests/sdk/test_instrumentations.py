"""Whether any instrumentation is installed, told without loading what would list them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from otel_pipeline.sdk.instrumentations import may_be_installed

if TYPE_CHECKING:
    from pathlib import Path

NAMES_ONE = "[opentelemetry_instrumentor]\nsqlite3 = package:Instrumentor\n"


def _distribution(place: Path, name: str, entry_points: str | None) -> str:
    folder = place / name
    folder.mkdir(parents=True)
    if entry_points is not None:
        (folder / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    return str(place)


@pytest.mark.parametrize("name", ["a-1.dist-info", "A-1.egg-info", "EGG-INFO"])
def test_one_is_found_wherever_a_distribution_says_so(tmp_path: Path, name: str) -> None:
    """In each of the forms in which importlib.metadata finds it."""
    assert may_be_installed([_distribution(tmp_path / "site", name, NAMES_ONE)])


@pytest.mark.parametrize("text", [None, "", "[console_scripts]\na = a:main\n"])
def test_none_is_found_where_no_distribution_names_one(tmp_path: Path, text: str | None) -> None:
    """Without entry points, and with others; also where a place on the path does not exist."""
    assert not may_be_installed([_distribution(tmp_path / "site", "a-1.dist-info", text), str(tmp_path / "gone")])


def test_what_cannot_be_looked_into_may_hold_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive on the path, or a finder of somebody's that finds distributions: importlib.metadata is asked."""
    archive = tmp_path / "packages.zip"
    archive.write_bytes(b"")
    assert may_be_installed([str(archive)])

    class Finder:
        def find_distributions(self) -> None: ...

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    assert may_be_installed([])


def test_what_importlib_metadata_finds_is_found_here() -> None:
    """In the environment of these tests."""
    assert may_be_installed(sys.path) or not entry_points(group="opentelemetry_instrumentor")


def test_importlib_metadata_is_not_loaded_in_vain(tmp_path: Path) -> None:
    """Where nothing names one, setup() does without."""
    program = f"""
import sys
from otel_pipeline.sdk import instrumentations
sys.path[:] = [{str(tmp_path)!r}]
before = "importlib.metadata" in sys.modules
instrumentations.load()
print("importlib.metadata" in sys.modules and not before)
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", done.stderr
