"""What the code under test did, in memory: for tests of pipelines, by ``otel_pipeline.testing`` and our pytest plugin.

::

    code under test ─► spans ─► KpiSpanProcessor ─► Run, Stage ─► Pipelines (runs, stages, records to assert on)

Nothing is stored or sent: while ``recorded()`` lasts, ``setup()`` does nothing, also in processes that are started.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_pipeline import config
from otel_pipeline.instrument import measuring, registry
from otel_pipeline.instrument.context import current
from otel_pipeline.model import Run, Stage, records_of
from otel_pipeline.sdk import children, identity, patching, processes
from otel_pipeline.sdk.processor import KpiSpanProcessor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otel_pipeline.model import Check, Dataset, RecordError, Records
    from otel_pipeline.sdk.metrics import RunMetrics

_Value = TypeVar("_Value")


@contextlib.contextmanager
def recorded(*, strict: bool = True) -> Iterator[Pipelines]:
    """Record what pipelines do, in memory and apart from whatever else this process records.

    ``strict``: a call that is given something that it cannot use raises UsageError, as the setting of that name says.

    >>> import otel_pipeline as op
    >>> with recorded() as pipelines:
    ...     with op.pipeline("orders"), op.stage("load") as stage:
    ...         stage.add(records_out=2)
    >>> pipelines.run("orders").stage("load").records.out
    2
    """
    ended = _Ended()
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource({}), shutdown_on_exit=False)
    identity.install(provider)
    provider.add_span_processor(KpiSpanProcessor(cast("RunMetrics", ended)))
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], resource=Resource({}), shutdown_on_exit=False)
    with _off(), registry.aside(provider), measuring.aside(meters), _in_a_context_of_its_own(), _into_threads():
        registry.judge(strict=strict, count=measuring.rejected)
        try:
            yield Pipelines(ended, reader)
        finally:
            # What is still open, such as a generator that is held somewhere, would else end in some later test.
            registry.end_abandoned()
            for run in registry.open_runs():
                run.cut_off()


class Pipelines:
    """What was recorded, in the order of its end. What is still open is not among it."""

    def __init__(self, ended: _Ended, reader: InMemoryMetricReader) -> None:
        self._ended = ended
        self._reader = reader

    @property
    def runs(self) -> tuple[RecordedRun, ...]:
        """The runs that have ended, each with its stages."""
        stages = self.stages
        return tuple(
            RecordedRun(**vars(run), stages=tuple(stage for stage in stages if _identity(stage) == _identity(run)))
            for run in tuple(self._ended.runs)
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that have ended, also those that belong to no run."""
        registry.end_abandoned()
        return tuple(self._ended.stages)

    def run(self, name: str | None = None) -> RecordedRun:
        """The only run, of that pipeline where one is named. AssertionError with what there was, unless it is one."""
        __tracebackhide__ = True
        return self._one("run", name, [run for run in self.runs if name in (None, run.pipeline)])

    def stage(self, name: str) -> Stage:
        """The only stage of that name, in whichever run or in none. AssertionError with what there was."""
        __tracebackhide__ = True
        return self._one("stage", name, [stage for stage in self.stages if stage.name == name])

    def value(self, metric: str, **labels: str) -> float:
        """What a counter or gauge stands at, or how many values a histogram has, added up over the series with labels.

        Names of labels are written with underscores for dots. AssertionError with what there was, where there is none.

        >>> import otel_pipeline as op
        >>> with recorded() as pipelines:
        ...     op.counter("orders.paid").add(3, shop="a")
        ...     pipelines.value("orders.paid", shop="a")
        3.0
        """
        __tracebackhide__ = True
        measuring.hand_over()
        labels = {key.replace(".", "_"): text for key, text in labels.items()}
        there = {(name, tuple(sorted(told.items()))): value for name, told, value in _points(self._reader)}
        found = [
            value for (name, told), value in there.items()
            if name == metric and labels.items() <= {key.replace(".", "_"): str(text) for key, text in told}.items()
        ]  # fmt: skip
        if not found:
            lines = [f"{name}{dict(told)} = {value:g}" for (name, told), value in sorted(there.items())]
            raise AssertionError(f"no {metric} with {labels}; there was:\n" + ("\n".join(lines) or "nothing"))
        return sum(found)

    def told(self) -> str:
        """What there was, in lines for people."""
        runs = self.runs
        within = {id(stage) for run in runs for stage in run.stages}
        beside = [stage for stage in self.stages if id(stage) not in within]
        open_ = [f"still open: run {run.name}{_open_stages(run.stages.values())}" for run in registry.open_runs()]
        lines = [line for run in runs for line in run.lines()] + [_line(stage, "") for stage in beside] + open_
        return "\n".join(lines) or "nothing was recorded"

    def _one(self, what: str, name: str | None, found: list[_Value]) -> _Value:
        __tracebackhide__ = True
        return _only(f"{what} {name!r}" if name is not None else what, found, self.told())

    def __repr__(self) -> str:
        return f"<Pipelines: {', '.join(run.pipeline for run in self.runs) or 'no run'}>"


@dataclass(frozen=True, repr=False)
class RecordedRun(Run):
    """A run (``model.Run``) with its stages."""

    stages: tuple[Stage, ...] = ()

    def stage(self, name: str) -> Stage:
        """The only stage of that name. AssertionError with what there was, unless it is one."""
        __tracebackhide__ = True
        return self._one(f"stage {name!r}", [stage for stage in self.stages if stage.name == name])

    def dataset(self, name: str, operation: str | None = None) -> Dataset:
        """The only dataset of that name (and operation). AssertionError with what there was, unless it is one."""
        __tracebackhide__ = True
        found = [each for each in self.datasets if each.name == name and operation in (None, each.operation)]
        return self._one(f"dataset {name!r}" + (f" ({operation})" if operation else ""), found)

    def check(self, name: str, dataset: str | None = None) -> Check:
        """The only check of that name (and dataset). AssertionError with what there was, unless it is one."""
        __tracebackhide__ = True
        found = [each for each in self.checks if each.name == name and dataset in (None, each.dataset)]
        return self._one(f"check {name!r}" + (f" of {dataset!r}" if dataset else ""), found)

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """Those of all stages."""
        return tuple(each for stage in self.stages for each in stage.datasets)

    @property
    def checks(self) -> tuple[Check, ...]:
        """Those of all stages."""
        return tuple(each for stage in self.stages for each in stage.checks)

    @property
    def record_errors(self) -> tuple[RecordError, ...]:
        """The samples of failed records of all stages."""
        return tuple(each for stage in self.stages for each in stage.record_errors)

    @property
    def records(self) -> int | None:
        """The run's records: those that it wrote to datasets, else what came out of its last stage."""
        return records_of(self.stages)

    def lines(self) -> list[str]:
        """The run and what it told, for people."""
        where = f" in stage {self.error_stage}" if self.error_stage else ""
        error = f", {self.error_type}: {self.error_message}{where}" if self.error_type else ""
        lines = [f"run {self.pipeline}: {self.result}{error}"]
        for stage in self.stages:
            lines.append(_line(stage, "  "))
            lines += [f"    dataset {each.name}: {_known(each, 'name')}" for each in stage.datasets]
            lines += [f"    check {each.name}: {_known(each, 'name')}" for each in stage.checks]
        lines += [f"  stage {name}: was called and never pulled from" for name in self.not_started]
        return lines

    def _one(self, what: str, found: list[_Value]) -> _Value:
        __tracebackhide__ = True
        return _only(what, found, "\n".join(self.lines()))

    def __repr__(self) -> str:
        return f"<{self.lines()[0]}; stages {', '.join(stage.name for stage in self.stages) or 'none'}>"


class _Ended:
    """Where ``KpiSpanProcessor`` counts what has ended: in lists."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.stages: list[Stage] = []

    def count(self, ended: Run | Stage) -> None:
        if isinstance(ended, Run):
            self.runs.append(ended)
        else:
            self.stages.append(ended)


def _points(reader: InMemoryMetricReader) -> Iterator[tuple[str, dict[str, Any], float]]:
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = point.value if isinstance(point, NumberDataPoint) else point.count
                    yield metric.name, dict(point.attributes or {}), float(value)


def _identity(value: Run | Stage) -> tuple[str, str | None]:
    # Attempts at one run share its id.
    return value.trace_id, value.run_id


def _only(what: str, found: list[_Value], told: str) -> _Value:
    __tracebackhide__ = True  # pytest shows the line of the test instead
    if len(found) == 1:
        return found[0]
    raise AssertionError(f"want one {what}, got {len(found)}; there was:\n{told}")


def _line(stage: Stage, indent: str) -> str:
    error = f", {stage.error_type}: {stage.error_message}" if stage.error_type else ""
    return f"{indent}stage {stage.name}: {stage.result}{error}; records {_known(stage.records) or 'unknown'}"


def _known(value: Records | Dataset | Check, *left_out: str) -> str:
    told = {key.rstrip("_"): number for key, number in vars(value).items() if key not in left_out}
    return ", ".join(f"{key} {number}" for key, number in told.items() if number is not None)


def _open_stages(stages: Iterable[object]) -> str:
    names = [str(getattr(stage, "name", "")) for stage in stages]
    return f", stages {', '.join(names)}" if names else ""


# --- isolation ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _off() -> Iterator[None]:
    """``setup()`` does nothing."""
    before = config.in_tests()
    config.set_in_tests("off")
    try:
        yield
    finally:
        config.set_in_tests(before)


@contextlib.contextmanager
def _in_a_context_of_its_own() -> Iterator[None]:
    """Below no run and no span, and nothing that is left open stays current."""
    before = current.get()
    current.set(Context())
    try:
        yield
    finally:
        current.set(before)


@contextlib.contextmanager
def _into_threads() -> Iterator[None]:
    """The context goes along into threads, as it does after ``setup()``."""
    if patching.active():
        yield
        return
    processes.follow(children.Passport, children.ends, children.patience)
    try:
        yield
    finally:
        patching.undo()
