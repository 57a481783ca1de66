"""Beside OpenTelemetry's own distro: whichever of the two the launcher takes, our spans and figures are there."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sdk.conftest import Lab

# A python in whose environment both are installed; where there is none, one that says that it has the other distro.
BOTH = os.environ.get("TEST_PYTHON_WITH_DISTRO", "")
PROGRAM = """
import logging, sqlite3, otel_pipeline as op
logging.basicConfig(stream=open("log", "w"))
with op.pipeline("orders"):
    with op.stage("load") as stage:
        stage.add(records_out=3)
        logging.getLogger("etl").warning("once")
        sqlite3.connect(":memory:").cursor().execute("create table t (a)")
"""


@pytest.mark.skipif(not BOTH, reason="TEST_PYTHON_WITH_DISTRO names no python that has opentelemetry-distro as well")
@pytest.mark.parametrize("distro", ["", "otel_pipeline", "distro"])
@pytest.mark.parametrize("configurator", ["", "otel_pipeline", "configurator"])
def test_beside_opentelemetrys_distro(lab: Lab, distro: str, configurator: str) -> None:
    """One run, one trace, each record and each figure once."""
    lab.write(PROGRAM)
    env = {"OTEL_PYTHON_DISTRO": distro, "OTEL_PYTHON_CONFIGURATOR": configurator}
    env["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    # Their distro says so to their configurator; ours needs none to say it.
    env |= dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "otlp")
    done = subprocess.run(
        [str(Path(BOTH).with_name("opentelemetry-instrument")), BOTH, "etl.py"],
        cwd=lab.folder, env={**lab.environ(), **{key: value for key, value in env.items() if value}},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done
    assert all("Configuration of" in line for line in done.stderr.splitlines()), done.stderr
    receiver = lab.receiver
    assert receiver.tree() == {"": ["run orders"], "run orders": ["stage load"], "stage load": ["create"]}
    assert receiver.messages() == ["once"]
    assert receiver.total("pipeline.stage.records") == 3
    assert receiver.total("pipeline.run.ended") == 1


def test_only_our_distro_is_here() -> None:
    """What the other tests take for granted."""
    with pytest.raises(PackageNotFoundError):
        version("opentelemetry-distro")
