"""Property: random trees of stages, early stops and exceptions keep every promise, by a clock that always ticks."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import context as context_api

import otel_pipeline as op
from otel_pipeline.instrument import registry
from tests.instrument.seen import Clock, Seen, duration, span_id


class Trouble(Exception):
    """Raised by the plan."""


@dataclass
class Node:
    """A stage: what it pulls from or calls, and how it behaves."""

    kind: str  # lazy: a generator; plain: a function; block: a `with` in its parent; held: open across its yields
    takes: int  # how many records it pulls from each child at most
    gives: int  # how many records of its own it yields
    raises: int | None  # at which step
    costs: int
    children: "list[Node]"


def nodes(children: Any) -> Any:
    return st.builds(
        Node,
        kind=st.sampled_from(["lazy", "lazy", "plain", "block", "held"]),
        takes=st.integers(0, 4),
        gives=st.integers(0, 4),
        raises=st.none() | st.none() | st.integers(0, 6),
        costs=st.integers(0, 50),
        children=children,
    )


TREES = st.recursive(nodes(st.just([])), lambda inner: nodes(st.lists(inner, max_size=3)), max_leaves=8)


class Plan:
    """Runs a tree. Stages are named by their place, and who called whom is written down for the check."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.parents: dict[str, str] = {}
        self.pulled: Counter[tuple[str, str]] = Counter()
        self.alive: list[Any] = []

    def iterate(self, node: Node, name: str, parent: str) -> Iterator[int]:
        """What the node gives to its parent's code, executing there."""
        self.parents[name] = parent
        if node.kind in ("lazy", "held"):
            rows = op.stage(name)(self.body)(node, name)
            self.alive.append(rows)
            return rows
        if node.kind == "plain":
            return iter(op.stage(name)(lambda: list(self.body(node, name)))())
        with op.stage(name):
            return iter(list(self.body(node, name)))

    def body(self, node: Node, name: str) -> Iterator[int]:
        """The node's code: pulls from its children, then gives records of its own."""
        step = 0
        inside = f"{name}.held" if node.kind == "held" else name
        if node.kind == "held":
            self.parents[inside] = name
        with op.stage(inside) if node.kind == "held" else contextlib.nullcontext():
            for index, child in enumerate(node.children):
                rows = self.iterate(child, f"{name}.{index}", inside)
                for _ in range(node.takes):
                    if next(rows, None) is None:
                        break
                    if child.kind in ("lazy", "held"):
                        self.pulled[f"{name}.{index}", inside] += 1
                    step = self.work(node, step)
                    yield 1
            for _ in range(node.gives):
                step = self.work(node, step)
                yield 1

    def work(self, node: Node, step: int) -> int:
        """One step: costs time, may raise."""
        self.clock.spend(node.costs)
        if step == node.raises:
            raise Trouble
        return step + 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, drop=st.booleans(), caught=st.booleans())
def test_any_tree_keeps_every_promise(seen: Seen, clock: Clock, tree: Node, drop: bool, caught: bool) -> None:
    """Spans end once, parents are right, out is in, Σ self = wall to the nanosecond, and no context leaks."""
    clock.tick = 1
    before, ended = context_api.get_current(), len(seen.spans)
    plan = Plan(clock)
    with contextlib.suppress(Trouble), op.pipeline("p") as run:
        rows = plan.iterate(tree, "0", "run")
        if drop:
            plan.alive.clear()
        with contextlib.suppress(Trouble) if caught else contextlib.nullcontext():
            for _ in range(tree.takes):
                if next(rows, None) is None:
                    break
                clock.spend(3)
        del rows
    spans = seen.spans[ended:]
    check_ends(spans, run)
    assert context_api.get_current() is before
    assert sum(map(self_time, spans)) == duration(spans[-1])
    assert min(map(self_time, spans)) >= 0
    check_parents(spans, plan)
    check_counts(spans, plan)


def check_ends(spans: Any, run: op.Run) -> None:
    ids = [span_id(span) for span in spans]
    assert len(set(ids)) == len(ids)
    assert spans[-1].name == "run p"
    assert not run.stages
    assert not registry.open_runs()


def check_parents(spans: Any, plan: Plan) -> None:
    names = {span_id(span): span.name.split(" ", 1)[1] for span in spans}
    names[span_id(spans[-1])] = "run"
    for span in spans[:-1]:
        name = names[span_id(span)]
        assert names[span.parent.span_id] == plan.parents[name]


def check_counts(spans: Any, plan: Plan) -> None:
    by_name = {span.name.split(" ", 1)[1]: span.attributes for span in spans[:-1]}
    for (upstream, downstream), number in plan.pulled.items():
        assert by_name[upstream]["pipeline.records.out"] >= number
        assert upstream in by_name[downstream]["pipeline.stage.upstream"]
    for name, attributes in by_name.items():
        pulled = sum(number for (_, downstream), number in plan.pulled.items() if downstream == name)
        assert attributes.get("pipeline.records.in", 0) == pulled


def self_time(span: Any) -> int:
    attributes = span.attributes
    return round((attributes.get("pipeline.stage.self_time", attributes.get("pipeline.run.self_time"))) * 1e9)
