"""A real `otel-pipeline serve` in a process of its own, for the tests that talk to it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MAIN = "import sys; from otel_pipeline.cli import main; sys.exit(main())"
TIMEOUT = 60.0


@dataclass
class Served:
    """One process; ``said`` is the file of what it says."""

    process: subprocess.Popen[bytes]
    said: Path
    grpc: str = ""
    http: str = ""
    options: Sequence[str] = field(default_factory=tuple)

    def metrics(self) -> dict[str, float]:
        """``GET /metrics``, by series as it is written."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=TIMEOUT) as response:
            lines = response.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)


def environment(folder: Path) -> dict[str, str]:
    """For a process whose store and queues, and config file where it has one, are in ``folder``."""
    file = folder / "otel-pipeline.yaml"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    named = {"OTEL_PIPELINE_CONFIG_FILE": str(file)} if file.exists() else {}
    return (
        kept
        | named
        | {
            "OTEL_PIPELINE_QUEUE_DIR": str(folder / "queue"),
            "OTEL_PIPELINE_STORE": str(folder / "store.db"),
        }
    )


def cli(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of ``otel-pipeline``."""
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@contextlib.contextmanager
def serving(
    folder: Path,
    *options: str,
    grpc: str = "127.0.0.1:0",
    http: str = "127.0.0.1:0",
    more: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """Serve until the end of the block; it listens when the block begins. ``more``: variables of its environment."""
    said = folder / f"said-{time.monotonic_ns()}"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "serve", "--grpc", grpc, "--http", http, *options],
            env=environment(folder) | dict(more or {}),
            stderr=stderr,
        )
    served = Served(process, said)
    try:
        served.grpc, served.http = _addresses(served)
        yield served
    finally:
        process.kill()
        process.wait()


def _addresses(served: Served) -> tuple[str, str]:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and served.process.poll() is None:
        if found := re.search(r"OTLP/gRPC at (\S+), .* http://(\S+), store", served.said.read_text()):
            return found[1], found[2]
        time.sleep(0.02)
    raise AssertionError(f"it does not serve: {served.said.read_text()}")
