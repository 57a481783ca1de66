"""High-volume counts: crawls, searches, database and cache operations, timed operations, queues; a catalogue row each.

Processes publish them as cumulative metrics (``event`` is ``stream``), which a server adds up over the processes.
"""

from __future__ import annotations

from types import MappingProxyType

from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv.kpi import Alias, Family, Kpi, Pack
from otel_pipeline.semconv.metrics import RUN_BUCKETS
from otel_pipeline.semconv.tables import Instrument, Metric

SECONDS = (0.00001, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_WORDS = (10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_COUNTS = (0, 1, 5, 10, 25, 50, 100, 500, 1000, 10_000, 100_000, 1_000_000)
_LENGTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
_DOLLARS = (1, 5, 10, 25, 50, 75, 100, 150, 250, 500, 750, 1000, 2500, 5000, 10_000, 100_000)
_SUFFIXES = {"s": "_seconds", "{url}/s": "_per_second", "{article}/s": "_per_second"}
OVERFLOW = "__overflow__"
"""Every label of the series to which a metric's measurements go when its label sets are too many."""

_SOURCE = (a.PIPELINE_NAME, a.CRAWL_SOURCE)
_DATABASE = (a.PIPELINE_NAME, a.DB_OPERATION, a.DB_TABLE)


def _kpi(
    name: str,
    instrument: Instrument,
    unit: str,
    description: str,
    labels: tuple[str, ...],
    *aliases: Alias,
    buckets: tuple[float, ...] = (),
) -> Kpi:
    suffix = _SUFFIXES.get(unit, "") + ("_total" if instrument == "counter" else "")
    suffix += "_ratio" if instrument == "gauge" and unit == "1" else ""
    metric = Metric(name, instrument, unit, description, labels, name.replace(".", "_") + suffix, buckets)
    return Kpi(metric, "stream", "value", aliases=aliases)


def _plain(name: str, *labels: tuple[str, str], pack: Pack = "crawl") -> Alias:
    return Alias(name, labels, pack)


def _only(name: str, attribute: str, value: str) -> Alias:
    return Alias(name, (), "crawl", MappingProxyType({attribute: MappingProxyType({value: value})}))


# Crawls.
SESSIONS_STARTED = _kpi(
    "pipeline.crawl.sessions.started",
    "counter",
    "{session}",
    "Crawl sessions that started.",
    _SOURCE,
    _plain("pipeline_sessions_started"),
)
SESSIONS_COMPLETED = _kpi(
    "pipeline.crawl.sessions.completed",
    "counter",
    "{session}",
    "Crawl sessions that ended, however they ended.",
    (*_SOURCE, a.STAGE_RESULT),
    _plain("pipeline_sessions_completed"),
)
SESSIONS_ACTIVE = _kpi(
    "pipeline.crawl.sessions.active",
    "updowncounter",
    "{session}",
    "Crawl sessions that are open.",
    _SOURCE,
    _plain("pipeline_sessions_active"),
)
SESSION_DURATION = _kpi(
    "pipeline.crawl.session.duration",
    "histogram",
    "s",
    "Duration of crawl sessions.",
    _SOURCE,
    _plain("pipeline_session_duration"),
    buckets=RUN_BUCKETS,
)
SESSION_URLS = _kpi(
    "pipeline.crawl.session.urls",
    "histogram",
    "{url}",
    "URLs that were requested in a session.",
    _SOURCE,
    _plain("pipeline_session_urls_processed"),
    buckets=_COUNTS,
)
SESSION_ARTICLES = _kpi(
    "pipeline.crawl.session.articles",
    "histogram",
    "{article}",
    "Articles that were found in a session.",
    _SOURCE,
    _plain("pipeline_session_articles_found"),
    buckets=_COUNTS,
)
URL_RATE = _kpi(
    "pipeline.crawl.urls.rate",
    "updowncounter",
    "{url}/s",
    "URLs a second of the sessions that are open or ended in the last minute, from the first start to the last end.",
    _SOURCE,
    _plain("pipeline_performance_urls_per_second"),
)
ARTICLE_RATE = _kpi(
    "pipeline.crawl.articles.rate",
    "updowncounter",
    "{article}/s",
    "Articles a second of the same sessions.",
    _SOURCE,
    _plain("pipeline_performance_articles_per_second"),
)
PROGRESS = _kpi(
    "pipeline.crawl.progress",
    "gauge",
    "1",
    "Pages that the last session has processed, of the total that it was told.",
    _SOURCE,
)
REQUESTS = _kpi(
    "pipeline.crawl.requests",
    "counter",
    "{request}",
    "Requests of crawls, by success and by the status code of the answer, where one was told.",
    (*_SOURCE, a.OPERATION_STATUS, a.HTTP_STATUS_CODE),
    Alias(
        "etl_crawler_requests_total", (("source", a.CRAWL_SOURCE), ("status", a.OPERATION_STATUS)), "etl"
    ),
    _plain("pipeline_urls_total"),
    _only("pipeline_urls_success", a.OPERATION_STATUS, "success"),
    _only("pipeline_urls_failed", a.OPERATION_STATUS, "error"),
    Alias("pipeline_urls_status", (), "crawl", family=Family("CODE", (a.HTTP_STATUS_CODE,), 40)),
)  # fmt: skip
REQUEST_DURATION = _kpi(
    "pipeline.crawl.request.duration",
    "histogram",
    "s",
    "Response time of requests.",
    _SOURCE,
    _plain("etl_crawler_request_duration_seconds", ("source", a.CRAWL_SOURCE), pack="etl"),
    _plain("pipeline_urls_response_time"),
    buckets=SECONDS,
)
ARTICLES = _kpi(
    "pipeline.crawl.articles",
    "counter",
    "{article}",
    "Articles that were stored.",
    _SOURCE,
    _plain("pipeline_articles_stored"),
)
ARTICLE_WORDS = _kpi(
    "pipeline.crawl.article.words",
    "histogram",
    "{word}",
    "Words of an article.",
    _SOURCE,
    _plain("pipeline_articles_word_count"),
    buckets=_WORDS,
)
ARTICLE_TIME = _kpi(
    "pipeline.crawl.article.processing_time",
    "histogram",
    "s",
    "Time to process an article.",
    _SOURCE,
    _plain("pipeline_articles_processing_time"),
    buckets=SECONDS,
)
DUPLICATES = _kpi(
    "pipeline.crawl.duplicates",
    "counter",
    "{article}",
    "Duplicates that were detected.",
    _SOURCE,
    _plain("pipeline_duplicates_detected"),
)
DUPLICATE_CONFIDENCE = _kpi(
    "pipeline.crawl.duplicate.confidence",
    "histogram",
    "",
    "How sure it was that it is one, from 0 to 1.",
    _SOURCE,
    _plain("pipeline_duplicates_confidence"),
    buckets=_SHARES,
)
QUEUE_LENGTH = _kpi(
    "pipeline.queue.length",
    "gauge",
    "{item}",
    "What waits in a queue of the pipeline's own, as it was last measured.",
    (a.QUEUE_NAME,),
    _plain("etl_queue_size", ("queue_name", a.QUEUE_NAME), pack="etl"),
    _plain("pipeline_queue_size"),
)

# Searches.
_INDEX = (a.PIPELINE_NAME, a.SEARCH_INDEX)
SEARCHES = _kpi(
    "pipeline.search.queries",
    "counter",
    "{query}",
    "Search queries.",
    (*_INDEX, a.OPERATION_STATUS),
    _plain("pipeline_search_queries"),
)
SEARCH_DURATION = _kpi(
    "pipeline.search.duration",
    "histogram",
    "s",
    "Response time of searches.",
    _INDEX,
    _plain("pipeline_search_response_time"),
    buckets=SECONDS,
)
SEARCH_RESULTS = _kpi(
    "pipeline.search.results",
    "histogram",
    "{result}",
    "Results of a search.",
    _INDEX,
    _plain("pipeline_search_result_count"),
    buckets=_COUNTS,
)
SEARCH_LENGTH = _kpi(
    "pipeline.search.query.size",
    "histogram",
    "{character}",
    "Length of a query.",
    _INDEX,
    _plain("pipeline_search_query_length"),
    buckets=_LENGTHS,
)

# Database and cache operations.
_QUERY = (("operation", a.DB_OPERATION), ("table", a.DB_TABLE))
DATABASE_OPERATIONS = _kpi(
    "pipeline.database.operations",
    "counter",
    "{operation}",
    "Database operations.",
    (*_DATABASE, a.OPERATION_STATUS),
    Alias("etl_database_operations_total", (*_QUERY, ("status", a.OPERATION_STATUS)), "etl"),
)
DATABASE_ROWS = _kpi(
    "pipeline.database.rows", "counter", "{row}", "Rows that database operations read or wrote.", _DATABASE
)
DATABASE_DURATION = _kpi(
    "pipeline.database.duration",
    "histogram",
    "s",
    "Time that database operations took.",
    _DATABASE,
    _plain("db_query_duration_seconds", *_QUERY, pack="api"),
    _plain("pipeline_db_duration", *_QUERY),
    Alias(
        "pipeline_db",
        (),
        "crawl",
        family=Family("OPERATION_TABLE", (a.DB_OPERATION, a.DB_TABLE), 100, "pipeline_db_other"),
    ),
    buckets=SECONDS,
)
_CACHE = (a.PIPELINE_NAME, a.CACHE_NAME)
CACHE_HITS = _kpi(
    "pipeline.cache.hits",
    "counter",
    "{lookup}",
    "Lookups that found something.",
    _CACHE,
    _plain("cache_hits_total", ("cache", a.CACHE_NAME), pack="api"),
)
CACHE_MISSES = _kpi(
    "pipeline.cache.misses",
    "counter",
    "{lookup}",
    "Lookups that found nothing.",
    _CACHE,
    _plain("cache_misses_total", ("cache", a.CACHE_NAME), pack="api"),
)

# Any operation.
OPERATION_DURATION = _kpi(
    "pipeline.operation.duration",
    "histogram",
    "s",
    "Time that operations took, each to its end. Database operations are here too: as pipeline `database`, with the "
    "table as stage.",
    (a.PIPELINE_NAME, a.STAGE_NAME, a.OPERATION_NAME, a.OPERATION_STATUS),
    Alias(
        "etl_operation_duration_seconds",
        (("pipeline", a.PIPELINE_NAME), ("stage", a.STAGE_NAME), ("operation", a.OPERATION_NAME)),
        "etl",
    ),
    buckets=SECONDS,
)

# What a user counts by a name that dashboards know.
ORDER_VALUE = Kpi(
    Metric(
        "order_value_dollars",
        "histogram",
        "",
        "Value of orders: a histogram of that name of the user's own, served as quantiles.",
        (),
        "order_value_dollars",
        _DOLLARS,
    ),
    "stream",
    "value",
    summary=True,
)

# What the telemetry says of itself.
REJECTED = _kpi(
    "pipeline.telemetry.rejected",
    "counter",
    "{call}",
    "Calls of which something could not be used, such as a negative count; the rest of each was.",
    (a.TELEMETRY_CALL,),
)
OVERFLOWED = _kpi(
    "pipeline.telemetry.overflowed",
    "counter",
    "{measurement}",
    "Measurements whose labels were too many for one process: they are in the series of `__overflow__`.",
    (a.TELEMETRY_METRIC,),
)

OPERATIONS: tuple[Kpi, ...] = (
    SESSIONS_STARTED, SESSIONS_COMPLETED, SESSIONS_ACTIVE, SESSION_DURATION, SESSION_URLS, SESSION_ARTICLES,
    URL_RATE, ARTICLE_RATE, PROGRESS, REQUESTS, REQUEST_DURATION, ARTICLES, ARTICLE_WORDS, ARTICLE_TIME,
    DUPLICATES, DUPLICATE_CONFIDENCE, QUEUE_LENGTH,
    SEARCHES, SEARCH_DURATION, SEARCH_RESULTS, SEARCH_LENGTH,
    DATABASE_OPERATIONS, DATABASE_ROWS, DATABASE_DURATION, CACHE_HITS, CACHE_MISSES,
    OPERATION_DURATION, ORDER_VALUE, REJECTED, OVERFLOWED,
)  # fmt: skip
"""The rows, in the order of the docs."""
