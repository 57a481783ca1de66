"""The attributes. A constant holds the key; ``ATTRIBUTES`` holds the rows, in the order of the docs.

Where OpenTelemetry has a convention its key is used as it is; ``pipeline.*`` follows the shape of OpenTelemetry's
``cicd.pipeline.*`` (a pipeline, its runs, their results), which is about builds and so cannot be used itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_pipeline.semconv.tables import Attribute

if TYPE_CHECKING:
    from otel_pipeline.semconv.tables import Found, ValueType

ATTRIBUTES: list[Attribute] = []

_CICD = "shaped after cicd.pipeline.*"
_PROCESS = "OpenTelemetry process.*"

RUN_RESULTS = ("success", "failure", "timeout", "cancellation", "skip", "lost")
STAGE_RESULTS = ("success", "failure", "aborted", "skip")
STAGE_KINDS = ("extract", "transform", "validate", "filter", "expand", "aggregate", "join", "load")
ONE_TO_ONE_KINDS = ("transform", "validate", "filter")
EXPECTATIONS = (
    "did_not_start", "late", "overdue", "too_fast", "too_slow", "too_few", "too_many", "too_often", "lost",
)  # fmt: skip
EXPECTATION_STATES = ("found", "over", "withdrawn")
OPERATION_STATUSES = ("success", "error")
OBJECTIVES = ("availability", "latency", "errors", "freshness")
SLO_WINDOWS = ("5m", "30m", "1h", "6h", "3d")


def _row(
    key: str,
    type_: ValueType,
    found: Found | tuple[Found, ...],
    description: str,
    *,
    unit: str = "",
    follows: str = "ours",
    values: tuple[str, ...] = (),
) -> str:
    places = (found,) if isinstance(found, str) else found
    stability = "stable" if follows.endswith("(stable)") else "development"
    ATTRIBUTES.append(Attribute(key, type_, places, description, unit, stability, follows, values))  # type: ignore[arg-type]
    return key


_BOTH: tuple[Found, ...] = ("run span", "stage span")
_ALL: tuple[Found, ...] = ("run span", "stage span", "log event", "metric")

# What a run is.
PIPELINE_NAME = _row("pipeline.name", "string", _ALL, "The pipeline's name.", follows=_CICD)
RUN_ID = _row(
    "pipeline.run.id",
    "string",
    ("run span", "stage span", "log event"),
    "The run's id, a UUID version 7. Never a metric label: one value per run.",
    follows=_CICD,
)
RUN_ATTEMPT = _row(
    "pipeline.run.attempt",
    "int",
    ("run span", "log event"),
    "1 for the first try, 2 for its first retry.",
    follows=_CICD,
)
RUN_BACKFILL = _row(
    "pipeline.run.backfill",
    "boolean",
    ("run span", "stage span", "log event"),
    "The run fills in old data: it is counted apart (docs/kpis.md). Only where it is true.",
)
RUN_RESULT = _row(
    "pipeline.run.result", "string", ("run span", "metric"), "How the run ended.", follows=_CICD, values=RUN_RESULTS
)
RUN_SELF_TIME = _row("pipeline.run.self_time", "double", "run span", "Time that the run spent in no stage.", unit="s")
RUN_PARENT_ID = _row("pipeline.run.parent.id", "string", "run span", "The id of the run that this one is nested in.")
RUN_SKIP_REASON = _row(
    "pipeline.run.skip.reason", "string", "run span", "Why the run had nothing to do, as the code said."
)
RUN_STAGES_NOT_STARTED = _row(
    "pipeline.run.stages.not_started", "string[]", "run span", "Lazy stages that were called but never pulled from."
)
RUN_STAGES_OPEN = _row(
    "pipeline.run.stages.open",
    "string[]",
    ("run span", "log event"),
    "Stages that were open: at a heartbeat, or when the run was lost.",
)
RUN_SIGNAL = _row("pipeline.run.signal", "string", "run span", "The signal that ended the process, such as SIGKILL.")
RUN_CPU_TIME = _row(
    "pipeline.run.cpu.time",
    "double",
    "run span",
    "CPU time of the command and its children, user and system.",
    unit="s",
)
RUN_MEMORY_PEAK = _row(
    "pipeline.run.memory.peak",
    "int",
    "run span",
    "Largest resident size that a process of the command reached.",
    unit="By",
)
PROCESS_EXIT_CODE = _row("process.exit.code", "int", "run span", "The command's exit status.", follows=_PROCESS)
PROCESS_COMMAND = _row("process.command", "string", "run span", "The program that the run executes.", follows=_PROCESS)

RUN_HEARTBEAT_INTERVAL = _row(
    "pipeline.run.heartbeat.interval",
    "double",
    "log event",
    "How often the run says that it is alive; 0: not at all, so that its silence means nothing.",
    unit="s",
)

# What is expected of a pipeline.
DECLARATION = _row(
    "pipeline.declaration",
    "string",
    ("run span", "log event"),
    "What was declared of the pipeline: schedule, expectations, objectives; JSON, at most 2000 characters.",
)
EXPECTATION = _row(
    "pipeline.expectation", "string", ("metric", "log event"), "What was not as expected.", values=EXPECTATIONS
)
EXPECTATION_STATE = _row(
    "pipeline.expectation.state",
    "string",
    "log event",
    "What became of that: it was found, it is over, or it turned out untrue.",
    values=EXPECTATION_STATES,
)
EXPECTATION_SUBJECT = _row(
    "pipeline.expectation.subject", "string", "log event", "What it is about: the due time, the run, or the success."
)
EXPECTATION_VALUE = _row("pipeline.expectation.value", "double", "log event", "What was found: seconds, records, runs.")
EXPECTATION_LOW = _row("pipeline.expectation.low", "double", "log event", "The least that was expected.")
EXPECTATION_HIGH = _row("pipeline.expectation.high", "double", "log event", "The most that was expected.")
EXPECTATION_LEARNED = _row(
    "pipeline.expectation.learned", "int", "log event", "From how many runs that was learned, where nobody stated it."
)
SLO_NAME = _row("pipeline.slo.name", "string", "metric", "Which objective.", values=OBJECTIVES)
SLO_WINDOW = _row(
    "pipeline.slo.window", "string", "metric", "The time over which a burn rate is computed.", values=SLO_WINDOWS
)

# What a stage is.
STAGE_NAME = _row("pipeline.stage.name", "string", ("stage span", "metric"), "The stage's name.", follows=_CICD)
STAGE_KIND = _row(
    "pipeline.stage.kind", "string", "stage span", "What the stage does to records, where known.", values=STAGE_KINDS
)
STAGE_RESULT = _row(
    "pipeline.stage.result",
    "string",
    ("stage span", "metric"),
    "How the stage ended; aborted: from outside, while open.",
    follows=_CICD,
    values=STAGE_RESULTS,
)
STAGE_SELF_TIME = _row(
    "pipeline.stage.self_time",
    "double",
    "stage span",
    "Time in the stage's own code: not in stages that it pulls from or calls.",
    unit="s",
)
STAGE_WAIT_TIME = _row(
    "pipeline.stage.wait_time",
    "double",
    "stage span",
    "Time that the stage waited for records of the stages upstream.",
    unit="s",
)
STAGE_EXHAUSTED = _row(
    "pipeline.stage.exhausted",
    "boolean",
    "stage span",
    "False when the consumer of a lazy stage stopped before its end.",
)
STAGE_LATE = _row(
    "pipeline.stage.late", "boolean", "stage span", "True when records were pulled after the run had ended."
)
STAGE_UPSTREAM = _row(
    "pipeline.stage.upstream", "string[]", "stage span", "Names of the stages that records were pulled from."
)
STAGE_SPANS_DROPPED = _row(
    "pipeline.stage.spans.dropped",
    "int",
    "stage span",
    "Other spans below the stage beyond the limit, counted here instead.",
    unit="{span}",
)

# Records. An absent count is unknown, which is not zero.
RECORDS_IN = _row("pipeline.records.in", "int", "stage span", "Records that went in.", unit="{record}")
RECORDS_OUT = _row("pipeline.records.out", "int", "stage span", "Records that came out.", unit="{record}")
RECORDS_FAILED = _row("pipeline.records.failed", "int", "stage span", "Records that failed.", unit="{record}")
RECORDS_DROPPED = _row("pipeline.records.dropped", "int", "stage span", "Records left out on purpose.", unit="{record}")
RECORDS_DUPLICATE = _row(
    "pipeline.records.duplicate",
    "int",
    "stage span",
    "Duplicates seen; those left out are among the dropped as well.",
    unit="{record}",
)
RECORDS_BYTES = _row("pipeline.records.bytes", "int", "stage span", "Bytes processed.", unit="By")
RECORDS_UNACCOUNTED = _row(
    "pipeline.records.unaccounted",
    "int",
    "stage span",
    "in − out − failed − dropped of a one-to-one stage: in flight while it is open, missing when it was exhausted.",
    unit="{record}",
)
RECORD_STATUS = _row(
    "pipeline.record.status",
    "string",
    "metric",
    "Which count of a stage's records.",
    values=("in", "out", "failed", "dropped", "duplicate"),
)
RECORD_KEYS = _row(
    "pipeline.record.keys", "string[]", "span event", "Keys of the failed record; its values stay in the process."
)
RECORD_VALUES = _row(
    "pipeline.record.values",
    "string[]",
    "span event",
    "Its values in the order of the keys, secrets masked, the beginning of each: only with the setting "
    "`record_values`. Of a record without keys its items, or its text.",
)
RECORD_TYPE = _row("pipeline.record.type", "string", "span event", "Type of the failed record.")

# Datasets and checks, as span events on the stage.
DATASET_NAME = _row("pipeline.dataset.name", "string", ("span event", "metric"), "The table, file or topic.")
DATASET_OPERATION = _row(
    "pipeline.dataset.operation",
    "string",
    ("span event", "metric"),
    "What was done to it.",
    values=("extract", "read", "write", "insert", "update", "delete"),
)
DATASET_RECORDS = _row("pipeline.dataset.records", "int", "span event", "Records read or written.", unit="{record}")
DATASET_BYTES = _row("pipeline.dataset.bytes", "int", "span event", "Bytes read or written.", unit="By")
DATASET_WATERMARK = _row(
    "pipeline.dataset.watermark",
    "string",
    "span event",
    "Up to when the data is complete, ISO 8601; freshness counts from it.",
)
CHECK_NAME = _row("pipeline.check.name", "string", ("span event", "metric"), "The quality check's name.")
CHECK_KIND = _row("pipeline.check.kind", "string", "span event", "Its kind, such as schema or not_null.")
CHECK_PASSED = _row("pipeline.check.passed", "int", "span event", "Records that passed.", unit="{record}")
CHECK_FAILED = _row("pipeline.check.failed", "int", "span event", "Records that failed it.", unit="{record}")

# Operations: crawl requests, searches, database and cache operations, whatever is timed.
OPERATION_NAME = _row("pipeline.operation.name", "string", "metric", "What was timed.")
OPERATION_STATUS = _row(
    "pipeline.operation.status", "string", "metric", "Whether it raised or failed.", values=OPERATION_STATUSES
)
OPERATIONS_NAMES = _row(
    "pipeline.operations.names",
    "string[]",
    "stage span",
    "The operations in the stage, those that took most time first; the lists beside it say how often, and how long.",
)
OPERATIONS_COUNTS = _row("pipeline.operations.counts", "int[]", "stage span", "How often each was done.")
OPERATIONS_ERRORS = _row("pipeline.operations.errors", "int[]", "stage span", "How often each failed.")
OPERATIONS_SELF_TIMES = _row(
    "pipeline.operations.self_times",
    "double[]",
    "stage span",
    "Time in each, which is no self time of the stage.",
    unit="s",
)
CRAWL_SOURCE = _row("pipeline.crawl.source", "string", ("stage span", "metric"), "What is crawled, such as a site.")
CRAWL_TOTAL = _row(
    "pipeline.crawl.total", "int", "stage span", "Pages that were to be crawled, where the code said so.", unit="{page}"
)
CRAWL_WORDS = _row("pipeline.crawl.words", "int", "stage span", "Words of all articles.", unit="{word}")
HTTP_STATUS_CODE = _row(
    "http.response.status_code",
    "int",
    "metric",
    "Status code of the answer.",
    follows="OpenTelemetry http.response.status_code (stable)",
)
SEARCH_INDEX = _row("pipeline.search.index", "string", "metric", "What was searched.")
DB_OPERATION = _row(
    "db.operation.name", "string", "metric", "What was done.", follows="OpenTelemetry db.operation.name (stable)"
)
DB_TABLE = _row(
    "db.collection.name", "string", "metric", "The table.", follows="OpenTelemetry db.collection.name (stable)"
)
CACHE_NAME = _row("pipeline.cache.name", "string", "metric", "Which cache.")
QUEUE_NAME = _row("pipeline.queue.name", "string", "metric", "Which queue of the pipeline's own.")
TELEMETRY_CALL = _row("pipeline.telemetry.call", "string", "metric", "What was given that could not be used.")
TELEMETRY_METRIC = _row("pipeline.telemetry.metric", "string", "metric", "Which metric it was of.")

# Errors.
ERROR_TYPE = _row(
    "error.type",
    "string",
    (*_BOTH, "metric"),
    "The exception's qualified name.",
    follows="OpenTelemetry error.type (stable)",
)
ERROR_STAGE = _row("pipeline.error.stage", "string", _BOTH, "The first stage that saw the exception.")
EXCEPTION_TYPE = _row(
    "exception.type",
    "string",
    "span event",
    "The exception's qualified name.",
    follows="OpenTelemetry exception.* (stable)",
)
EXCEPTION_MESSAGE = _row(
    "exception.message", "string", "span event", "Its message.", follows="OpenTelemetry exception.* (stable)"
)
EXCEPTION_STACKTRACE = _row(
    "exception.stacktrace", "string", "span event", "Its stack trace.", follows="OpenTelemetry exception.* (stable)"
)

# Log events, and who sends.
LOG_RECORD_UID = _row(
    "log.record.uid",
    "string",
    "log event",
    "Identity of the event: a second arrival changes nothing.",
    follows="OpenTelemetry log.record.uid",
)
SERVICE_NAME = _row(
    "service.name",
    "string",
    "resource",
    "The service: the name given to setup().",
    follows="OpenTelemetry service.* (stable)",
)
SERVICE_VERSION = _row(
    "service.version", "string", "resource", "Its version.", follows="OpenTelemetry service.* (stable)"
)
SERVICE_INSTANCE_ID = _row(
    "service.instance.id",
    "string",
    "resource",
    "Unique per process, also after a fork.",
    follows="OpenTelemetry service.instance.id",
)
DEPLOYMENT_ENVIRONMENT_NAME = _row(
    "deployment.environment.name",
    "string",
    "resource",
    "Where it runs, such as prod.",
    follows="OpenTelemetry deployment.environment.name (stable)",
)
