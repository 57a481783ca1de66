"""Pipelines as they are declared and run, for the tests of what is expected of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from otel_pipeline.declaration import Expect, Slo, text_of
from otel_pipeline.kpi.values import RunSeen
from otel_pipeline.model import Records, Run, Stage

SECOND = 10**9
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND


def at(text: str) -> int:
    """A time in UTC, as nanoseconds since the epoch."""
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * SECOND


def declared(schedule: str | None = None, slo: Slo | None = None, **expect: str) -> str | None:
    """What runs carry."""
    return text_of(schedule, Expect(**expect), slo)


class Runs:
    """Makes runs of one pipeline, each with ids of its own, all of which carry the same."""

    def __init__(self, text: str | None = None, pipeline: str = "orders") -> None:
        self.declared = text
        self.pipeline = pipeline
        self._number = 0

    def run(self, started: int, took: float = 60.0, result: str = "success", **more: object) -> Run:
        """A run that started then and took so many seconds."""
        self._number += 1
        made = Run(
            f"{self._number:032x}", f"{self._number:016x}", f"r{self._number}", self.pipeline, result, started,
            started + round(took * SECOND), declared=self.declared,
        )  # fmt: skip
        return replace(made, **more)  # type: ignore[arg-type]  # fields by name, in tests


def begun(run: Run) -> RunSeen:
    """The sign of life with which it started."""
    return RunSeen(
        run.trace_id, run.span_id, run.run_id, run.pipeline, run.started, starts=True, interval=15.0,
        declared=run.declared, attempt=run.attempt, backfill=run.backfill,
    )  # fmt: skip


def stage_of(run: Run, records: int, failed: int | None = None) -> Stage:
    """Its one stage, with what came out of it."""
    return Stage(
        run.trace_id, f"{int(run.span_id, 16) + 2**32:016x}", "load", "success", run.started, run.ended, 1.0,
        run_id=run.run_id, pipeline=run.pipeline, records=Records(out=records, failed=failed),
    )  # fmt: skip
