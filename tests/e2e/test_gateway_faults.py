"""The gateway before a log store that fails: what is sent again, what is given up, and what waits behind."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from .clients import eventually
from .faults import Behaviour, FaultyEndpoint, refusing_address
from .servers import GATEWAY
from .stock import application

if TYPE_CHECKING:
    from .conftest import StartServer
    from .servers import Server

PATH = "/insert/opentelemetry/v1/logs"


def log_to(gateway: Server, service: str, body: str) -> None:
    """Send one log record; returns when the gateway has acknowledged it."""
    with application(service, gateway, "http/protobuf") as app:
        app.log(body)


def bodies(store: FaultyEndpoint) -> list[str]:
    """The text of every record that the store has acknowledged, in order."""
    requests = [ExportLogsServiceRequest.FromString(taken) for taken in store.taken(PATH)]
    return [
        record.body.string_value
        for request in requests
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


@pytest.mark.parametrize("fault", [Behaviour.UNAVAILABLE, Behaviour.OVERLOADED])
def test_refused_for_now_is_sent_again(
    service: str, start_server: StartServer, stores: dict[str, str], fault: Behaviour
) -> None:
    """What a store refuses with a retryable status arrives once when the store has recovered."""
    with FaultyEndpoint(fault) as store:
        gateway = start_server(GATEWAY, stores | {"GATEWAY_VICTORIALOGS": store.url})
        log_to(gateway, service, "kept")
        eventually(lambda: store.received)
        store.behaviour = Behaviour.TAKE
        assert eventually(lambda: bodies(store)) == ["kept"]


@pytest.mark.parametrize("fault", [Behaviour.REJECT, Behaviour.BROKEN])
def test_refused_for_good_does_not_stop_what_follows(
    service: str, start_server: StartServer, stores: dict[str, str], fault: Behaviour
) -> None:
    """What a store calls bad is given up after one attempt, and the records behind it arrive."""
    with FaultyEndpoint(fault) as store:
        gateway = start_server(GATEWAY, stores | {"GATEWAY_VICTORIALOGS": store.url})
        log_to(gateway, service, "bad")
        eventually(lambda: store.received)
        store.behaviour = Behaviour.TAKE
        log_to(gateway, service, "good")
        assert eventually(lambda: bodies(store)) == ["good"]


def test_silent_store_does_not_stop_the_senders(
    service: str, start_server: StartServer, stores: dict[str, str]
) -> None:
    """Before a store that never answers, the gateway acknowledges, and after a restart it delivers from its disk."""
    with FaultyEndpoint(Behaviour.SILENT) as silent, FaultyEndpoint() as store:
        gateway = start_server(GATEWAY, stores | {"GATEWAY_VICTORIALOGS": silent.url})
        log_to(gateway, service, "kept")
        eventually(lambda: silent.received)
        gateway.kill()
        gateway.environment = stores | {"GATEWAY_VICTORIALOGS": store.url}
        gateway.start()
        assert eventually(lambda: bodies(store)) == ["kept"]


def test_refusing_address_refuses() -> None:
    """Nobody answers there, and nobody else can listen there."""
    with refusing_address() as address:
        host, port = address.split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((host, int(port)))
