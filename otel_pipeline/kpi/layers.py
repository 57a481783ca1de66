"""The outer layers of an OTLP request, without what is in them.

::

    request ─ resources ─ scopes ─ items          the same shape, and the same field numbers, for all three signals
    parsed ─────────────► bytes: ours? ─► parsed by whoever reads it
                             └─ not ours: only its items are counted

Most of what a Collector passes on is not ours, and to parse it would cost more than all that is done with ours. These
messages are wire-compatible with OTLP's; they have names of their own, since one process has one pool of names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import (  # type: ignore[import-untyped]  # protobuf ships no types
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool  # type: ignore[import-untyped]
from google.protobuf.message_factory import GetMessageClass  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = "otel_pipeline.layers"
_MESSAGES = (
    ("Request", "resources", 1, "Resource"),
    ("Resource", "scopes", 2, None),
    ("Scope", "items", 2, None),
)
"""Each with its one repeated field, the field's number, and the message in it; None for bytes."""


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="otel_pipeline/layers.proto", package=_PACKAGE, syntax="proto3")
    for name, field, number, within in _MESSAGES:
        file.message_type.add(name=name).field.add(
            name=field,
            number=number,
            label=FieldDescriptorProto.LABEL_REPEATED,
            type=FieldDescriptorProto.TYPE_MESSAGE if within else FieldDescriptorProto.TYPE_BYTES,
            type_name=f".{_PACKAGE}.{within}" if within else None,
        )
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name, *_ in _MESSAGES}


_CLASSES = _classes()
_Request, _Scope = _CLASSES["Request"], _CLASSES["Scope"]


def scopes(payload: bytes) -> Iterator[bytes]:
    """The serialized scopes of a request, such as ``ScopeSpans``. Raises protobuf's DecodeError."""
    for resource in _Request.FromString(payload).resources:
        yield from resource.scopes


def items(scope: bytes) -> int:
    """How many items a serialized scope has: spans, log records or metrics. Raises protobuf's DecodeError."""
    return len(_Scope.FromString(scope).items)
