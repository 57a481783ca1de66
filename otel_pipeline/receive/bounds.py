"""How much may be in memory: of one request, and of all that are not yet answered.

::

    bytes arrive ──► Hold.grow ──► over the request's limit: Refused (it will never be smaller)
    bytes unpack ──►     │   └───► over what may be in flight: RetryLater
                         └─ given back when the request is answered
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_pipeline.receive.answer import NotTakenError, Refused, RetryLater

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_STEP = 1 << 20


@dataclass(frozen=True)
class Limits:
    """``request_bytes`` of one request, packed and unpacked; ``in_flight_bytes`` of all that are being answered.

    ``read_s``: how long a client may take to send a request. ``readers``: gRPC requests that are read at once, since
    gRPC shows a request only when all of it is there.
    """

    request_bytes: int = 20 << 20
    in_flight_bytes: int = 128 << 20
    read_s: float = 30.0
    readers: int = 16


class InFlight:
    """Counts the bytes of all requests that are being answered."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = 0

    def hold(self) -> Hold:
        """One request's share; a context manager that gives it back."""
        return Hold(self)


class Hold:
    """What one request has in memory."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_flight.bytes -= self._bytes

    def grow(self, size: int) -> None:
        """``size`` more bytes. Raises NotTakenError where that is too much for now."""
        limit = self._in_flight.limits.in_flight_bytes
        if self._in_flight.bytes + size > limit:
            raise NotTakenError(RetryLater(f"more than {limit} bytes wait to be stored; send this again later"))
        self._in_flight.bytes += size
        self._bytes += size

    def within(self, size: int) -> None:
        """Raises NotTakenError where a request of ``size`` bytes is over the limit of one."""
        if size > (limit := self._in_flight.limits.request_bytes):
            raise NotTakenError(
                Refused(f"the request has more than {limit} bytes; let the exporter send less at once", too_large=True)
            )


ZLIB, GZIP = zlib.MAX_WBITS, zlib.MAX_WBITS | 16
"""The two forms that deflated bytes come in, as ``zlib`` calls them."""


def unpacked(packed: bytes, form: int, hold: Hold) -> bytes:
    """What ``packed`` unpacks to, step by step, so that a bomb stops at the limit. Raises NotTakenError."""
    found: list[bytes] = []
    size = 0
    while packed:
        unpacker = zlib.decompressobj(form)
        while not unpacker.eof:
            try:
                part = unpacker.decompress(packed, _STEP)
            except zlib.error as error:
                raise NotTakenError(Refused(f"the body cannot be decompressed: {error}")) from None
            if not part and not unpacker.eof:
                raise NotTakenError(Refused("the body cannot be decompressed: it ends in the middle"))
            size += len(part)
            hold.within(size)
            hold.grow(len(part))
            found.append(part)
            packed = unpacker.unconsumed_tail
        packed = unpacker.unused_data  # gzip may have several members
    return b"".join(found)
