"""One run that uses every call, so that every KPI of docs/kpis.md has a value to look at.

    python examples/all_signals.py && otel-pipeline stats pipeline_urls_total

It needs no network and no server: what it crawls, searches and stores is made up.
"""

import contextlib
import sys
from datetime import datetime, timedelta, timezone

import otel_pipeline as op

NAME = sys.argv[1] if len(sys.argv) > 1 else "all_signals"
PAGES = {"/": 200, "/news": 200, "/sport": 200, "/old": 404, "/broken": 500}

revenue = op.counter("revenue.processed", description="Money that came in.")
segments = op.gauge("customer.segments.count", description="Customers by segment.")
order_value = op.histogram("order_value_dollars", description="Value of orders.")


@op.collector("active_users", every=60, description="Users of the last five minutes.")
def active_users() -> int:
    """A gauge that is asked for on an interval."""
    return 42


@op.database("insert", "articles")
def insert(rows: list[str]) -> int:
    """What it returns are the rows of the operation."""
    return len(rows)


@op.search("articles")
def find(query: str) -> list[str]:
    """What it returns are the results of the search."""
    return [path for path in PAGES if query in path]


@op.check("has_text", dataset="articles", kind="schema")
def has_text(article: str) -> bool:
    """Each call is a record that passed or failed."""
    return article != "/sport"


def crawl() -> list[str]:
    """Pages by status, articles and duplicates, a queue."""
    found = []
    with op.crawl("example.org", total=len(PAGES)) as session:
        for waiting, (path, status) in enumerate(PAGES.items(), start=1 - len(PAGES)):
            with session.fetch(f"https://example.org{path}") as fetch:
                fetch.status = status
            session.queue(-waiting)
            if status == 200:
                session.article(words=100 * len(path), seconds=0.01)
                found.append(path)
        session.request("https://example.org/away", error="no answer")
        session.duplicate(confidence=0.97)
    return found


@op.stage(kind="validate")
def validate(articles: list[str]):
    """Records in, out, failed, dropped and duplicate."""
    stage, seen = op.current_stage(), set()
    for article in stage.track([*articles, "/news", "?"]):
        if article == "?":
            stage.fail(ValueError("no article"), record={"path": article})
        elif article in seen:
            stage.add(dropped=1, duplicate=1)
        elif has_text(article):
            seen.add(article)
            yield article
        else:
            stage.add(dropped=1)


@op.stage
def load(articles) -> None:
    """Datasets, database operations, something timed."""
    stage = op.current_stage()
    rows = list(articles)
    with op.timed("compress"):
        size = len("".join(rows).encode())
    insert(rows)
    with contextlib.suppress(ConnectionError), op.database("delete", "articles"):
        raise ConnectionError("the table is locked")
    stage.add(bytes=size)
    yesterday = datetime.now(timezone.utc) - timedelta(hours=3)
    stage.dataset("articles", "insert", records=len(rows), bytes=size, watermark=yesterday)
    stage.dataset("pages", "extract", records=len(PAGES))


@op.stage
def report() -> None:
    """Searches, a cache, and what the business wants to know."""
    for query in ("news", "/"):
        find(query)
    users = op.cache("users")
    users.hit(3)
    users.miss()
    for amount, currency in ((12.5, "EUR"), (7.5, "EUR"), (30, "USD")):
        revenue.add(amount, currency=currency)
        order_value.record(amount)
    segments.set(120, segment="new")
    segments.set(80, segment="returning")
    raise RuntimeError("the printer is out of paper")


@op.pipeline(NAME, expect=op.Expect(duration="<1h", records=">=100"), slo=op.Slo(availability="99%"))
def main() -> None:
    """The run."""
    load(validate(crawl()))
    with contextlib.suppress(RuntimeError):  # the run goes on without its report
        report()


if __name__ == "__main__":
    # The run is named by hand, so that the script itself is none.
    op.setup("all-signals", script_run=False)
    main()
