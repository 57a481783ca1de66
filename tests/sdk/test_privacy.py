"""No secret of a hostile table leaves a process: not to disk, not to a receiver, not to the summary or the parent."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.known_secrets import SECRET, TEXTS, VALUES

if TYPE_CHECKING:
    from tests.sdk.conftest import Lab

PROGRAM = """
    import json, logging, os, pathlib
    import otel_pipeline as op
    from opentelemetry import metrics, trace

    texts, values = json.loads(pathlib.Path("hostile.json").read_text())
    secret = pathlib.Path("secret.txt").read_text()
    op.setup("orders", record_values=True)
    tracer, counter = trace.get_tracer("theirs"), metrics.get_meter("theirs").create_counter("calls")
    log = logging.getLogger("orders")
    logging.lastResort = None
    folders = [pathlib.Path("state"), pathlib.Path(os.environ.get("OTEL_PIPELINE_HANDOVER", "state"))]

    def on_disk():
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return len(files), [path.name for path in files if secret.encode() in path.read_bytes()]

    @op.stage
    def load(text):
        raise ValueError(text)

    with op.pipeline("orders", attributes={"api_key": secret, "url.full": f"https://etl:{secret}@example.org/"}):
        for name, value in values:
            given = value if isinstance(value, (str, list)) else 1
            with tracer.start_as_current_span("call", attributes={name: given}):
                log.warning("settings %s", {name: value})
        for text in texts:
            try:
                load(text)
            except ValueError:
                log.exception("failed: %s", text, extra={"password": secret, "statement": text})
            counter.add(1, {"text": text, "auth_token": secret})
            with tracer.start_as_current_span(f"GET {text}") as span:
                span.add_event("called", {"url.full": text, "password": secret})
                span.record_exception(ValueError(text))
                span.set_status(trace.Status(trace.StatusCode.ERROR, text))
        for text in texts[:15]:
            with op.stage("check", attributes={"text": text}) as stage:
                stage.fail(text, record={"password": secret, "text": text})
                stage.dataset(text, "write", records=1)
                stage.check(text, dataset=text, passed=1)
        print(*on_disk())
    try:
        with op.pipeline("failing"):
            load(texts[0])
    except ValueError:
        pass
    print(*on_disk())
"""


def prepared(lab: Lab) -> dict[str, str]:
    """The table as files beside the program; the environment that it is run with."""
    values = [(name, value.decode() if isinstance(value, bytes) else value) for name, value in VALUES]
    (lab.folder / "hostile.json").write_text(json.dumps((TEXTS, values)))
    (lab.folder / "secret.txt").write_text(SECRET)
    attributes = f"db.password={SECRET},url=postgresql://etl:{SECRET}@db/shop"
    return {"OTEL_RESOURCE_ATTRIBUTES": attributes, "OTEL_PIPELINE_SUMMARY": "always"}


@pytest.mark.parametrize("sends", [True, False], ids=["sends", "keeps"])
@pytest.mark.parametrize("parent", [False, True], ids=["alone", "under otel-pipeline run"])
def test_no_secret_leaves_the_process(lab: Lab, sends: bool, parent: bool) -> None:
    """Neither while it runs nor later: in queues, open runs, the handover, requests, summaries."""
    environ = prepared(lab)
    path = lab.write(PROGRAM)
    words = ["-c", "import sys; from otel_pipeline.cli import main; sys.exit(main())", "run", "--"] if parent else []
    outcome = lab.python(*words, *([sys.executable] if parent else []), str(path), sends=sends, env=environ)
    assert outcome.code == 0, outcome.err
    for line in outcome.out.splitlines():
        assert re.fullmatch(r"\d+ \[\]", line), line
        assert not line.startswith("0 ")
    assert len(outcome.out.splitlines()) == 2
    assert "orders" in outcome.err
    assert SECRET not in outcome.err
    if sends:
        assert {signal for signal, _ in lab.receiver.bodies} == {"traces", "metrics", "logs"}
        found = [signal for signal, body in lab.receiver.bodies if SECRET.encode() in body]
        assert found == []
        assert any(b"***" in body for _, body in lab.receiver.bodies)
    kept = [path for path in (lab.folder / "state").rglob("*") if path.is_file()]
    assert [path.name for path in kept if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(("signal", "told"), [("TRACES", '"name": "stage load"'), ("LOGS", '"body": "failed: ')])
def test_other_exporters_get_no_secret_either(lab: Lab, signal: str, told: str) -> None:
    """Spans and log records that go to an exporter of OpenTelemetry's."""
    outcome = lab.run(PROGRAM, sends=False, env=prepared(lab) | {f"OTEL_{signal}_EXPORTER": "console"})
    assert outcome.code == 0, outcome.err
    assert told in outcome.out
    assert SECRET not in outcome.out


def test_values_of_failed_records_stay_unless_asked_for(lab: Lab) -> None:
    """By default type and keys; with the setting the beginnings of the values, secrets masked by their keys."""
    program = """
        import otel_pipeline as op
        op.setup("orders")
        with op.pipeline("orders"), op.stage("load") as stage:
            stage.fail(ValueError("x"), record={"customer": "Ada", "n": 12, "password": "swordfish", "long": "y" * 500})
            stage.fail(KeyError("x"), record=("Grace", 13))
            stage.fail(TypeError("x"), record="Hedy")
        """
    lab.quiet(program)
    kept = [event for name, event in lab.receiver.one("stage load").events if name == "pipeline.record.error"]
    assert [event.get("pipeline.record.values") for event in kept] == [None, None, None]
    assert kept[0]["pipeline.record.keys"] == ["customer", "n", "password", "long"]
    assert not any(word.encode() in body for _, body in lab.receiver.bodies for word in ("Ada", "Grace", "Hedy"))
    lab.receiver.spans.clear()
    lab.quiet(program, env={"OTEL_PIPELINE_RECORD_VALUES": "true"})
    asked = [event for name, event in lab.receiver.one("stage load").events if name == "pipeline.record.error"]
    assert [event["pipeline.record.values"] for event in asked] == [
        ["Ada", "12", "***", "y" * 100],
        ["Grace", "13"],
        ["Hedy"],
    ]


@pytest.mark.parametrize(
    "record", ["{'a': 1}.items()", "Broken()", "type('Rows', (), {'keys': lambda self: ['a']})()", "[Broken()]", "b'x'"]
)
def test_records_that_cannot_be_read_cost_nothing(lab: Lab, record: str) -> None:
    """Whatever a record does when its values are looked at, the sample is there and the program goes on."""
    lab.quiet(
        f"""
        import otel_pipeline as op
        class Broken:
            def __str__(self): raise RuntimeError
            def keys(self): raise RuntimeError
        op.setup("orders", record_values=True)
        with op.pipeline("orders"), op.stage("load") as stage:
            stage.fail(ValueError("x"), record={record})
        """
    )
    assert [name for name, _ in lab.receiver.one("stage load").events] == ["pipeline.record.error"]
