"""A crawl: a stage whose records are pages and articles.

::

    with op.crawl("example.org", total=1200) as crawl:
        crawl.request(url, status=200, seconds=0.31)      records in; failed where it was
        crawl.article(words=640)                          records out
        crawl.duplicate(confidence=0.97)                  duplicates
        crawl.queue(412)

A session is what one ``with`` block or decorated call does. Requests and articles are counted by metrics as well, which
a server adds up over sessions and processes.
"""

from __future__ import annotations

import os
from collections import deque
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api

from otel_pipeline.instrument import measuring, registry, results
from otel_pipeline.instrument.context import current
from otel_pipeline.instrument.decorate import Opens, needs_name
from otel_pipeline.instrument.measuring import LARGEST, MOST_LABEL_SETS, Noted, number
from otel_pipeline.instrument.records import text, whole
from otel_pipeline.instrument.stage import Stage
from otel_pipeline.instrument.timing import Operation
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import operations as o

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from otel_pipeline.instrument.measuring import Given

CRAWL_KEY = context_api.create_key("otel_pipeline.crawl")
_ONE_MINUTE = 60 * 10**9
_STARTED, _COMPLETED, _DURATION, _URLS, _ARTICLES_FOUND, _PROGRESS = (
    Noted(kpi.metric)
    for kpi in (
        o.SESSIONS_STARTED, o.SESSIONS_COMPLETED, o.SESSION_DURATION, o.SESSION_URLS, o.SESSION_ARTICLES, o.PROGRESS,
    )
)  # fmt: skip
_REQUESTS, _RESPONSE, _ARTICLES, _WORDS, _PROCESSING, _DUPLICATES, _CONFIDENCE, _QUEUE = (
    Noted(kpi.metric)
    for kpi in (
        o.REQUESTS, o.REQUEST_DURATION, o.ARTICLES, o.ARTICLE_WORDS, o.ARTICLE_TIME, o.DUPLICATES,
        o.DUPLICATE_CONFIDENCE, o.QUEUE_LENGTH,
    )
)  # fmt: skip


class Crawl(Stage):
    """A handle on one crawl session, from ``with crawl(…) as crawl`` or ``current_crawl()``."""

    __slots__ = ("_total", "source")

    def __init__(self, source: str, total: int | None = None, attributes: dict[str, AttributeValue] | None = None):
        super().__init__(f"crawl {source}", attributes)
        self.source = source
        self.total = total

    @property
    def total(self) -> int | None:
        """How many pages there are, as far as it is known."""
        return self._total

    @total.setter
    def total(self, total: object) -> None:
        self._total = whole(total, "total")

    @property
    def records(self) -> dict[str, int]:
        """See Stage. In are the requests: URLs that came out of a stage, or of ``track``, are not counted again."""
        counts = super().records
        if requests := sum(number for (name, _), number in self._added.copy().items() if name == "records_in"):
            counts["in"] = requests
        return counts

    @property
    def progress(self) -> float | None:
        """The share of the pages that is done, from 0 to 1; None without a total."""
        return min(self.done / self.total, 1.0) if self.total else None

    # --- what user code reports -----------------------------------------------------------------------------------

    def request(
        self,
        url: object = None,
        *,
        status: int | None = None,
        seconds: float | None = None,
        error: BaseException | str | None = None,
    ) -> None:
        """A page was requested. It failed where there is an ``error``, or a ``status`` code of 400 or more.

        ``seconds`` is the response time. Of ``url`` nothing is kept but the host and path of the first few that failed.
        """
        code = _status_code(status)
        failed = error is not None or (code is not None and code >= 400)
        self._add("records_in", 1)
        if failed:
            said = error if isinstance(error, BaseException) else text(error, "error")
            problem = said if said is not None else f"HTTP {code}"
            kind = f"HTTP {code}" if error is None else "request"
            self._fail(problem if url is None else _at(problem, url), None, kind)
        told = {a.OPERATION_STATUS: a.OPERATION_STATUSES[failed], a.HTTP_STATUS_CODE: str(code or "")}
        self._note(_REQUESTS, 1, told)
        self._measured(_RESPONSE, seconds, "seconds")

    def fetch(self, url: object = None) -> Fetch:
        """A context manager around one request, which times it: say ``fetch.status = 200``. An exception fails it."""
        return Fetch(self, url)

    def article(self, *, words: int | None = None, seconds: float | None = None, stored: int = 1) -> None:
        """An article was found and stored: with how many ``words``, processed in how many ``seconds``."""
        if articles := whole(stored, "stored") or 0:
            self._add("records_out", articles)
            self._note(_ARTICLES, articles)
        if (length := whole(words, "words")) is not None:
            self._add("words", length)
            self._note(_WORDS, length)
        self._measured(_PROCESSING, seconds, "seconds")

    def duplicate(self, *, confidence: float | None = None) -> None:
        """A duplicate was detected, with a ``confidence`` from 0 to 1."""
        self._add("duplicate", 1)
        self._note(_DUPLICATES, 1)
        self._measured(_CONFIDENCE, confidence, "confidence", most=1)

    def queue(self, size: int, *, name: str = "default") -> None:
        """So many URLs wait in the queue ``name``."""
        queue_length(size, name=name)

    # --- life -----------------------------------------------------------------------------------------------------

    def begin(self, outer: Context) -> Context:
        """See Scope. A session starts."""
        self.inner = inner = context_api.set_value(CRAWL_KEY, self, super().begin(outer))
        _sessions().opened(self)
        self._note(_STARTED, 1)
        return inner

    def again(self) -> Stage:
        """See Stage."""
        return Crawl(self.source, self.total, self.attributes)

    def close(self, error: BaseException | None, exhausted: bool | None, ended: int) -> None:
        """End the session."""
        try:
            super().close(error, exhausted, ended)
        finally:  # whatever a span processor raises, it is open no more
            _sessions().closed(self)
        counts = self.records
        self._note(_COMPLETED, 1, {a.STAGE_RESULT: results.stage_result(error)})
        self._note(_DURATION, (self.left - self.began) / 1e9)
        self._note(_URLS, counts.get("in", 0))
        self._note(_ARTICLES_FOUND, counts.get("out", 0))
        self.note_progress()

    def note_progress(self) -> None:
        """Note how far it is."""
        if (progress := self.progress) is not None:
            self._note(_PROGRESS, progress)

    @property
    def found(self) -> tuple[int, int]:
        """URLs and articles until now."""
        counts = self.records
        return counts.get("in", 0), counts.get("out", 0)

    def labels(self) -> Given:
        """Those of its metrics."""
        return {a.PIPELINE_NAME: self._run.name if self._run is not None else "", a.CRAWL_SOURCE: self.source}

    def _note(self, noted: Noted, value: float, more: Given | None = None) -> None:
        if self.started:  # a detached one counts nothing
            noted.note(value, {**self.labels(), **more} if more else self.labels())

    def _measured(self, noted: Noted, value: object, what: str, *, most: float = LARGEST) -> None:
        if value is not None and (found := number(value, what, least=0, most=most)) is not None:
            self._note(noted, found)

    def _figures(self, result: str, exhausted: bool | None) -> dict[str, AttributeValue]:
        figures = {**super()._figures(result, exhausted), a.CRAWL_SOURCE: self.source}
        if self.total is not None:
            figures[a.CRAWL_TOTAL] = self.total
        if words := sum(number for (name, _), number in self._added.copy().items() if name == "words"):
            figures[a.CRAWL_WORDS] = words
        return figures


class Fetch(Operation):
    """One request of a crawl. ``status``: the code of its answer."""

    __slots__ = ("_crawl", "_error", "_status", "_url")

    def __init__(self, crawl: Crawl, url: object) -> None:
        super().__init__("fetch")
        self._status: int | None = None
        self._crawl = crawl
        self._url = url
        self._error: BaseException | None = None

    @property
    def status(self) -> int | None:
        """The code of the answer, from 100 to 599."""
        return self._status

    @status.setter
    def status(self, status: object) -> None:
        self._status = _status_code(status)

    def close(self, error: BaseException | None, exhausted: bool | None, ended: int) -> None:
        """See Scope."""
        self._error = error
        self._failed = self._failed or (self.status or 0) >= 400
        super().close(error, exhausted, ended)

    def count(self, seconds: float | None, *, failed: bool) -> None:
        """See Operation."""
        told = (self.status or 0) >= 400
        error = self._error or ("failed" if failed and not told else None)
        self._crawl.request(self._url, status=self.status, seconds=seconds, error=error)
        super().count(seconds, failed=failed)


class _Sessions:
    """Those that are open, and the rates of those that ended in the last minute."""

    def __init__(self) -> None:
        self.open: dict[int, Crawl] = {}
        self._known: dict[tuple[tuple[str, str], ...], None] = {}  # labels that sessions had: 0 while none is open
        self._ended: deque[tuple[int, int, Given, tuple[int, int]]] = deque(maxlen=10_000)

    def opened(self, crawl: Crawl) -> None:
        """A session has started."""
        self.open[id(crawl)] = crawl
        if len(self._known) < MOST_LABEL_SETS:
            self._known[tuple(crawl.labels().items())] = None

    def closed(self, crawl: Crawl) -> None:
        """A session has ended."""
        self.open.pop(id(crawl), None)
        self._ended.append((crawl.began, crawl.left, crawl.labels(), crawl.found))

    def living(self) -> list[Crawl]:
        """Those that this process has begun and not ended."""
        pid = os.getpid()
        return [crawl for crawl in list(self.open.values()) if crawl.pid == pid]

    def active(self) -> Iterator[tuple[float, Given]]:
        """How many there are, by labels."""
        return self._summed([(1, crawl.labels()) for crawl in self.living()])

    def rates(self, which: int) -> Iterator[tuple[float, Given]]:
        """URLs (0) or articles (1) a second, by labels: of all together, from the first start to the last end.

        Sessions side by side add up; sessions one after the other are as fast as each.
        """
        now = perf_counter_ns()
        sessions = [(crawl.began, now, crawl.labels(), crawl.found) for crawl in self.living()]
        sessions += [each for each in list(self._ended) if now - each[1] < _ONE_MINUTE]
        span: dict[tuple[tuple[str, str], ...], tuple[int, int]] = {}
        for began, left, labels, _ in sessions:
            first, last = span.get(key := tuple(labels.items()), (began, left))
            span[key] = min(first, began), max(last, left)
        seconds = {key: max(last - first, 1) / 1e9 for key, (first, last) in span.items()}
        return self._summed(
            [(found[which] / seconds[tuple(labels.items())], labels) for _, _, labels, found in sessions]
        )

    def _summed(self, values: list[tuple[float, Given]]) -> Iterator[tuple[float, Given]]:
        """By labels; 0 where there is none any more, or whoever reads them would go on with the last value."""
        sums: dict[tuple[tuple[str, str], ...], float] = dict.fromkeys(self._known, 0)
        for value, labels in values:
            key = tuple(labels.items())
            sums[key] = sums.get(key, 0) + value
        return ((value, dict(key)) for key, value in sums.items())


def _sessions() -> _Sessions:
    return measuring.part(_Sessions)


def _watch() -> None:
    for crawl in _sessions().living():
        crawl.note_progress()


class Crawls(Opens[Crawl]):
    """What ``crawl`` returns."""

    _what = "crawl"

    def __init__(self, source: str, total: int | None, attributes: Any) -> None:
        super().__init__(f"crawl {source}", attributes)
        self._source = source
        self._total = total

    def open(self, name: str) -> Crawl:
        """See Opens."""
        return Crawl(self._source, self._total, self._attributes)


def crawl(source: str, *, total: int | None = None, attributes: Any = None) -> Crawls:
    """A crawl session of ``source``, of ``total`` pages where that is known: a context manager, or a decorator.

    >>> from otel_pipeline import crawl
    >>> with crawl("example.org", total=2) as session:
    ...     session.request("https://example.org/", status=200, seconds=0.3)
    ...     session.article(words=640)
    >>> session.progress
    0.5
    """
    measuring.begin()
    needs_name("crawl", source, "'example.org'")
    measuring.levels.update(
        {
            o.SESSIONS_ACTIVE.name: lambda: _sessions().active(),
            o.URL_RATE.name: lambda: _sessions().rates(0),
            o.ARTICLE_RATE.name: lambda: _sessions().rates(1),
        }
    )
    if _watch not in measuring.watches:
        measuring.watches.append(_watch)
    return Crawls(text(source, "source") or "unknown", total, attributes)


def current_crawl() -> Crawl:
    """The crawl whose code is executing; outside any a detached one, on which every call works and is forgotten."""
    found = current.get().get(CRAWL_KEY)
    return found if isinstance(found, Crawl) else Crawl("detached")


def queue_length(size: int, *, name: str = "default") -> None:
    """So many items wait in a queue of the pipeline's own."""
    measuring.begin()
    if (length := whole(size, "size")) is not None:
        _QUEUE.note(length, {a.QUEUE_NAME: text(name, "name") or "default"})


def _status_code(status: object) -> int | None:
    if status is None:
        return None
    code = whole(status, "status")
    if code is None or not 100 <= code <= 599:
        registry.misused("status", f"status={results.quoted(status)} was left out; want a code from 100 to 599")
        return None
    return code


def _at(problem: BaseException | str, url: object) -> BaseException | str:
    """A problem that is no exception, with where it was: host and path, since a query may hold anything."""
    if isinstance(problem, BaseException):
        return problem
    where = (text(url, "url") or "").partition("?")[0].partition("#")[0]
    host, slash, path = (where.partition("://")[2] or where).partition("/")
    return f"{problem}: {host.rpartition('@')[2]}{slash}{path}"
