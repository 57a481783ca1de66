"""Fixtures of the end-to-end tests: the real servers, started once per session, and clients for them.

The stores and the gateway are shared by all tests, so a test tells its own data by a service name of its own
(`service`). A test that stops or breaks a server starts one for itself with `start_server`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.postgresql import postgresql  # noqa: F401 - a fixture

from .clients import Jaeger, Prometheus, VictoriaLogs
from .servers import GATEWAY, JAEGER, PROMETHEUS, VICTORIALOGS, Program, Server, missing_binaries

REQUIRE = "OTEL_PIPELINE_REQUIRE_SERVERS"
LEFT_OUT = "end-to-end tests left out"
HERE = Path(__file__).parent
servers_key = pytest.StashKey[list[Server]]()


class StartServer(Protocol):
    """Starts a server that ends with the test; with `ready=False` it only gets addresses, for the test to start it."""

    def __call__(self, program: Program, environment: Mapping[str, str] | None = None, *, ready: bool = True) -> Server:
        """Return the server, ready to take data unless told otherwise."""
        ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, so that `-m "not e2e"` leaves it out."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            # One worker for all: each worker would start servers of its own.
            item.add_marker(pytest.mark.xdist_group("servers"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the end of each server's log beside a failure, and all tests that were left out as one line."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # the hook's result comes in through yield
    if report.skipped and isinstance(report.longrepr, tuple) and LEFT_OUT in report.longrepr[2]:
        # pytest's summary joins skips of one place; their own places would give a line for each test.
        report.longrepr = (str(HERE), None, report.longrepr[2])  # type: ignore[assignment]
    if report.failed and HERE in item.path.parents:
        for server in item.config.stash.get(servers_key, []):
            report.sections.append((f"log of {server.program.binary} ({server.log})", server.tail()))
    return report  # type: ignore[return-value]


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """Leave the tests out when the servers are not installed; fail them when the environment says that they must be."""
    lacking = missing_binaries()
    what = f"{', '.join(lacking)} not installed (run `make backends`)"
    if lacking and os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, and {what}", pytrace=False)
    if lacking:
        pytest.skip(f"{LEFT_OUT}: {what}")


@pytest.fixture(scope="session")
def launch(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Program, Mapping[str, str]], Server]:
    """Make a server in a temporary folder; whoever calls it starts and stops it."""
    known = pytestconfig.stash.setdefault(servers_key, [])

    def make(program: Program, environment: Mapping[str, str]) -> Server:
        server = Server(program, tmp_path_factory.mktemp(program.binary), environment)
        known.append(server)
        return server

    return make


Launch = Callable[[Program, Mapping[str, str]], Server]


def _for_the_session(launch: Launch, program: Program, environment: Mapping[str, str]) -> Iterator[Server]:
    server = launch(program, environment)
    yield server.start_on_free_ports()
    server.stop()


@pytest.fixture(scope="session")
def jaeger_server(launch: Launch) -> Iterator[Server]:
    """The session's Jaeger; ports `otlp` (gRPC), `http`, `grpc`, `health`."""
    yield from _for_the_session(launch, JAEGER, {})


@pytest.fixture(scope="session")
def prometheus_server(launch: Launch) -> Iterator[Server]:
    """The session's Prometheus; port `http`."""
    yield from _for_the_session(launch, PROMETHEUS, {})


@pytest.fixture(scope="session")
def victorialogs_server(launch: Launch) -> Iterator[Server]:
    """The session's VictoriaLogs; port `http`."""
    yield from _for_the_session(launch, VICTORIALOGS, {})


@pytest.fixture(scope="session")
def stores(jaeger_server: Server, prometheus_server: Server, victorialogs_server: Server) -> dict[str, str]:
    """The environment that points a gateway at the session's stores."""
    return {
        "GATEWAY_JAEGER": jaeger_server.address("otlp"),
        "GATEWAY_PROMETHEUS": prometheus_server.url("http"),
        "GATEWAY_VICTORIALOGS": victorialogs_server.url("http"),
    }


@pytest.fixture(scope="session")
def gateway(launch: Launch, stores: dict[str, str]) -> Iterator[Server]:
    """The session's Collector with gateway.yaml before the three stores; ports `grpc`, `http`, `health`."""
    yield from _for_the_session(launch, GATEWAY, stores)


@pytest.fixture(scope="session")
def jaeger(jaeger_server: Server) -> Jaeger:
    """A client of the session's Jaeger."""
    return Jaeger(jaeger_server.url("http"))


@pytest.fixture(scope="session")
def prometheus(prometheus_server: Server) -> Prometheus:
    """A client of the session's Prometheus."""
    return Prometheus(prometheus_server.url("http"))


@pytest.fixture(scope="session")
def logs(victorialogs_server: Server) -> VictoriaLogs:
    """A client of the session's VictoriaLogs."""
    return VictoriaLogs(victorialogs_server.url("http"))


@pytest.fixture
def service() -> str:
    """A service name that no other test uses."""
    return f"service-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def start_server(launch: Launch) -> Iterator[StartServer]:
    """Start servers that end with the test."""
    started: list[Server] = []

    def start(program: Program, environment: Mapping[str, str] | None = None, *, ready: bool = True) -> Server:
        server = launch(program, environment or {})
        started.append(server)
        return server.start_on_free_ports() if ready else server.reserve()

    yield start
    for server in reversed(started):
        server.stop()


@pytest.fixture(params=["http/protobuf", "grpc"])
def otlp_environment(request: pytest.FixtureRequest, gateway: Server) -> dict[str, str]:
    """The environment of a user's process that sends to the session's gateway: one test run for each transport."""
    protocol: str = request.param
    return {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": gateway.url("grpc" if protocol == "grpc" else "http"),
    }
