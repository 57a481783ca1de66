"""gateway.yaml keeps the promises of its comments and of docs/deploy.md; the real Collector runs it in tests/e2e."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .files import CONFIGS, REPOSITORY, load, settings_read

CONFIG = load(CONFIGS / "gateway.yaml")
LOOP = load(CONFIGS / "processor.yaml")
EXPORTERS: dict[str, dict[str, Any]] = CONFIG["exporters"] | LOOP["exporters"]
PIPELINES: dict[str, dict[str, list[str]]] = CONFIG["service"]["pipelines"]
WITH_PROCESSOR: dict[str, dict[str, list[str]]] = PIPELINES | LOOP["service"]["pipelines"]


@pytest.mark.parametrize("name", EXPORTERS)
def test_exporter_queues_on_disk_and_never_gives_up(name: str) -> None:
    """An outage of a store, however long, loses nothing that the disk has room for."""
    exporter = EXPORTERS[name]
    assert exporter["sending_queue"]["storage"] in CONFIG["service"]["extensions"]
    assert exporter["sending_queue"]["sizer"] == "bytes"
    assert exporter["retry_on_failure"]["max_elapsed_time"] == 0


@pytest.mark.parametrize("pipelines", [PIPELINES, WITH_PROCESSOR], ids=["alone", "with processor"])
def test_pipelines_limit_memory_first_and_have_one_way_out(pipelines: dict[str, dict[str, list[str]]]) -> None:
    """Each signal goes to a store by one path; a second way to Prometheus would double every sum."""
    for pipeline in pipelines.values():
        assert pipeline["processors"][0] == "memory_limiter"
        assert len(pipeline["exporters"]) == 1
    ways = [pipeline["exporters"][0] for name, pipeline in pipelines.items() if "/" not in name]
    assert sorted(ways) == ["otlp_grpc/jaeger", "otlp_http/prometheus", "otlp_http/victorialogs"]


def test_the_processor_gets_what_is_ours_and_prometheus_the_rest() -> None:
    """The two filters are each other's opposite: no metric goes both ways, and none is lost between them."""
    ours, others = (LOOP["processors"][f"filter/{name}"]["metrics"]["metric"] for name in ("ours", "others"))
    assert ours == [f"not {condition}" for condition in others]
    for signal in PIPELINES:
        assert LOOP["service"]["pipelines"][f"{signal}/ours"]["processors"][-1] == "filter/ours"
    assert LOOP["service"]["pipelines"]["metrics"]["processors"][-1] == "filter/others"


def test_nothing_acknowledged_is_only_in_memory() -> None:
    """No batch processor stands between the acknowledgement and the queue on disk."""
    used = {processor for pipeline in PIPELINES.values() for processor in pipeline["processors"]}
    assert not {processor for processor in used if processor.split("/")[0] == "batch"}


def test_metric_samples_keep_their_order() -> None:
    """One sender for Prometheus: several would overtake each other after an outage."""
    assert EXPORTERS["otlp_http/prometheus"]["sending_queue"]["num_consumers"] == 1


@pytest.mark.parametrize("file", ["gateway.yaml", "processor.yaml", "jaeger.yaml"])
def test_defaults_stay_on_this_machine(file: str) -> None:
    """Whoever starts a program without settings opens no port to the network and sends nothing away."""
    addresses = {
        default for defaults in settings_read(CONFIGS / file).values() for default in defaults if ":" in default
    }
    assert addresses
    assert {address for address in addresses if not re.match(r"(http://)?127\.0\.0\.1:\d+$", address)} == set()


@pytest.mark.parametrize("file", ["gateway.yaml", "processor.yaml", "jaeger.yaml"])
def test_every_setting_is_documented_with_its_default(file: str) -> None:
    """docs/deploy.md has a row for each variable that the file reads, with the one default that it has there."""
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", (REPOSITORY / "docs" / "deploy.md").read_text(), re.MULTILINE)
    documented = dict(rows)
    for name, defaults in settings_read(CONFIGS / file).items():
        assert defaults == {documented.get(name)}, (
            f"{name} has the defaults {defaults}, documented {documented.get(name)}"
        )
