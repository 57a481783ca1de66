"""Real processes: a fork inside open blocks, generators that go on in the child, exit codes, and the end of Python."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

BEFORE = """
import json, os, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
import otel_pipeline as op

class ToFile(SpanExporter):
    def export(self, spans):
        with open(sys.argv[1], "a") as file:
            for span in spans:
                print(json.dumps({"pid": os.getpid(), "name": span.name, "id": span.context.span_id,
                    "parent": span.parent and span.parent.span_id, "attributes": dict(span.attributes)}), file=file)
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ToFile()))
trace.set_tracer_provider(provider)

@op.stage
def extract(rows=range(5)):
    for row in rows:
        yield row
"""
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def run(tmp_path: Path, program: str) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    script, spans = tmp_path / "program.py", tmp_path / "spans.jsonl"
    script.write_text(BEFORE + textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(spans)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = spans.read_text().splitlines() if spans.exists() else []
    return done, [json.loads(line) for line in lines]


@FORK
@pytest.mark.parametrize("leaves", ["pass", "raise SystemExit(0)", "sys.exit(5)"])
def test_a_forked_child_that_unwinds_ends_none_of_its_parents_spans(tmp_path: Path, leaves: str) -> None:
    """The child leaves through the parent's blocks; only the parent ends their spans, each once."""
    done, spans = run(
        tmp_path,
        f"""
        child = None
        try:
            with op.pipeline("p"), op.stage("s"):
                child = os.fork()
                if child == 0:
                    with op.stage("of the child"):
                        pass
                    {leaves}
        finally:
            if child == 0:
                os._exit(7)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        print(os.getpid())
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    parent = int(done.stdout)
    assert sorted(span["name"] for span in spans if span["pid"] == parent) == ["run p", "stage s"]
    (of_child,) = [span for span in spans if span["pid"] != parent]
    assert of_child["name"] == "stage of the child"
    assert of_child["parent"] in [span["id"] for span in spans if span["name"] == "stage s"]


@FORK
def test_generators_go_on_in_a_forked_child(tmp_path: Path) -> None:
    """One begun before the fork yields on in the child and is no span there; one not begun is a span of the child."""
    done, spans = run(
        tmp_path,
        """
        with op.pipeline("p"):
            begun, fresh = extract(), extract(range(2))
            next(begun)
            child = os.fork()
            if child == 0:
                assert list(begun) == [1, 2, 3, 4]
                assert list(fresh) == [0, 1]
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            assert list(begun) == [1, 2, 3, 4]
        print(os.getpid())
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    parent = int(done.stdout)
    counts = [(span["pid"] == parent, span["name"], span["attributes"].get("pipeline.records.out")) for span in spans]
    assert counts == [(False, "stage extract", 2), (True, "stage extract", 5), (True, "run p", None)]


EXITS = [
    ("pass", 0, "success"),
    ("sys.exit()", 0, "success"),
    ("sys.exit(0)", 0, "success"),
    ("sys.exit(3)", 3, "failure"),
    ("sys.exit('text')", 1, "failure"),
    ("raise ValueError('bad')", 1, "failure"),
    ("raise TimeoutError", 1, "timeout"),
    ("import signal; signal.raise_signal(signal.SIGINT)", -2, "cancellation"),
]


@pytest.mark.skipif(sys.platform == "win32", reason="signals end a process in another way there")
@pytest.mark.parametrize(("statement", "code", "result"), EXITS)
def test_exit_codes_stay_the_users(tmp_path: Path, statement: str, code: int, result: str) -> None:
    """The status of the process is what it is without us, and so is what it says."""
    body = "def work():\n    {}\n"
    program = "\n{decorator}" + body.format(statement) + "work()\n"
    plain, _ = run(tmp_path, program.format(decorator=""))
    done, spans = run(tmp_path, program.format(decorator='@op.pipeline("p")\n'))
    assert done.returncode == plain.returncode == code
    assert done.stderr.splitlines()[-1:] == plain.stderr.splitlines()[-1:]
    assert [span["attributes"]["pipeline.run.result"] for span in spans] == [result]


def test_a_half_consumed_stage_at_the_end_of_python_is_silent(tmp_path: Path) -> None:
    """What lives in globals, in a cycle, or in an async generator when Python ends prints nothing."""
    done, _ = run(
        tmp_path,
        """
        rows = extract()
        next(rows)
        box = [extract()]
        next(box[0])
        box.append(box)
        unstarted = extract()
        with op.pipeline("p"):
            inside = extract()
            next(inside)
        next(inside)
        """,
    )
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "after its run had ended" not in line] == []


def test_the_api_alone_is_enough(tmp_path: Path) -> None:
    """Importing and using pipelines and stages loads neither SDK nor exporters nor asyncio's event loops."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, otel_pipeline as op\n"
         "with op.pipeline('p'), op.stage('s') as s: s.add(failed=1)\n"
         "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'grpc'))])"],
        capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
