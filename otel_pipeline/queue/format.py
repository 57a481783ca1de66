"""The bytes of a queue file: a header, then records, each with its own checksum. `docs/formats.md` draws them.

Pure functions over bytes; opening, locking and writing files is `segment.py`'s work.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "HEADER_SIZE",
    "VERSION",
    "Damage",
    "Header",
    "Record",
    "Signal",
    "pack_header",
    "pack_record",
    "read_header",
    "scan",
]

VERSION: Final = 1
MAGIC: Final = b"\x89OPQ\r\n\x1a\n"  # as PNG's: a copy in text mode or with 7 bits is seen at once
MARKER: Final = b"\xf5OPR"  # 0xF5 occurs in no UTF-8 text, so payloads seldom hold it

_HEADER: Final = Struct("<8sHHIQII")
_TAIL: Final = Struct("<IIBBH")
HEADER_SIZE: Final = _HEADER.size
RECORD_OVERHEAD: Final = 8 + _TAIL.size
MAX_PAYLOAD: Final = 64 << 20


class Signal(IntEnum):
    """What a record carries; the number is the one on disk."""

    TRACES = 1
    METRICS = 2
    LOGS = 3

    @property
    def label(self) -> str:
        """`traces`, `metrics` or `logs`, as OTLP's paths and settings spell it."""
        return self.name.lower()


NOTE: Final = 0
"""Kind of a record whose payload is UTF-8 text for people (why its neighbours were set aside); never sent."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first 32 bytes of a queue file.

    `version` of the format, `size` of the header in bytes (records begin there), `created` in nanoseconds since the
    epoch, `pid` of the writer, for people.
    """

    version: int
    size: int
    created: int
    pid: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record whose checksum is right.

    `start` and `end` are byte offsets in the file, `kind` a `Signal` or `NOTE`, `count` the number of spans, log
    records or data points in `payload`, a serialized OTLP export request.
    """

    start: int
    end: int
    kind: int
    count: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes `start` to `end` that are no record; `torn` when they are the unfinished last write of a dead process."""

    start: int
    end: int
    torn: bool


def pack_header(*, created: int, pid: int, version: int = VERSION) -> bytes:
    """The header of a new file; `created` in nanoseconds since the epoch."""
    fields = (MAGIC, version, HEADER_SIZE)
    crc = zlib.crc32(_HEADER.pack(*fields, 0, created, pid, 0))
    return _HEADER.pack(*fields, crc, created, pid, 0)


def read_header(data: bytes) -> Header | None:
    """The header at the start of `data`, None when it is short, foreign or damaged."""
    if len(data) < HEADER_SIZE:
        return None
    magic, version, size, crc, created, pid, reserved = _HEADER.unpack_from(data)
    if magic != MAGIC or crc != zlib.crc32(_HEADER.pack(magic, version, size, 0, created, pid, reserved)):
        return None
    return Header(version, size, created, pid)


def pack_record(kind: int, count: int, payload: bytes) -> bytes:
    """One record. Raises `ValueError` for a payload above 64 MiB."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"cannot store a record of {len(payload)} bytes: the limit is {MAX_PAYLOAD}")
    tail = _TAIL.pack(len(payload), count, kind, 0, 0)
    crc = zlib.crc32(payload, zlib.crc32(tail))
    return b"".join((MARKER, crc.to_bytes(4, "little"), tail, payload))


def scan(data: bytes, *, base: int = 0, final: bool = True) -> Iterator[Record | Damage]:
    """Records and damage in `data`, the bytes of a file from offset `base` on, in order.

    After damage the next record whose checksum is right is looked for. When not `final`, the writer lives: an
    unreadable end is not yet written, and is left out rather than called damage.
    """
    position = 0
    while position < len(data):
        record = _record_at(data, position, base)
        if record is None:
            found = _next_record(data, position + 1, base)
            end = found.start - base if found else len(data)
            if found or final:
                yield Damage(base + position, base + end, torn=not found and _is_torn(data, position))
            position = end
            continue
        yield record
        position = record.end - base


def _record_at(data: bytes, position: int, base: int) -> Record | None:
    body = position + RECORD_OVERHEAD
    if body > len(data) or data[position : position + 4] != MARKER:
        return None
    length, count, kind, _, _ = _TAIL.unpack_from(data, position + 8)
    end = body + length
    if end > len(data) or length > MAX_PAYLOAD:
        return None
    payload = data[body:end]
    crc = zlib.crc32(payload, zlib.crc32(data[position + 8 : body]))
    if crc.to_bytes(4, "little") != data[position + 4 : position + 8] or kind not in _KINDS:
        return None
    return Record(base + position, base + end, kind, count, payload)


_KINDS: Final = frozenset((NOTE, *Signal))


def _next_record(data: bytes, position: int, base: int) -> Record | None:
    while (position := data.find(MARKER, position)) >= 0:
        if record := _record_at(data, position, base):
            return record
        position += 1
    return None


def _is_torn(data: bytes, position: int) -> bool:
    """Whether the bytes from `position` on look like the beginning of a record that the file ends within."""
    rest = data[position : position + RECORD_OVERHEAD]
    if len(rest) < RECORD_OVERHEAD:
        return MARKER.startswith(rest[:4])
    length = int.from_bytes(rest[8:12], "little")
    return rest[:4] == MARKER and position + RECORD_OVERHEAD + length > len(data)
