"""docker-compose.yml agrees with the schema, with the files that it mounts and with the versions that the tests run."""

from __future__ import annotations

import importlib.resources
import json
import re
from typing import Any

import jsonschema
import pytest

from .files import CONFIGS, REPOSITORY, compose, pins, services, settings_read

LOOPBACK = "127.0.0.1"


def test_file_follows_the_compose_specification() -> None:
    """The published JSON schema of the Compose specification accepts the file."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema, which ships the Compose schema, is not installed")
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(compose(), json.loads(vendored.read_text()))


def test_mounted_files_exist_and_are_what_the_programs_read() -> None:
    """Every file mounted is in the repository, read-only, and at the path that its program is told."""
    for name, service in services().items():
        files = [volume.split(":") for volume in service["volumes"] if volume.startswith("./")]
        for source, target, mode in files:
            assert (REPOSITORY / source).is_file(), f"{name} mounts {source}, which does not exist"
            assert mode == "ro"
            assert any(flag.endswith(f"={target}") for flag in service["command"]), f"{name} does not read {target}"


@pytest.mark.parametrize(
    ("service", "files"), [("gateway", ("gateway.yaml", "processor.yaml")), ("jaeger", ("jaeger.yaml",))]
)
def test_environment_is_what_the_configuration_reads(service: str, files: tuple[str, ...]) -> None:
    """A program is given every variable that its files read, and none that nothing reads."""
    of_the_runtime = {"GOMEMLIMIT"}
    read = {name for file in files for name in settings_read(CONFIGS / file)}
    assert set(services()[service]["environment"]) - of_the_runtime == read


def test_gateway_finds_each_store_where_it_listens() -> None:
    """The addresses that the gateway is given name services, at the ports on which these listen."""
    environment = services()["gateway"]["environment"]
    for setting in ("GATEWAY_JAEGER", "GATEWAY_PROMETHEUS", "GATEWAY_VICTORIALOGS", "GATEWAY_PROCESSOR"):
        host, port = environment[setting].removeprefix("http://").split(":")
        assert port in listened(services()[host]), f"{setting} names port {port}, on which {host} does not listen"


def test_the_processor_is_built_of_this_checkout_and_sends_to_the_gateway() -> None:
    """Its Dockerfile copies what is there, and its KPI metrics go where the gateway listens for HTTP."""
    processor = services()["processor"]
    dockerfile = REPOSITORY / processor["build"]["dockerfile"]
    copied = [line.split()[1:-1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY")]
    assert all((REPOSITORY / name).exists() for names in copied for name in names)
    kept = (REPOSITORY / ".dockerignore").read_text()
    assert all(f"!{name}" in kept for names in copied for name in names)
    assert "--forward=http://gateway:4318" in processor["command"]
    assert services()["gateway"]["environment"]["GATEWAY_OTLP_HTTP"].endswith(":4318")


def test_ports_are_published_on_loopback_only() -> None:
    """Nothing is reachable from another machine unless the user changes it, and what is published is served."""
    for name, service in services().items():
        for published in service["ports"]:
            address, _, inside = published.split(":")
            assert address == LOOPBACK, f"{name} publishes {published}"
            assert inside in listened(service), f"{name} publishes {published} and does not listen there"


def test_names_refer_to_something() -> None:
    """Services depended on and volumes mounted are declared, and no volume is declared in vain."""
    mounted = {
        volume.split(":")[0]
        for service in services().values()
        for volume in service["volumes"]
        if not volume.startswith("./")
    }
    assert mounted == set(compose()["volumes"])
    for service in services().values():
        assert set(service.get("depends_on", [])) <= set(services())


def test_images_are_the_versions_that_the_tests_run() -> None:
    """Each image's tag is the release of the Go module that scripts/backends builds."""
    versions = pins()
    images = {service["image"] for service in services().values() if "build" not in service}
    assert images == {
        f"otel/opentelemetry-collector-contrib:{versions['ocb'].removeprefix('v')}",
        f"jaegertracing/jaeger:{jaeger_release(versions['jaeger'])}",
        f"prom/prometheus:{prometheus_release(versions['prometheus'])}",
        f"victoriametrics/victoria-logs:{versions['victorialogs']}",
    }


def listened(service: dict[str, Any]) -> set[str]:
    """The ports on which a service listens, by its environment and its command line."""
    told = [*service.get("environment", {}).values(), *service["command"]]
    return {match[1] for value in told if (match := re.search(r"0\.0\.0\.0:(\d+)$", str(value)))}


def jaeger_release(module: str) -> str:
    """Jaeger 2 is tagged together with a Jaeger 1 whose minor number is 63 higher; only the latter is a Go module."""
    major, minor, patch = module.removeprefix("v").split(".")
    assert major == "1"
    return f"2.{int(minor) - 63}.{patch}"


def prometheus_release(module: str) -> str:
    """Prometheus 3.16.0 is the Go module v0.316.0."""
    _, minor, patch = module.split(".")
    return f"v{minor[0]}.{int(minor[1:])}.{patch}"
