"""Running commands under the parent, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-I")
"""An interpreter that PYTHONPATH does not reach: what it runs is a command like any other, without OpenTelemetry."""

TIMEOUT = 60


class Parent:
    """Starts commands under ``otel-pipeline run``, and has what was sent about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "spans.jsonl"

    def argv(self, *command: str, mode: str = "plain") -> list[str]:
        """The arguments that start ``command`` under the parent."""
        return [sys.executable, "-m", "tests.run.parent_process", str(self.file), mode, *command]

    def environ(self, **more: str) -> dict[str, str]:
        """This process's environment without settings of OpenTelemetry, so that a developer's do not matter."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "TRACE", "PYTHON"))}
        return {**kept, "PYTHONPATH": str(ROOT), **more}

    def run(self, *command: str, mode: str = "plain", **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run ``command`` under the parent to its end."""
        options.setdefault("env", self.environ())
        return subprocess.run(
            self.argv(*command, mode=mode), capture_output=True, timeout=TIMEOUT, check=False, **options
        )

    def script(self, text: str, name: str = "job.py") -> str:
        """A file with ``text``, and its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    @property
    def spans(self) -> list[dict[str, Any]]:
        """The spans that were sent."""
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    @property
    def span(self) -> dict[str, Any]:
        """The only span that was sent."""
        (span,) = self.spans
        return span

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the only span that was sent."""
        attributes: dict[str, Any] = self.span["attributes"]
        return attributes


@pytest.fixture
def parent(tmp_path: Path) -> Parent:
    """A parent whose files are in the test's folder."""
    return Parent(tmp_path)


def both(parent: Parent, command: Sequence[str], **options: Any) -> tuple[Any, Any]:
    """``command`` run directly, and under the parent."""
    options.setdefault("env", parent.environ())
    direct = subprocess.run(list(command), capture_output=True, timeout=TIMEOUT, check=False, **options)
    return direct, parent.run(*command, **options)
