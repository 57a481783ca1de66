"""Protobuf wire format, as much of it as OTLP needs, without protobuf.

Importing protobuf and the stock encoders costs a batch job 40 ms of CPU before its first byte is stored; the wire
format itself is three rules (varint, fixed, length-delimited). The encoders beside this module are built from these
functions and proven equal to the stock ones by property tests.

Specification: https://protobuf.dev/programming-guides/encoding/ and opentelemetry-proto 1.x, `common.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, Final

from otel_pipeline import masking

__all__ = ["any_value", "attributes", "delimited", "fields", "fixed64", "text", "varint"]

VARINT: Final = 0
FIXED64: Final = 1
DELIMITED: Final = 2
FIXED32: Final = 5

_SMALL: Final = tuple(bytes((n,)) for n in range(128))
_U64: Final = Struct("<Q")
_DOUBLE: Final = Struct("<d")
_KEY_LIMIT: Final = 1024
_PAIR_LIMIT: Final = 64
_CACHED_LENGTH: Final = 64

fixed64 = _U64.pack
"""A `fixed64` without its tag; raises `struct.error` outside 0 ≤ n < 2⁶⁴."""

double = _DOUBLE.pack
"""A `double` without its tag."""


def varint(number: int) -> bytes:
    """An unsigned varint of 1 to 10 bytes.

    Raises `ValueError` for a negative number.
    """
    if number < 128:
        if number < 0:
            raise ValueError(f"cannot encode {number} as an unsigned varint")
        return _SMALL[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(tag: bytes, body: bytes) -> bytes:
    """One length-delimited field: `tag` is the encoded key, `body` its bytes."""
    return tag + varint(len(body)) + body


def text(tag: bytes, value: str | None) -> bytes:
    """One string field, nothing for an empty one; what UTF-8 cannot hold is replaced by `?`, so nothing raises."""
    return delimited(tag, value.encode("utf-8", "replace")) if value else b""


def number(tag: bytes, value: int) -> bytes:
    """One varint field, nothing for zero. Raises `ValueError` for a negative value."""
    return tag + varint(value) if value else b""


def time(tag: bytes, value: int | None) -> bytes:
    """One `fixed64` field of nanoseconds since the epoch, nothing for zero or None."""
    return tag + fixed64(value) if value else b""


def attributes(tag: bytes, values: Mapping[str, Any] | None) -> bytes:
    """Repeated `KeyValue` fields under `tag`, in the mapping's order; a value that OTLP cannot hold is left out.

    Secrets are masked: this is the border at which attributes leave the process.
    """
    if not values:
        return b""
    out: list[bytes] = []
    keys = _keys.get(tag) or _keys.setdefault(tag, {})
    # The SDK's mapping iterates through Python-level views, which cost more than the encoding; its dict is the same.
    for key, value in getattr(values, "_dict", values).items():
        known = keys.get(key) or _key(keys, tag, key)
        kind = type(value)
        if kind is str:
            pair = known.pairs.get(value) or _pair(known, value)
        elif kind is int and 0 <= value < 2097152:
            pair = known.small_int(value)
        elif kind is float:
            pair = known.float_head + double(value)
        else:
            pair = _pair(known, value)
        out.append(pair)
    return b"".join(out)


class _Key:
    """The encoded `key` of a `KeyValue` under one tag, and what can be prepared of the fields that it will be in.

    `pairs` keeps those with short texts, most of which repeat from span to span; the heads are all of a pair but the
    number.
    """

    __slots__ = ("float_head", "head", "int_heads", "name", "pairs", "tag")

    def __init__(self, tag: bytes, key: str) -> None:
        self.name = str(key)
        self.tag = tag
        self.head = delimited(b"\x0a", str(key).encode("utf-8", "replace")) + b"\x12"
        self.pairs: dict[str, bytes] = {}
        self.float_head = self._before(9) + b"\x21"
        self.int_heads = [self._before(1 + size) + b"\x18" for size in (1, 2, 3)]

    def _before(self, size: int) -> bytes:
        return self.tag + varint(len(self.head) + 1 + size) + self.head + varint(size)

    def small_int(self, value: int) -> bytes:
        """The pair with an integer of 0 ≤ value < 2²¹, the sizes of most counts."""
        if value < 128:
            return self.int_heads[0] + _SMALL[value]
        if value < 16384:
            return self.int_heads[1] + bytes((value & 127 | 128, value >> 7))
        return self.int_heads[2] + bytes((value & 127 | 128, value >> 7 & 127 | 128, value >> 14))


class _SecretKey(_Key):
    """One whose numbers are secret too."""

    __slots__ = ()

    def small_int(self, value: int) -> bytes:
        return _pair(self, value)


_keys: dict[bytes, dict[str, _Key]] = {}


def _key(keys: dict[str, _Key], tag: bytes, key: str) -> _Key:
    if len(keys) >= _KEY_LIMIT:
        keys.clear()
    kind = _SecretKey if masking.secrecy_of(str(key)) > 1 else _Key
    keys[key] = known = kind(tag, key)
    return known


def _pair(known: _Key, value: Any) -> bytes:
    """A field that holds a `KeyValue`; nothing for a value that cannot be encoded."""
    try:
        encoded = any_value(masking.value(known.name, value))
    except (ValueError, TypeError):
        return b""
    body = known.head + varint(len(encoded)) + encoded
    pair = delimited(known.tag, body)
    if type(value) is str and len(value) <= _CACHED_LENGTH:
        if len(known.pairs) >= _PAIR_LIMIT:
            known.pairs.clear()
        known.pairs[value] = pair
    return pair


def any_value(value: Any) -> bytes:
    """The body of an `AnyValue`: None, str, bool, int (64 bits), float, bytes, sequences and mappings of these.

    Raises `ValueError` for an integer beyond 64 bits and `TypeError` for any other type.
    """
    encode = _EXACT.get(type(value))
    return encode(value) if encode else _inexact(value)


def _inexact(value: Any) -> bytes:
    # Subclasses (enums, numpy's float64, ordered dicts); bool cannot be subclassed, bytes must precede Sequence.
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, Sequence):
        return _array(value)
    if isinstance(value, Mapping):
        return _mapping(value)
    raise TypeError(f"cannot encode {type(value).__name__} as an OTLP value")


def _string(value: str) -> bytes:
    return delimited(b"\x0a", value.encode("utf-8", "replace"))


def _boolean(value: bool) -> bytes:
    return b"\x10\x01" if value else b"\x10\x00"


def _integer(value: int) -> bytes:
    if 0 <= value < 128:
        return b"\x18" + _SMALL[value]
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"cannot encode {value}: OTLP integers have 64 bits")
    return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _float(value: float) -> bytes:
    return b"\x21" + double(value)


def _array(value: Sequence[Any]) -> bytes:
    return delimited(b"\x2a", b"".join([delimited(b"\x0a", any_value(item)) for item in value]))


def _mapping(value: Mapping[Any, Any]) -> bytes:
    pairs = [
        delimited(
            b"\x0a", delimited(b"\x0a", str(key).encode("utf-8", "replace")) + delimited(b"\x12", any_value(item))
        )
        for key, item in value.items()
    ]
    return delimited(b"\x32", b"".join(pairs))


def _bytes(value: bytes) -> bytes:
    return delimited(b"\x3a", value)


_EXACT: Final[dict[type, Any]] = {
    str: _string,
    bool: _boolean,
    int: _integer,
    float: _float,
    bytes: _bytes,
    tuple: _array,
    list: _array,
    dict: _mapping,
    type(None): lambda _: b"",
}


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The (field number, value) pairs of a serialized message: ints, and bytes for delimited fields.

    Raises `ValueError` when the bytes are not a message.
    """
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        kind = key & 7
        if kind == VARINT:
            value, position = _read_varint(message, position)
            yield key >> 3, value
            continue
        if kind == DELIMITED:
            length, position = _read_varint(message, position)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"cannot read wire type {kind} at byte {position}")
        chunk = message[position : position + length]
        if len(chunk) != length:
            raise ValueError(f"message ends inside field {key >> 3}: got {len(chunk)} bytes, want {length}")
        position += length
        yield key >> 3, chunk if kind == DELIMITED else int.from_bytes(chunk, "little")


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise ValueError("message ends inside a varint")
