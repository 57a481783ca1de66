"""gateway.yaml keeps the promises of its comments and of docs/deploy.md; the real Collector runs it in tests/e2e."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .files import CONFIGS, REPOSITORY, load, settings_read

GATEWAY = CONFIGS / "gateway.yaml"
CONFIG = load(GATEWAY)
EXPORTERS: dict[str, dict[str, Any]] = CONFIG["exporters"]
PIPELINES: dict[str, dict[str, list[str]]] = CONFIG["service"]["pipelines"]


@pytest.mark.parametrize("name", EXPORTERS)
def test_exporter_queues_on_disk_and_never_gives_up(name: str) -> None:
    """An outage of a store, however long, loses nothing that the disk has room for."""
    exporter = EXPORTERS[name]
    assert exporter["sending_queue"]["storage"] in CONFIG["service"]["extensions"]
    assert exporter["sending_queue"]["sizer"] == "bytes"
    assert exporter["retry_on_failure"]["max_elapsed_time"] == 0


@pytest.mark.parametrize("signal", PIPELINES)
def test_pipeline_limits_memory_first_and_has_one_way_out(signal: str) -> None:
    """Each signal goes to one store by one path; a second way to Prometheus would double every sum."""
    pipeline = PIPELINES[signal]
    assert pipeline["processors"][0] == "memory_limiter"
    assert len(pipeline["exporters"]) == 1


def test_nothing_acknowledged_is_only_in_memory() -> None:
    """No batch processor stands between the acknowledgement and the queue on disk."""
    used = {processor for pipeline in PIPELINES.values() for processor in pipeline["processors"]}
    assert not {processor for processor in used if processor.split("/")[0] == "batch"}


def test_metric_samples_keep_their_order() -> None:
    """One sender for Prometheus: several would overtake each other after an outage."""
    assert EXPORTERS["otlp_http/prometheus"]["sending_queue"]["num_consumers"] == 1


@pytest.mark.parametrize("file", ["gateway.yaml", "jaeger.yaml"])
def test_defaults_stay_on_this_machine(file: str) -> None:
    """Whoever starts a program without settings opens no port to the network and sends nothing away."""
    addresses = {
        default for defaults in settings_read(CONFIGS / file).values() for default in defaults if ":" in default
    }
    assert addresses
    assert {address for address in addresses if not re.match(r"(http://)?127\.0\.0\.1:\d+$", address)} == set()


@pytest.mark.parametrize("file", ["gateway.yaml", "jaeger.yaml"])
def test_every_setting_is_documented_with_its_default(file: str) -> None:
    """docs/deploy.md has a row for each variable that the file reads, with the one default that it has there."""
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", (REPOSITORY / "docs" / "deploy.md").read_text(), re.MULTILINE)
    documented = dict(rows)
    for name, defaults in settings_read(CONFIGS / file).items():
        assert defaults == {documented.get(name)}, (
            f"{name} has the defaults {defaults}, documented {documented.get(name)}"
        )
