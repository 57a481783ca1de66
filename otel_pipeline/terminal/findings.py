"""What the stages of a run reported, grouped for people: errors by type, datasets by name, checks, time by name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_pipeline.terminal.table import own_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otel_pipeline.model import Check, Run, Stage


@dataclass(frozen=True)
class ErrorGroup:
    """Failed records of one exception type in one stage; ``exact`` when no failed record can be of another type."""

    stage: str
    type: str
    message: str
    count: int
    exact: bool


@dataclass(frozen=True)
class Share:
    """Self time of all stages of one name, or of one operation in them; ``stages``: how many there were."""

    name: str
    seconds: float
    stages: int


def error_groups(stages: Iterable[Stage]) -> list[ErrorGroup]:
    """Return the failed records by stage and exception type, most first, each with its first message.

    The samples of a stage are the first few of each type, so their number is the least that there were; the stage's
    own count of failed records is exact, and where all its samples are of one type it is that type's.
    """
    groups: list[ErrorGroup] = []
    for stage in stages:
        samples: dict[str, list[str]] = defaultdict(list)
        for error in stage.record_errors:
            samples[error.type].append(error.message)
        failed = stage.records.failed
        for type_, messages in samples.items():
            exact = failed is not None and (len(samples) == 1 or failed == len(stage.record_errors))
            number = failed if failed is not None and len(samples) == 1 else len(messages)
            groups.append(ErrorGroup(stage.name, type_, messages[0], number, exact))
    return sorted(_merged(groups), key=lambda group: -group.count)


def _merged(groups: list[ErrorGroup]) -> list[ErrorGroup]:
    """One group per stage name and type: a stage that ran a thousand times is one line."""
    by_key: dict[tuple[str, str], list[ErrorGroup]] = defaultdict(list)
    for group in groups:
        by_key[group.stage, group.type].append(group)
    return [
        ErrorGroup(*key, same[0].message, sum(g.count for g in same), all(g.exact for g in same))
        for key, same in by_key.items()
    ]


def failed_records(stages: Iterable[Stage]) -> int:
    """Return how many records failed, as far as stages said."""
    return sum(stage.records.failed or 0 for stage in stages)


def raised(run: Run, stages: Iterable[Stage]) -> list[Stage]:
    """Return the stages in which an exception arose, but for the one that ended the run."""
    return [
        stage
        for stage in stages
        if stage.error_type is not None
        and stage.error_stage in {None, stage.name}
        and (stage.error_type, stage.error_message) != (run.error_type, run.error_message)
    ]


def datasets(stages: Iterable[Stage]) -> list[tuple[str, str, int | None]]:
    """Return operation, name and records of each dataset, those read first; records are unknown when nobody counted."""
    sums: dict[tuple[str, str], int | None] = {}
    for stage in stages:
        for dataset in stage.datasets:
            key = (dataset.operation, dataset.name)
            before = sums.get(key)
            sums[key] = before if dataset.records is None else (before or 0) + dataset.records
    rows = [(operation, name, records) for (operation, name), records in sums.items()]
    return sorted(rows, key=lambda row: row[0] not in {"extract", "read"})


def checks(stages: Iterable[Stage]) -> tuple[list[Check], list[Check]]:
    """Return the checks that failed (for at least one record) and those that passed."""
    every = [check for stage in stages for check in stage.checks]
    return [check for check in every if check.failed], [check for check in every if not check.failed]


def shares(stages: Sequence[Stage]) -> list[Share]:
    """Return the self time by stage name and operation, most first."""
    seconds: dict[str, float] = defaultdict(float)
    number: dict[str, int] = defaultdict(int)
    for stage in stages:
        seconds[stage.name] += own_time(stage)
        number[stage.name] += 1
        for operation in stage.operations:
            name = f"{stage.name}: {operation.name}"
            seconds[name] += operation.self_time
            number[name] += operation.count
    return sorted((Share(name, time, number[name]) for name, time in seconds.items()), key=lambda share: -share.seconds)
