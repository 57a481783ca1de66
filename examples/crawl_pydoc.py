"""Crawl the language reference that Python's own documentation server gives, and search in it.

    waiting ──path──> fetch ──HTML──> Page ──links──> waiting
                                        └──words──> duplicate? ──> store ──> SQLite <── find

The server is `python -m pydoc -p 0`, which this starts and stops, or one that runs already (`--url`).
"""

import argparse
import contextlib
import hashlib
import http.client
import logging
import sqlite3
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

import otel_pipeline as op

# Two indexes, one of them under two addresses, and two links that lead nowhere.
SEEDS = ("/keywords.html", "/keywords", "/no_such_module.html", "/topic?key=NO_SUCH_TOPIC", "/topics.html")
SEARCHES = ("boolean", "context manager", "no page says this")
ALIKE = 0.9  # from this share of common five-word groups on, two pages are one
log = logging.getLogger("crawl_pydoc")
Groups = set[tuple[str, ...]]


class Page(HTMLParser):
    """The words of a page, and the topics that it links to."""

    @op.timed("parse")
    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep links to topics. Those to modules are left alone: pydoc imports a module to show it."""
        link = dict(attrs).get("href") or ""
        if tag == "a" and link.startswith("topic?"):
            self.links.append(f"/{link}")

    def handle_data(self, data: str) -> None:
        """Keep words."""
        self.words += data.split()


def fetch(session: op.Crawl, host: str, path: str) -> str | None:
    """Get a page, or None where there is none; the session counts both."""
    try:
        with session.fetch(path) as request, contextlib.closing(http.client.HTTPConnection(host, timeout=60)) as server:
            server.request("GET", path)
            answer = server.getresponse()
            request.status = answer.status
            body = answer.read()
            if missing := b"<title>Pydoc: Error" in body:  # of what it does not know pydoc says so with status 200
                request.fail()
    except (OSError, http.client.HTTPException) as error:
        log.warning("cannot get %s: %r", path, error)
        return None
    session.add(bytes=len(body))
    return None if missing or answer.status != 200 else body.decode()


@op.check("has text", dataset="pydoc.pages")
def has_text(words: list[str]) -> bool:
    """Tell a page with something to read from an empty one."""
    return len(words) >= 50


def similarity(words: list[str], texts: dict[bytes, Groups]) -> float:
    """Tell how sure it is that there is such a text already, from 0 to 1, and remember one that is new."""
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    if digest in texts:
        return 1.0
    groups = set(zip(*(words[start:] for start in range(5)), strict=False))
    most = max((len(groups & other) / len(groups | other) for other in texts.values()), default=0.0)
    if most < ALIKE:
        texts[digest] = groups
    return most


@op.database("insert", "pages")
def store(connection: sqlite3.Connection, path: str, words: list[str]) -> int:
    """Write a page; what is returned counts as the number of rows."""
    with connection:
        row = path, len(words), " ".join(words)
        return connection.execute("INSERT OR REPLACE INTO pages VALUES (?, ?, ?)", row).rowcount


@op.search("pages")
def find(connection: sqlite3.Connection, phrase: str) -> list[str]:
    """Give the pages that contain a phrase; its length and their number are counted."""
    return [path for (path,) in connection.execute("SELECT path FROM pages WHERE text LIKE ?", [f"%{phrase}%"])]


@op.crawl("pydoc")
def crawl(host: str, limit: int, connection: sqlite3.Connection) -> None:
    """Follow links from page to page, until there are no more, or `limit` pages."""
    session, visited = op.current_crawl(), op.cache("visited")
    waiting, texts = deque(SEEDS[:limit]), dict[bytes, Groups]()
    seen = set(waiting)
    while waiting:
        session.total = len(seen)  # grows while pages are found
        session.queue(len(waiting))
        path = waiting.popleft()
        if (html := fetch(session, host, path)) is None:
            continue
        began = time.perf_counter()
        page = Page(html)
        for link in page.links:
            if link in seen:
                visited.hit()
                continue
            visited.miss()
            if len(seen) < limit:
                seen.add(link)
                waiting.append(link)
        if not has_text(page.words):
            session.add(dropped=1)
        elif (confidence := similarity(page.words, texts)) >= ALIKE:
            session.duplicate(confidence=confidence)
        else:
            store(connection, path, page.words)
            session.article(words=len(page.words), seconds=time.perf_counter() - began)
    session.queue(0)
    session.dataset("pydoc.pages", "write", records=session.records.get("out", 0))


@op.pipeline("crawl_pydoc")
def main(url: str, limit: int, database: str) -> None:
    """Crawl, then look phrases up."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS pages (path PRIMARY KEY, words, text)")
        crawl(urlsplit(url).netloc, limit, connection)
        for phrase in SEARCHES:
            log.info("%r is on %d pages", phrase, len(find(connection, phrase)))


@contextlib.contextmanager
def pydoc_server() -> Iterator[str]:
    """Start the server on a port that is free; it ends with the block."""
    command = [sys.executable, "-u", "-m", "pydoc", "-p", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().split()[-1]  # Server ready at http://localhost:41234/
        finally:
            server.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Crawl the language reference of a pydoc server.")
    parser.add_argument("--url", help="a server that runs (default: one of its own)")
    parser.add_argument("--limit", type=int, default=60, help="stop after this many pages (default: 60)")
    parser.add_argument("--database", default="", help="SQLite file for the pages (default: a temporary one)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    op.setup("crawl-pydoc")
    with contextlib.nullcontext(options.url) if options.url else pydoc_server() as address:
        main(address, options.limit, options.database)
