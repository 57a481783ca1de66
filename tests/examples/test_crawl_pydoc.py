"""The crawler's figures are those of the access log, of the database, and of the pages that it was given."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from otel_pipeline.cli import main
from tests.served import cli, environment

from .logging_proxy import NO_ANSWER, Proxy, proxy_of

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "crawl_pydoc.py"
LIMIT = 45
UNAVAILABLE = "/topic?key=if"
HUNG_UP = "/topic?key=is"
TIMEOUT = 300
Labels = dict[str, str]


@pytest.fixture(scope="module")
def pydoc() -> Iterator[str]:
    """HOST:PORT of a real pydoc server."""
    command = [sys.executable, "-u", "-m", "pydoc", "-p", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield urlsplit(server.stdout.readline().split()[-1]).netloc
        finally:
            server.terminate()


@pytest.fixture
def proxy(pydoc: str, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy in front of it, with an access log, and faults."""
    with proxy_of(pydoc, tmp_path / "access.log", unavailable={UNAVAILABLE}, hung_up={HUNG_UP}) as found:
        yield found


def crawl(folder: Path, *options: str | Path) -> str:
    """Run the example with a store and queue in ``folder``; what it said."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), *map(str, options)],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


class Told:
    """What `otel-pipeline stats` says of a store, by name."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, said: pytest.CaptureFixture[str]) -> None:
        self._said = said
        for name, value in environment(folder).items():
            patch.setenv(name, value)

    def series(self, name: str) -> list[tuple[Labels, float, float]]:
        """Labels, value (of a histogram its sum) and count of each series of ``name``."""
        self._said.readouterr()
        assert main(["stats", name, "--json"]) == 0
        found: list[dict[str, Any]] = json.loads(self._said.readouterr().out)
        return [(each["labels"], each["value"], each["count"]) for each in found]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the only series of ``name`` that has these labels; None where there is none."""
        found = [value for had, value, _ in self.series(name) if labels.items() <= had.items()]
        assert len(found) <= 1, found
        return found[0] if found else None


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """Of the test's own store."""
    return Told(tmp_path, monkeypatch, capsys)


def stored(database: Path) -> dict[str, int]:
    """The table: words by path."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT path, words FROM pages"))


def links(pydoc: str, proxy: Proxy) -> list[str]:
    """The links to topics on all pages that were given, asked for once more, and read without the crawler's parser."""
    found: list[str] = []
    for path in [request.path for request in proxy.requests if request.status == "200"]:
        with contextlib.closing(http.client.HTTPConnection(pydoc, timeout=60)) as connection:
            connection.request("GET", path)
            found += re.findall(r'<a href="(topic\?[^"]*)"', connection.getresponse().read().decode())
    return found


def test_figures_are_those_of_the_access_log(pydoc: str, proxy: Proxy, tmp_path: Path, told: Told) -> None:
    """Requests by status, articles, duplicates, words, cache, database, searches, sessions, the queue: all exact."""
    crawl(tmp_path, "--url", proxy.url, "--limit", str(LIMIT), "--database", tmp_path / "pages.db")
    log, pages = proxy.statuses, stored(tmp_path / "pages.db")
    assert {request.path for request in proxy.requests} >= {UNAVAILABLE, HUNG_UP, "/keywords", "/no_such_module.html"}
    assert set(log) == {"200", "404", "503", NO_ANSWER}
    assert log.total() == len({request.path for request in proxy.requests}) == LIMIT
    failed = log.total() - log["200"]

    assert told.value("pipeline_urls_total") == log.total()
    assert told.value("pipeline_urls_success") == log["200"]
    assert told.value("pipeline_urls_failed") == failed
    assert {code: told.value(f"pipeline_urls_status_{code}") for code in ("200", "404", "503")} == {
        code: log[code] for code in ("200", "404", "503")
    }
    assert told.value("etl_crawler_requests_total", source="pydoc", status="success") == log["200"]
    assert told.value("etl_crawler_requests_total", source="pydoc", status="error") == failed
    by_code = told.series("pipeline.crawl.requests")
    assert {labels["http_response_status_code"] or NO_ANSWER: value for labels, value, _ in by_code} == dict(log)

    [run] = json.loads(cli(tmp_path, "runs", "--json").stdout)
    [session] = run["stages"]
    records = session["records"]
    assert (run["pipeline"], run["result"], session["name"]) == ("crawl_pydoc", "success", "crawl pydoc")
    assert (records["in"], records["failed"], records["out"]) == (log.total(), failed, len(pages))
    assert records["in"] == sum(records[name] or 0 for name in ("out", "failed", "duplicate", "dropped"))
    assert records["duplicate"] >= 2  # one page under two addresses, and at least a topic that is under two names

    assert told.value("pipeline_articles_stored") == len(pages)
    assert told.value("pipeline_articles_word_count") == sum(pages.values())
    assert told.value("pipeline_duplicates_detected") == records["duplicate"]
    assert 0.9 * records["duplicate"] <= (told.value("pipeline_duplicates_confidence") or 0) <= records["duplicate"]
    assert "/keywords" not in pages
    assert "/keywords.html" in pages

    assert told.value("pipeline_queue_size") == 0
    assert told.value("etl_queue_size", queue_name="default") == 0
    assert told.value("pipeline_sessions_started") == 1
    assert told.value("pipeline_sessions_completed") == 1
    assert told.value("pipeline_sessions_active") == 0
    assert told.value("pipeline_session_urls_processed") == log.total()
    assert told.value("pipeline_session_articles_found") == len(pages)
    assert told.value("pipeline.crawl.progress") == 1

    hits, misses = told.value("cache_hits_total", cache="visited"), told.value("cache_misses_total", cache="visited")
    assert (hits or 0) + (misses or 0) == len(links(pydoc, proxy))
    inserts = {"operation": "insert", "table": "pages", "status": "success"}
    assert told.value("etl_database_operations_total", **inserts) == len(pages)
    assert told.value("pipeline.database.rows") == len(pages)
    assert told.value("pipeline_search_queries") == 3
    assert told.value("data_records_processed_total", table="pydoc.pages") == len(pages)


def test_two_crawls_add_up(proxy: Proxy, tmp_path: Path, told: Told) -> None:
    """Figures of several processes are those of the whole log; each crawl is a run and a session of its own."""
    for limit in (6, 8):
        crawl(tmp_path, "--url", proxy.url, "--limit", str(limit))
    assert len(json.loads(cli(tmp_path, "runs", "--json").stdout)) == 2
    assert told.value("pipeline_urls_total") == 14 == proxy.statuses.total()
    assert told.value("pipeline_urls_status_404") == proxy.statuses["404"] == 4
    assert told.value("pipeline_sessions_completed") == 2


def test_server_of_its_own(tmp_path: Path, told: Told) -> None:
    """Without --url it starts pydoc, and ends it. That says 200 of all pages, two of which fail all the same."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(EXAMPLE), "--limit", "8"],
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        said = running.communicate(timeout=TIMEOUT)[1]
    assert running.returncode == 0, said
    if hasattr(os, "killpg"):
        with pytest.raises(ProcessLookupError):
            os.killpg(running.pid, 0)
    assert told.value("pipeline_urls_status_200") == 8
    assert told.value("etl_crawler_requests_total", status="success") == 6
    assert told.value("etl_crawler_requests_total", status="error") == 2


def test_without_telemetry_it_does_the_same(proxy: Proxy, tmp_path: Path) -> None:
    """Its functions work where nobody has called `setup()`: the same pages, and nothing stored beside them."""
    crawl(tmp_path, "--url", proxy.url, "--limit", "20", "--database", tmp_path / "with.db")
    code = f"import crawl_pydoc; crawl_pydoc.main({proxy.url!r}, 20, 'without.db')"
    folder = tmp_path / "without"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment(folder) | {"PYTHONPATH": str(EXAMPLE.parent)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert stored(folder / "without.db") == stored(tmp_path / "with.db") != {}
    assert [path.name for path in folder.iterdir()] == ["without.db"]
