"""Small typed clients for the stores' query interfaces, and the bounded wait for what arrives a moment later."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

ARRIVES_WITHIN = 30.0


class QueryError(OSError):
    """A store answered a query with an error."""

    def __init__(self, url: str, status: int, answer: str) -> None:
        super().__init__(f"{url} answered {status}: {answer.strip()[:500]}")
        self.status = status


def eventually(call: Callable[[], T], until: Callable[[T], object] = bool, within: float = ARRIVES_WITHIN) -> T:
    """Repeat `call` until `until` accepts its result, and return that result.

    A store that cannot be reached yet counts as an unaccepted result.

    Raises:
        AssertionError: nothing was accepted within so many seconds; the message has the last result or error.
    """
    deadline, pause, last = time.monotonic() + within, 0.02, "nothing"
    while True:
        try:
            result = call()
            if until(result):
                return result
            last = f"the result {result!r}"
        except OSError as error:
            last = f"the error {error!r}"
        if time.monotonic() > deadline:
            raise AssertionError(f"not accepted within {within} s; last was {last}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


@dataclass(frozen=True)
class JaegerSpan:
    """A span as Jaeger returns it; all tag values as text, booleans as ``true`` and ``false``."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    service: str
    start_us: int
    duration_us: int
    tags: Mapping[str, str]
    resource: Mapping[str, str]
    events: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class JaegerTrace:
    """All spans of one trace, by start."""

    trace_id: str
    spans: tuple[JaegerSpan, ...]

    def named(self, name: str) -> list[JaegerSpan]:
        """The spans of that name."""
        return [span for span in self.spans if span.name == name]

    def paths(self) -> list[str]:
        """Every span as the names from its root to it, joined by `` > `` and sorted: the tree, to compare at once."""
        by_id = {span.span_id: span for span in self.spans}

        def path(span: JaegerSpan) -> str:
            parent = by_id.get(span.parent_id or "")
            return f"{path(parent)} > {span.name}" if parent else span.name

        return sorted(path(span) for span in self.spans)


class Jaeger:
    """Jaeger's query service."""

    def __init__(self, url: str) -> None:
        self._url = url

    def services(self) -> list[str]:
        """The services of which there are spans."""
        return sorted(_get(f"{self._url}/api/services")["data"] or [])

    def search(
        self, service: str, *, operation: str | None = None, tags: Mapping[str, str] | None = None, limit: int = 100
    ) -> list[JaegerTrace]:
        """The traces with a span of that service, name and tags; each comes whole."""
        now = int(time.time() * 1e6)
        asked = {
            "service": service,
            "limit": str(limit),
            "start": str(now - 172_800_000_000),
            "end": str(now + 60_000_000),
        }
        if operation is not None:
            asked["operation"] = operation
        if tags:
            asked["tags"] = json.dumps(dict(tags))
        return [_trace(each) for each in _get(f"{self._url}/api/traces?{urllib.parse.urlencode(asked)}")["data"] or []]

    def trace(self, trace_id: str) -> JaegerTrace | None:
        """One trace by its id in hexadecimal, or None."""
        try:
            found = _get(f"{self._url}/api/traces/{trace_id}")["data"]
        except QueryError as error:
            if error.status == 404:
                return None
            raise
        return _trace(found[0]) if found else None


@dataclass(frozen=True)
class Sample:
    """One series' value in an instant vector."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """Prometheus' query interface."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """An instant query at `at`, in seconds since the epoch, or now."""
        asked = {"query": expression} | ({"time": repr(at)} if at is not None else {})
        result = _get(f"{self._url}/api/v1/query?{urllib.parse.urlencode(asked)}")["data"]["result"]
        return [Sample(labels=each["metric"], value=float(each["value"][1])) for each in result]

    def samples(self, selector: str) -> list[list[tuple[float, float]]]:
        """The raw samples of each series that a range selector, such as ``up[1h]``, has: time and value, by time."""
        result = _get(f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': selector})}")["data"]["result"]
        return [[(float(time), float(value)) for time, value in each["values"]] for each in result]

    def value(self, expression: str, at: float | None = None) -> float | None:
        """The value of an expression with one series, None when it has none."""
        samples = self.query(expression, at)
        assert len(samples) <= 1, f"{expression} has {len(samples)} series; want one"
        return samples[0].value if samples else None


class VictoriaLogs:
    """VictoriaLogs' query interface; a log record is a flat mapping, its body under ``_msg``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, logsql: str, limit: int = 1000) -> list[dict[str, str]]:
        """The records that a LogsQL expression selects, by time."""
        asked = urllib.parse.urlencode({"query": f"{logsql} | sort by (_time)", "limit": str(limit)})
        lines = _read(f"{self._url}/select/logsql/query?{asked}").splitlines()
        return [json.loads(line) for line in lines if line]

    def by_trace(self, trace_id: str) -> list[dict[str, str]]:
        """The records with that trace id in hexadecimal."""
        return self.query(f'trace_id:="{trace_id}"')


def _read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            text: str = response.read().decode()
            return text
    except urllib.error.HTTPError as error:
        with error:
            raise QueryError(url, error.code, error.read().decode(errors="replace")) from None


def _get(url: str) -> Any:
    return json.loads(_read(url))


def _texts(tags: list[dict[str, Any]]) -> dict[str, str]:
    return {tag["key"]: _text(tag["value"]) for tag in tags}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _trace(found: dict[str, Any]) -> JaegerTrace:
    spans = [_span(each, found["processes"][each["processID"]]) for each in found["spans"]]
    return JaegerTrace(found["traceID"], tuple(sorted(spans, key=lambda span: (span.start_us, span.span_id))))


def _span(found: dict[str, Any], process: dict[str, Any]) -> JaegerSpan:
    parents = [each["spanID"] for each in found["references"] if each["refType"] == "CHILD_OF"]
    return JaegerSpan(
        trace_id=found["traceID"],
        span_id=found["spanID"],
        parent_id=parents[0] if parents else None,
        name=found["operationName"],
        service=process["serviceName"],
        start_us=found["startTime"],
        duration_us=found["duration"],
        tags=_texts(found["tags"]),
        resource=_texts(process["tags"]),
        events=tuple(_texts(each["fields"]) for each in found["logs"] or []),
    )
