"""What the command's processes are told, and what a Python below the command does with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_pipeline.run.environment import STARTUP, Identity, command_environment, identify
from tests.run.conftest import PYTHON, TIMEOUT, Parent

ABOVE = f"00-{'a' * 32}-{'b' * 16}-01"
IDENTITY = Identity("1" * 32, "2" * 16, "own-run")


def test_a_run_of_its_own() -> None:
    """Without a trace above, the run begins one, and is sampled."""
    first, second = identify({}), identify({})
    assert first.traceparent == f"00-{first.trace_id}-{first.span_id}-01"
    assert first.parent_span_id is None
    assert len({first.trace_id, second.trace_id, first.run_id, second.run_id}) == 4


def test_a_run_below_a_trace() -> None:
    """A TRACEPARENT in the environment is the run span's own parent; its flags are kept."""
    run = identify({"TRACEPARENT": ABOVE[:-2] + "00"})
    assert (run.trace_id, run.parent_span_id, run.flags) == ("a" * 32, "b" * 16, "00")
    assert run.span_id != "b" * 16


@pytest.mark.parametrize(
    "value",
    ["", "nonsense", ABOVE.upper(), ABOVE + "0", "ff" + ABOVE[2:], f"00-{'0' * 32}-{'b' * 16}-01",
     f"00-{'a' * 32}-{'0' * 16}-01"],
)  # fmt: skip
def test_an_invalid_traceparent(value: str) -> None:
    """It is as none, and its tracestate is not handed on."""
    run = identify({"TRACEPARENT": value})
    assert run.parent_span_id is None
    assert "TRACESTATE" not in command_environment({"TRACESTATE": "a=b"}, run)


def test_a_run_inside_a_run() -> None:
    """The run above is the parent; what belongs to it is not handed on."""
    environ = {
        "TRACEPARENT": ABOVE,
        "TRACESTATE": "a=b",
        "OTEL_PIPELINE_PARENT_RUN": "code-run:orders",
        "OTEL_PIPELINE_RUN_ID": "outer-run",
        "OTEL_PIPELINE_HANDOVER": "outer",
    }
    run = identify(environ)
    told = command_environment(environ, run, handover="inner")
    assert run.parent_run_id == "code-run"
    assert identify({"OTEL_PIPELINE_RUN_ID": "outer-run"}).parent_run_id == "outer-run"
    assert (told["OTEL_PIPELINE_RUN_ID"], told["OTEL_PIPELINE_HANDOVER"]) == (run.run_id, "inner")
    assert told["TRACESTATE"] == "a=b"
    assert "OTEL_PIPELINE_PARENT_RUN" not in told
    assert "OTEL_PIPELINE_HANDOVER" not in command_environment(environ, run)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, [str(STARTUP)]),
        ("", [str(STARTUP)]),
        ("/x", [str(STARTUP), "/x"]),
        (f"/x{os.pathsep}{STARTUP}{os.pathsep}/y", [str(STARTUP), "/x", "/y"]),
    ],
)
def test_the_python_path(before: str | None, after: list[str]) -> None:
    """Our folder comes first, once; an empty variable does not become the current folder."""
    environ = {} if before is None else {"PYTHONPATH": before}
    assert command_environment(environ, IDENTITY)["PYTHONPATH"].split(os.pathsep) == after


def test_what_the_user_set_stays() -> None:
    """Another distro, another configurator, any other variable."""
    environ = {"OTEL_PYTHON_DISTRO": "theirs", "OTEL_PYTHON_CONFIGURATOR": "theirs", "HOME": "/h"}
    told = command_environment(environ, IDENTITY, name="orders")
    assert {key: told[key] for key in environ} == environ
    assert told["OTEL_PIPELINE_NAME"] == "orders"
    assert "OTEL_PIPELINE_NAME" not in command_environment(environ, IDENTITY)
    assert command_environment({}, IDENTITY)["OTEL_PYTHON_DISTRO"] == "otel_pipeline"


def python(parent: Parent, text: str, *, path: str = "", executable: str = sys.executable) -> str:
    """What a Python that is started as a command's would be prints; nothing may go to stderr."""
    environ = {**parent.environ(), "PYTHONPATH": path, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}
    told = command_environment({key: value for key, value in environ.items() if value}, IDENTITY)
    ended = subprocess.run(
        [executable, "-c", text],
        capture_output=True,
        text=True,
        env=told,
        cwd=parent.folder,
        timeout=TIMEOUT,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_the_users_sitecustomize_still_runs(parent: Parent) -> None:
    """It is the module of that name, too."""
    parent.script("colour = 'blue'", "sitecustomize.py")
    text = "import sitecustomize; print(sitecustomize.colour)"
    assert python(parent, text, path=str(parent.folder)) == "blue\n"


def test_the_module_path_is_as_before(parent: Parent) -> None:
    """Our folder is not on sys.path, but stays in PYTHONPATH for the processes below."""
    text = "import json, os, sys; print(json.dumps([sys.path, os.environ['PYTHONPATH']]))"
    path, variable = json.loads(python(parent, text))
    assert str(STARTUP) not in path
    assert variable.split(os.pathsep)[0] == str(STARTUP)


def test_a_python_without_us(parent: Parent) -> None:
    """An interpreter that has neither otel_pipeline nor OpenTelemetry starts as ever, without a word."""
    text = "import importlib.util; print(importlib.util.find_spec('otel_pipeline'))"
    assert python(parent, text, executable=str(Path(sys.base_prefix, "bin", "python3"))) == "None\n"


def test_a_python_with_us_is_instrumented(parent: Parent) -> None:
    """The distro is loaded; not in a launcher, which starts the process that matters."""
    text = "import sys; print('otel_pipeline.sdk.setup' in sys.modules)"
    assert python(parent, text) == "True\n"
    launcher = parent.folder / "opentelemetry-instrument"
    launcher.write_text(text)
    told = command_environment(parent.environ(), IDENTITY)
    ended = subprocess.run(
        [sys.executable, str(launcher)], capture_output=True, text=True, env=told, timeout=TIMEOUT, check=True
    )
    assert ended.stdout == "False\n"


def test_the_first_pipeline_takes_the_run(parent: Parent) -> None:
    """One run, not two: its name, result and exception are those that the process told by the handover."""
    script = parent.script(
        "import os\n"
        "from otel_pipeline.model import Run\n"
        "from otel_pipeline.sdk.handover import Handover\n"
        "handover = Handover(os.environ['OTEL_PIPELINE_HANDOVER'])\n"
        "assert handover.claim() and not handover.claim()\n"
        "handover.service({'service_name': 'shop', 'version': '2'})\n"
        "handover.run_started('orders')\n"
        "run = Run('t', 's', os.environ['OTEL_PIPELINE_RUN_ID'], 'orders', 'failure', 1, 2, error_type='KeyError',\n"
        "          error_message='sku')\n"
        "handover.run_ended(run, ('KeyError', 'sku', 'Traceback'), {'day': 'monday'})\n"
        "raise SystemExit(1)\n"
    )
    above = f"00-{'a' * 32}-{'b' * 16}-01"
    ended = parent.run(*PYTHON, script, env=parent.environ(TRACEPARENT=above))
    assert (ended.returncode, ended.stderr) == (1, b"")
    span = parent.span
    assert (span["name"], span["context"]["trace_id"], span["parent_id"]) == (
        "run orders",
        "0x" + "a" * 32,
        "0x" + "b" * 16,
    )
    assert span["status"] == {"status_code": "ERROR", "description": "sku"}
    assert (parent.attributes["day"], parent.attributes["process.exit.code"]) == ("monday", 1)
    assert [event["name"] for event in span["events"]] == ["exception"]
    settings = json.loads(Path(f"{parent.file}.settings").read_text())
    assert settings == {"service_name": "shop", "version": "2", "exit_timeout": 2.0}


def test_a_run_that_was_left_open_is_lost(parent: Parent) -> None:
    """os._exit(0) inside a stage: the parent closes the run, and names the stage."""
    script = parent.script(
        "import os\n"
        "from otel_pipeline.sdk.handover import Handover\n"
        "handover = Handover(os.environ['OTEL_PIPELINE_HANDOVER'])\n"
        "handover.claim(); handover.run_started('orders'); handover.stage_started('1', 'load'); os._exit(0)\n"
    )
    assert parent.run(*PYTHON, script).returncode == 0
    assert parent.attributes["pipeline.run.result"] == "lost"
    assert parent.attributes["pipeline.run.stages.open"] == ["load"]


@pytest.mark.parametrize(
    ("more", "name"),
    [({}, "job"), ({"OTEL_PIPELINE_NAME": "nightly"}, "nightly"), ({"OTEL_SERVICE_NAME": "shop"}, "job")],
)
def test_the_name(parent: Parent, more: dict[str, str], name: str) -> None:
    """A run that nobody names is named by the script; its service too, unless the user named that."""
    parent.run(*PYTHON, parent.script(""), env=parent.environ(**more))
    assert parent.span["name"] == f"run {name}"
    settings = json.loads(Path(f"{parent.file}.settings").read_text())
    assert settings["service_name"] == more.get("OTEL_SERVICE_NAME", name)
