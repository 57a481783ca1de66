"""Programs that are run as processes, with a receiver for what they send."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.sdk.receiver import PATIENCE, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """How a program ended and what it printed."""

    code: int
    out: str
    err: str


class Lab:
    """A folder for a program's files, and how it is run there."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.folder = folder
        self.receiver = receiver

    def write(self, text: str, name: str = "etl.py") -> Path:
        """A file, its text dedented."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def environ(self, *, sends: bool = True, **more: str) -> dict[str, str]:
        """This process's environment without settings of telemetry, so that a developer's do not matter."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "TRACE", "PYTHON"))}
        kept["HOME"] = str(self.folder)
        kept["XDG_STATE_HOME"] = str(self.folder / "state")
        if sends:
            kept["OTEL_EXPORTER_OTLP_ENDPOINT"] = self.receiver.url
            # On a machine under load the default would leave some for later, and the tests ask for all.
            kept["OTEL_PIPELINE_EXIT_TIMEOUT"] = str(PATIENCE)
        return kept | more

    def start(
        self, *argv: str, launched: bool = False, sends: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start Python with these arguments."""
        launcher = [str(Path(sys.executable).with_name("opentelemetry-instrument"))] if launched else []
        return subprocess.Popen(
            [*launcher, sys.executable, *argv],
            cwd=self.folder,
            env=self.environ(sends=sends, **(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def python(
        self, *argv: str, launched: bool = False, sends: bool = True, env: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run Python with these arguments to its end."""
        with self.start(*argv, launched=launched, sends=sends, env=env) as process:
            try:
                out, err = process.communicate(timeout=2 * PATIENCE)
            finally:
                process.kill()
        return Outcome(process.returncode, out, err)

    def run(
        self, text: str, *argv: str, launched: bool = False, sends: bool = True, env: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run ``etl.py`` with this text, in the lab's folder."""
        self.write(text)
        return self.python("etl.py", *argv, launched=launched, sends=sends, env=env)

    def quiet(
        self, text: str, *argv: str, launched: bool = False, sends: bool = True, env: Mapping[str, str] | None = None
    ) -> Receiver:
        """The same for a program that is to end well without a word on stderr; returns what was received."""
        outcome = self.run(text, *argv, launched=launched, sends=sends, env=env)
        assert (outcome.code, outcome.err) == (0, ""), outcome
        return self.receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of the test's own."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def lab(tmp_path: Path, receiver: Receiver) -> Lab:
    """A folder and a receiver of the test's own."""
    return Lab(tmp_path, receiver)
