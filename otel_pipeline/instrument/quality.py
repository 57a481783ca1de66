"""Quality checks of the current stage, record by record: around a predicate, or as a context manager."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from otel_pipeline.errors import UsageError
from otel_pipeline.instrument import registry, results
from otel_pipeline.instrument.stage import current_stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    F = TypeVar("F", bound=Callable[..., Any])


class Check:
    """What ``check`` returns. One object may be used any number of times."""

    def __init__(self, name: str, dataset: str | None, kind: str | None) -> None:
        self._name = name
        self._dataset = dataset
        self._kind = kind

    def passed(self, records: int = 1) -> None:
        """So many records passed, of the stage whose code is executing."""
        current_stage().check(self._name, dataset=self._dataset, kind=self._kind, passed=records)

    def failed(self, records: int = 1) -> None:
        """So many records failed it."""
        current_stage().check(self._name, dataset=self._dataset, kind=self._kind, failed=records)

    def __call__(self, predicate: F) -> F:
        """``predicate``, each call of which is a record that passed or failed."""
        if isinstance(predicate, (staticmethod, classmethod)):
            return cast("F", type(predicate)(self(predicate.__func__)))
        if not callable(predicate) or isinstance(predicate, type):
            raise UsageError(f"check decorates a function that tells whether a record is good; got {predicate!r:.80}")
        if inspect.iscoroutinefunction(predicate):

            @functools.wraps(predicate)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self:
                    good = await predicate(*args, **kwargs)
                self._tell(good)
                return good

            return cast("F", awaited)

        @functools.wraps(predicate)
        def checked(*args: Any, **kwargs: Any) -> Any:
            with self:
                good = predicate(*args, **kwargs)
            self._tell(good)
            return good

        return cast("F", checked)

    def _tell(self, good: object) -> None:
        try:
            found = bool(good)
        except Exception:  # noqa: BLE001 - an array, a value that is neither
            wrong = f"check {self._name!r:.80}: {results.quoted(good)} was left out; want true or false"
            registry.misused("check", wrong)
            return
        self.passed() if found else self.failed()

    def __enter__(self) -> Check:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A check that raises has failed."""
        if isinstance(error, Exception):
            self.failed()


def check(name: str, *, dataset: str | None = None, kind: str | None = None) -> Check:
    """A quality check of records of ``dataset``; ``kind`` such as schema or not_null.

    >>> from otel_pipeline import check, stage
    >>> @check("positive amount", dataset="orders")
    ... def is_good(order):
    ...     return order["amount"] > 0
    >>> with stage("validate"):
    ...     is_good({"amount": 12})
    True

    Around a predicate, each call is a record that passed or failed; one that raises has failed. As a context manager it
    has ``passed(n)`` and ``failed(n)``. Whole batches at once: ``current_stage().check(name, passed=…, failed=…)``.
    """
    return Check(name, dataset, kind)
