"""Stages that are async generators: as lazy.py has it, with awaits in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from otel_pipeline.instrument.lazy import Lazy

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from otel_pipeline.instrument.run import Run
    from otel_pipeline.instrument.stage import Stage

T = TypeVar("T")


class LazyAsyncIterator(Lazy, AsyncGenerator[T, Any], Generic[T]):
    """An async generator in a scope. A step lasts across the awaits in it, less what it pulled from stages upstream."""

    __slots__ = ("_generator",)
    _awaits = True

    def __init__(self, scope: Stage | Run, generator: AsyncGenerator[T, Any], outer: Context) -> None:
        super().__init__(scope, outer)
        self._generator = generator

    def _drop(self) -> None:
        del self._generator

    def __aiter__(self) -> LazyAsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._passed():
            return await self._generator.__anext__()
        step = self._enter()
        try:
            value = await self._generator.__anext__()
        except BaseException as error:
            self._raised(step, error, self._generator.ag_running)  # type: ignore[attr-defined]
            raise
        self._yielded(step)
        return value

    async def asend(self, value: Any) -> T:
        """As an async generator's ``asend``."""
        if self._passed():
            return await self._generator.asend(value)
        step = self._enter()
        try:
            result = await self._generator.asend(value)
        except BaseException as error:
            self._raised(step, error, self._generator.ag_running)  # type: ignore[attr-defined]
            raise
        self._yielded(step)
        return result

    async def athrow(self, *exception: Any) -> T:
        """As an async generator's ``athrow``."""
        if self._passed():
            return await self._generator.athrow(*exception)
        if self._inner is None:
            try:
                return await self._generator.athrow(*exception)
            except BaseException as error:
                self._never_begun(error)
                raise
        step = self._enter()
        try:
            result = await self._generator.athrow(*exception)
        except BaseException as error:
            self._raised(step, error, self._generator.ag_running)  # type: ignore[attr-defined]
            raise
        self._yielded(step)
        return result

    async def aclose(self) -> None:
        """As an async generator's ``aclose``: the consumer wants no more, which is no failure."""
        if self._passed():
            return await self._generator.aclose()
        if self._inner is None:
            self._never_begun(None)
            return await self._generator.aclose()
        step = self._enter()
        try:
            await self._generator.aclose()
        except BaseException as error:
            self._raised(step, error, self._generator.ag_running)  # type: ignore[attr-defined]
            raise
        return self._raised(step, GeneratorExit(), running=False)
