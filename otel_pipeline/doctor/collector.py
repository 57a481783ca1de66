"""Whether OTLP arrives: an empty request of each signal, over the configured protocol, to the configured endpoint."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from otel_pipeline import config
from otel_pipeline.doctor.rows import Row
from otel_pipeline.errors import SettingError
from otel_pipeline.queue import Signal
from otel_pipeline.queue.settings import signal_endpoint
from otel_pipeline.queue.transport import Accepted, open_transport
from otel_pipeline.sdk.export import sender_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_pipeline.doctor.rows import Situation
    from otel_pipeline.queue.settings import SenderSettings
    from otel_pipeline.queue.transport import Transport

PATIENCE = 3.0
"""Seconds for one answer; an endpoint that gave none is not asked again for another signal."""

_LONGEST = 300


class Cause(NamedTuple):
    """Why a request did not arrive: what the transport says of it, what that is called, and what to do."""

    pattern: str
    name: str
    todo: str


CAUSES: tuple[Cause, ...] = (
    Cause(
        "BadStatusLine|RemoteDisconnected|closed connection|Connection reset|http1|http2|HTTP2|HTTP/2"
        "|[\x00-\x08]|HTTP/0|SETTINGS frame|Socket closed|Broken pipe|^gRPC UNKNOWN",
        "protocol",
        "it speaks another protocol: port 4318 is for http/protobuf, 4317 for grpc (setting protocol)",
    ),
    Cause("refused", "refused", "nothing listens there: start the Collector, or correct the endpoint"),
    Cause(
        "CERTIFICATE_VERIFY_FAILED|certificate verify failed|Hostname mismatch",
        "TLS",
        "the certificate is not trusted: name its authority in OTEL_EXPORTER_OTLP_CERTIFICATE",
    ),
    Cause(
        "WRONG_VERSION_NUMBER|record layer|UNEXPECTED_EOF|SSL|[Tt][Ll][Ss]",
        "TLS",
        "there is no TLS at that port, or another kind: is it http:// instead of https://, or the reverse?",
    ),
    Cause("timed out|DEADLINE_EXCEEDED|timeout", "timeout", "nothing answers there: a firewall, or another host?"),
    Cause(
        "HTTP 401|UNAUTHENTICATED",
        "401",
        "it wants credentials: OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN",
    ),
    Cause("HTTP 403|PERMISSION_DENIED", "403", "it does not accept these credentials (OTEL_EXPORTER_OTLP_HEADERS)"),
    Cause(
        "^HTTP 40[45]|^gRPC UNIMPLEMENTED",
        "404",
        "there is no OTLP at that address: want the base URL without /v1/traces, usually port 4318 (4317 for grpc)",
    ),
    Cause(
        "getaddrinfo|Name or service|nodename|not known|DNS|resolution",
        "name",
        "the host's name is not known: is it spelt right, and known from here?",
    ),
    Cause("unreachable|No route", "network", "there is no way to that host from here"),
    Cause("HTTP 4..", "refuses", "it refuses what otel_pipeline sends: is it an OTLP receiver?"),
    Cause("HTTP 5..|HTTP 429|UNAVAILABLE|RESOURCE_EXHAUSTED", "unavailable", "it answers that it cannot take it now"),
)
"""The first that fits counts."""


def reached(situation: Situation) -> Iterator[Row]:
    """A row for each signal that is sent by OTLP, and for each exporter that does not exist."""
    if config.sdk_disabled(situation.variables):
        yield Row("endpoint", "everything is off: nothing is sent", state="note")
        return
    chosen = {s: config.exporter_names(s.label, situation.settings, situation.variables) for s in Signal}
    if not any(chosen.values()):
        kept = config.embedded(situation.settings, situation.variables)
        told = "none: runs are kept on this machine, for `otel-pipeline runs`" if kept else "none: nothing is sent"
        yield Row("endpoint", told)
        return
    yield from _others(chosen)
    if not (by_otlp := [signal for signal, names in chosen.items() if "otlp" in names]):
        return
    try:
        sender = sender_settings(situation.settings, config.otlp_variables(situation.variables))
        transport = open_transport(sender)
    except (SettingError, ImportError, OSError, ValueError) as error:
        yield Row("endpoint", str(error), state="wrong", todo="correct the settings of OTLP")
        return
    try:
        yield from _signals(sender, transport, by_otlp)
    finally:
        transport.close()


def _signals(sender: SenderSettings, transport: Transport, signals: list[Signal]) -> Iterator[Row]:
    silent: dict[str, str] = {}
    for signal in signals:
        address = signal_endpoint(sender, signal)
        host = urlsplit(address).netloc or address
        if host in silent:
            yield Row(signal.label, f"{address}: not asked, for the same reason", sender.protocol, "wrong")
            continue
        began = time.monotonic()
        outcome = transport.send(signal, b"", min(PATIENCE, sender.timeout_s))
        if isinstance(outcome, Accepted):
            yield Row(signal.label, f"{address} answers, in {(time.monotonic() - began) * 1e3:.0f} ms", sender.protocol)
            continue
        cause = cause_of(outcome.reason)
        if not re.match("HTTP", outcome.reason):
            silent[host] = cause.name
        said = re.sub(r"[^ -~]+", "…", outcome.reason)[:_LONGEST]
        told = f"{address}: {cause.name}: {said}"
        yield Row(signal.label, told, sender.protocol, "wrong", cause.todo)


def cause_of(reason: str) -> Cause:
    """The row of ``CAUSES`` for what a transport says."""
    found = (cause for cause in CAUSES if re.search(cause.pattern, reason))
    return next(found, Cause("", "error", "see what it says"))


def _others(chosen: dict[Signal, list[str]]) -> Iterator[Row]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - loaded by OpenTelemetry in any case

    for signal, names in chosen.items():
        for name in names:
            if name == "otlp":
                continue
            variable = f"OTEL_{signal.label.upper()}_EXPORTER"
            if entry_points(group=f"opentelemetry_{signal.label}_exporter", name=name):
                yield Row(signal.label, f"goes to the exporter {name}", variable)
            else:
                told = f"nothing provides the exporter {name!r}"
                yield Row(signal.label, told, variable, "wrong", f"correct {variable}, or install what provides it")
