"""The seam between the sender and the network: one method, four answers."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from otel_pipeline.queue.format import Signal
    from otel_pipeline.queue.settings import SenderSettings

__all__ = ["Accepted", "Outcome", "Rejected", "Retry", "TooLarge", "Transport", "importing", "open_transport"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receiver has the request, but dropped `refused` of its items, for the reason it gave (partial success)."""

    refused: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """The same request may succeed later, not before `after_s` seconds if the receiver said so."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Smaller requests with the same items may succeed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The same request will never succeed."""

    reason: str


Outcome = Accepted | Retry | TooLarge | Rejected


class Transport(Protocol):
    """Delivers serialized OTLP export requests. One thread uses it; it connects when first used."""

    def send(self, signal: Signal, body: bytes, timeout_s: float) -> Outcome:
        """Send one request and wait at most about `timeout_s` seconds for its answer; raises nothing."""
        ...

    def close(self) -> None:
        """Close connections; a later `send` opens them again."""
        ...

    def abandon(self) -> None:
        """Let go of connections in a forked child without disturbing the parent, whose they are."""
        ...


def open_transport(settings: SenderSettings) -> Transport:
    """The transport for `settings.protocol`, imported here so that a process which never sends never loads it.

    Raises `ImportError` for gRPC without the `grpc` extra, `OSError` for unusable TLS files, `ValueError` for URLs.
    """
    with importing():
        if settings.protocol == "grpc":
            try:
                from otel_pipeline.queue.transport_grpc import GrpcTransport as Chosen  # noqa: PLC0415 - see above
            except ModuleNotFoundError as error:
                raise ImportError(f"protocol grpc needs {error.name}: pip install 'otel-pipeline[grpc]'") from None
        else:
            from otel_pipeline.queue.transport_http import HttpTransport as Chosen  # type: ignore[assignment] # noqa: PLC0415
    return Chosen(settings)


def importing() -> AbstractContextManager[object]:
    """To be held while something is imported later than by ``setup()``: the program does not fork meanwhile.

    A fork copies the locks of the modules that are half imported, and in the child nobody is left to give them back: a
    child that imports `http.client` itself would wait for ever.
    """
    _imports.guard()
    return _imports.lock


class _Imports:
    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler of the program's may end a stage in the middle of it
        self._guards = False

    def guard(self) -> None:
        if not self._guards and hasattr(os, "register_at_fork"):
            self._guards = True
            release = self.lock.release
            os.register_at_fork(before=self.lock.acquire, after_in_parent=release, after_in_child=release)


_imports = _Imports()
