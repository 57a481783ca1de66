"""An id generator that hands out planned ids (``instrument/identity.py``) before those of the one that it wraps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from otel_pipeline.instrument import identity

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


class PlannedIdGenerator(IdGenerator):
    """Planned ids first, else those of ``inner``."""

    def __init__(self, inner: IdGenerator | None = None) -> None:
        self._inner = inner or RandomIdGenerator()

    def generate_trace_id(self) -> int:
        """The planned trace id or a new one."""
        return identity.take_trace_id() or self._inner.generate_trace_id()

    def generate_span_id(self) -> int:
        """The planned span id or a new one."""
        return identity.take_span_id() or self._inner.generate_span_id()

    def is_trace_id_random(self) -> bool:
        """Whether trace ids carry the randomness that W3C Trace Context level 2 asks for."""
        return bool(getattr(self._inner, "is_trace_id_random", lambda: False)())


def install(provider: TracerProvider) -> None:
    """Make ``provider`` know planned ids; for tracers that it makes from now on."""
    if not isinstance(provider.id_generator, PlannedIdGenerator):
        provider.id_generator = PlannedIdGenerator(provider.id_generator)
