"""An id generator that hands out planned ids (``instrument/identity.py``) before others.

Its random ids come from a generator of its own: OpenTelemetry's takes them from Python's shared one, so that a program
that seeds it (to draw the same sample each night, say) would draw another sample when it is traced, and would give the
same ids to every run.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from otel_pipeline.instrument import identity

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


class PlannedIdGenerator(IdGenerator):
    """Planned ids first, else those of ``inner``, by default random ones."""

    def __init__(self, inner: IdGenerator | None = None) -> None:
        self._inner = inner
        self._random = random.Random()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._random.seed)

    def generate_trace_id(self) -> int:
        """The planned trace id or a new one."""
        if (planned := identity.take_trace_id()) is not None:
            return planned
        return self._inner.generate_trace_id() if self._inner else self.random_bits(128)

    def generate_span_id(self) -> int:
        """The planned span id or a new one."""
        if (planned := identity.take_span_id()) is not None:
            return planned
        return self._inner.generate_span_id() if self._inner else self.random_bits(64)

    def is_trace_id_random(self) -> bool:
        """Whether trace ids carry the randomness that W3C Trace Context level 2 asks for."""
        return self._inner.is_trace_id_random() if self._inner else True

    def random_bits(self, count: int) -> int:
        """A random number that is not zero, which would be an invalid id."""
        return self._random.getrandbits(count) or 1


def install(provider: TracerProvider) -> PlannedIdGenerator:
    """Make ``provider`` know planned ids, also in the tracers that it has handed out; returns its id generator."""
    theirs: IdGenerator = provider.id_generator
    if isinstance(theirs, PlannedIdGenerator):
        return theirs
    generator = PlannedIdGenerator(None if type(theirs) is RandomIdGenerator else theirs)
    provider.id_generator = generator  # type: ignore[assignment]
    for tracer in getattr(provider, "_tracers", {}).values():
        tracer.id_generator = generator
    return generator
