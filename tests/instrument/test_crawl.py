"""Crawl sessions: stages whose records are pages and articles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import otel_pipeline as op
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from tests.instrument.measured import Measured
    from tests.instrument.seen import Clock, Seen

OF = {"pipeline_name": "news", "pipeline_crawl_source": "example.org"}


def test_a_session(measured: Measured, seen: Seen, clock: Clock) -> None:
    """Requests by status, articles, words, duplicates, progress, rates: on the span and in metrics."""
    with op.pipeline("news"), op.crawl("example.org", total=8) as crawl:
        crawl.request("https://example.org/a", status=200, seconds=0.5)
        crawl.request("https://u:p@example.org/b?token=x", status=404, seconds=1.5)
        crawl.request("https://example.org/c", error=TimeoutError("slow"))
        with crawl.fetch("https://example.org/d") as fetch:
            clock.spend(2_000_000_000)
            fetch.status = 200
        crawl.article(words=640, seconds=0.1)
        crawl.article(words=60)
        crawl.duplicate(confidence=0.97)
        crawl.queue(412)
        crawl.queue(7, name="retries")
        assert crawl.progress == 0.5
        assert measured.value("pipeline.crawl.sessions.active", **OF) == 1
        assert measured.value("pipeline.crawl.urls.rate", **OF) == 2.0
    requests = {
        (dict(labels)[a.OPERATION_STATUS], dict(labels).get(a.HTTP_STATUS_CODE)): value
        for labels, value in measured.of("pipeline.crawl.requests").items()
    }
    assert requests == {("success", "200"): 2, ("error", "404"): 1, ("error", None): 1}
    wanted = {
        "sessions.started": 1,
        "sessions.completed": 1,
        "sessions.active": 0,
        "session.duration": (1, 2.0),
        "session.urls": (1, 4),
        "session.articles": (1, 2),
        "urls.rate": 2.0,
        "articles.rate": 1.0,
        "progress": 0.5,
        "request.duration": (3, 4.0),
        "articles": 2,
        "article.words": (2, 700),
        "article.processing_time": (1, 0.1),
        "duplicates": 1,
        "duplicate.confidence": (1, 0.97),
    }
    assert {name: measured.value(f"pipeline.crawl.{name}", **OF) for name in wanted} == wanted
    assert measured.value("pipeline.queue.length", pipeline_queue_name="default") == 412
    assert measured.value("pipeline.queue.length", pipeline_queue_name="retries") == 7
    stage = seen.stage("crawl example.org")
    assert (stage[a.RECORDS_IN], stage[a.RECORDS_OUT], stage[a.RECORDS_FAILED]) == (4, 2, 2)
    assert (stage[a.RECORDS_DUPLICATE], stage[a.CRAWL_TOTAL], stage[a.CRAWL_WORDS]) == (1, 8, 700)
    samples = str([event.attributes for event in seen.one("stage crawl example.org").events])
    assert "HTTP 404: example.org/b" in samples
    assert "token" not in samples
    assert "u:p" not in samples


def test_a_session_that_fails(measured: Measured) -> None:
    """It is completed, as a failure; an exception in a fetch is a failed request."""
    with pytest.raises(ConnectionError), op.pipeline("news"), op.crawl("example.org") as crawl, crawl.fetch("/"):
        raise ConnectionError
    assert measured.value("pipeline.crawl.sessions.completed", pipeline_stage_result="failure", **OF) == 1
    assert measured.value("pipeline.crawl.requests", pipeline_operation_status="error", **OF) == 1


def test_a_decorator(measured: Measured) -> None:
    """`current_crawl()` is the session of the function; outside any it counts nothing."""

    @op.crawl("example.org", total=2)
    def crawl() -> int:
        op.current_crawl().request(status=200)
        return op.current_crawl().records["in"]

    with op.pipeline("news"):
        assert [crawl(), crawl()] == [1, 1]
    op.current_crawl().request(status=200)
    assert measured.value("pipeline.crawl.sessions.started", **OF) == 2
    assert sum(measured.of("pipeline.crawl.requests").values()) == 2


def test_a_total_that_grows(seen: Seen) -> None:
    """A crawler finds more pages while it goes."""
    with op.pipeline("news"), op.crawl("example.org", total=1) as crawl:
        crawl.request(status=200)
        crawl.total = 4
        assert crawl.progress == 0.25
    assert seen.stage("crawl example.org")[a.CRAWL_TOTAL] == 4
