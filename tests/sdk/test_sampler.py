"""Run and stage spans are recorded whatever is sampled; others are sampled as if ours were not there, and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sdk.conftest import Lab

# Others' spans: below a run, below a stage, below one of their own, outside everything.
PROGRAM = """
import otel_pipeline as op
from opentelemetry import trace
early = trace.get_tracer("early")
op.setup(script_run=False)
def other(name):
    with early.start_as_current_span(name):
        with early.start_as_current_span(name + " inner"): pass
for _ in range(3):
    with op.pipeline("orders"):
        other("in run")
        with op.stage("load"): other("in stage")
    other("outside")
"""
OURS = {"run orders": 3, "stage load": 3}
THEIRS = {f"{name}{inner}": 3 for name in ("in run", "in stage", "outside") for inner in ("", " inner")}


def counted(lab: Lab, text: str, **env: str) -> dict[str, int]:
    """How many spans of each name are sent."""
    receiver = lab.quiet(text, env=env)
    return {name: len(receiver.named(name)) for name in sorted({span.name for span in receiver.spans})}


@pytest.mark.parametrize("parent", ["", "parentbased_"])
def test_a_sampler_that_is_on_keeps_all(lab: Lab, parent: str) -> None:
    """As by default."""
    assert counted(lab, PROGRAM, OTEL_TRACES_SAMPLER=f"{parent}always_on") == OURS | THEIRS


@pytest.mark.parametrize(
    "sampler", ["always_off", "traceidratio", "parentbased_always_off", "parentbased_traceidratio"]
)
def test_a_sampler_that_is_off_keeps_ours_alone(lab: Lab, sampler: str) -> None:
    """A parent-based one does not take our spans for the sampled parents of theirs."""
    assert counted(lab, PROGRAM, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0.0") == OURS
    assert lab.receiver.total("pipeline.run.ended") == 3


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off", "parentbased_traceidratio"])
def test_the_same_holds_below_the_run_of_a_script(lab: Lab, sampler: str) -> None:
    """Whose span is made at its end only."""
    text = PROGRAM.split("op.setup", maxsplit=1)[0] + "with early.start_as_current_span('theirs'): pass\n"
    env = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0.0"}
    lab.quiet(text, launched=True, env=env)
    lab.quiet(text.replace("early =", "op.setup()\nearly ="), env=env)
    assert [span.name for span in lab.receiver.spans] == ["run etl", "run etl"]


def test_a_ratio_decides_for_a_whole_trace(lab: Lab) -> None:
    """Of some runs all of their spans, of the others none."""
    text = PROGRAM.replace("range(3)", "range(60)").replace('other("outside")', "pass")
    receiver = lab.quiet(
        text, env={"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    )
    assert len(receiver.named("run orders")) == len(receiver.named("stage load")) == 60
    theirs = {name: {span.trace for span in receiver.named(name)} for name in THEIRS if "outside" not in name}
    (traces,) = {frozenset(found) for found in theirs.values()}
    assert 0 < len(traces) < 60


def test_a_span_of_theirs_around_a_run_decides_as_ever(lab: Lab) -> None:
    """Below a span that was not sampled a parent-based sampler samples none, through our spans as well."""
    text = (
        PROGRAM
        + """
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
def around(flags):
    with use_span(NonRecordingSpan(SpanContext(1, 2, True, TraceFlags(flags)))):
        with op.pipeline("around"), op.stage("load"): other(f"around {flags}")
around(0); around(1)
"""
    )
    found = counted(lab, text, OTEL_TRACES_SAMPLER="parentbased_always_on")
    assert found["run around"] == 2
    assert "around 0" not in found
    assert found["around 1"] == found["around 1 inner"] == 1


def test_spans_below_a_stage_are_bounded_and_the_rest_counted(lab: Lab) -> None:
    """The first of them are kept, also where they are nested; each stage has its own bound."""
    receiver = lab.quiet(
        """
        import otel_pipeline as op
        from opentelemetry import trace
        op.setup(stage_span_limit=10)
        tracer = trace.get_tracer("theirs")
        with op.pipeline("orders"):
            for name, count in (("many", 25), ("few", 3), ("none", 0)):
                with op.stage(name):
                    for _ in range(count):
                        with tracer.start_as_current_span(f"of {name}"):
                            with tracer.start_as_current_span(f"in {name}"): pass
            for _ in range(12):
                with tracer.start_as_current_span("of run"): pass
        """
    )
    assert (len(receiver.named("of many")), len(receiver.named("in many"))) == (5, 5)
    assert receiver.one("stage many").attributes["pipeline.stage.spans.dropped"] == 40
    assert (len(receiver.named("of few")), len(receiver.named("in few"))) == (3, 3)
    for name in ("few", "none"):
        assert "pipeline.stage.spans.dropped" not in receiver.one(f"stage {name}").attributes
    assert len(receiver.named("of run")) == 12


def test_the_bound_is_a_thousand(lab: Lab) -> None:
    """By default; a stage below the stage has its own."""
    receiver = lab.quiet(
        """
        import otel_pipeline as op
        from opentelemetry import trace
        op.setup()
        tracer = trace.get_tracer("theirs")
        with op.stage("outer"):
            for _ in range(1005): tracer.start_span("of outer").end()
            with op.stage("inner"): tracer.start_span("of inner").end()
        """
    )
    assert len(receiver.named("of outer")) == 1000
    assert receiver.one("stage outer").attributes["pipeline.stage.spans.dropped"] == 5
    assert len(receiver.named("of inner")) == 1


def test_what_a_sampler_leaves_out_is_not_counted_as_dropped(lab: Lab) -> None:
    """The count says how many the bound has cost, not how many the user did not want."""
    receiver = lab.quiet(
        """
        import otel_pipeline as op
        from opentelemetry import trace
        op.setup(stage_span_limit=2)
        with op.stage("load"):
            for _ in range(5): trace.get_tracer("theirs").start_span("of load").end()
        """,
        env={"OTEL_TRACES_SAMPLER": "always_off"},
    )
    assert "pipeline.stage.spans.dropped" not in receiver.one("stage load").attributes


def test_a_provider_of_the_programs_keeps_its_sampler_for_its_own_spans(lab: Lab) -> None:
    """And for tracers that it has handed out before ``setup()``; ours are recorded all the same."""
    outcome = lab.run(
        """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        early, ours_early = trace.get_tracer("early"), trace.get_tracer("otel_pipeline", "0")
        import otel_pipeline as op
        with op.stage("before"): pass
        op.setup(script_run=False)
        with op.pipeline("orders"), op.stage("load"):
            for tracer in (early, trace.get_tracer("late")):
                with tracer.start_as_current_span("theirs"): pass
        print([span.name for span in exporter.get_finished_spans()])
        """
    )
    assert outcome == (0, "['stage load', 'run orders']\n", "")
