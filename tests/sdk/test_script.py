"""The run of a whole script: which programs have one, how it ends, and who takes it over."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sdk.conftest import Lab

EXAMPLE = Path(__file__).parents[2] / "examples" / "stdlib_index_plain.py"
SETUP = "import otel_pipeline as op\nop.setup()\n"


def test_an_unmodified_script_is_one_run_with_its_database_spans_beneath(lab: Lab) -> None:
    """The launcher alone gives one run span, named from the script, the database's spans below it, and no stages."""
    folder = {"TMPDIR": str(lab.folder)}
    plain = lab.python(str(EXAMPLE), "--limit", "50", sends=False, env=folder)
    assert lab.python(str(EXAMPLE), "--limit", "50", launched=True, env=folder) == plain
    receiver = lab.receiver
    run = receiver.one("run stdlib_index_plain")
    others = [span for span in receiver.spans if span is not run]
    assert len(others) > 5
    assert {span.parent for span in others} == {run.id}
    assert {span.trace for span in others} == {run.trace}
    assert {span.scope for span in others} == {"opentelemetry.instrumentation.sqlite3"}
    assert run.attributes["pipeline.run.result"] == "success"
    assert run.resource["service.name"] == "stdlib_index_plain"


ENDS = {
    "the end": ("print('done')", 0, "success", None),
    "an exception": ("raise ValueError('bad')", 1, "failure", "ValueError"),
    "an exception in a function": ("def f(): 1 / 0\nf()", 1, "failure", "ZeroDivisionError"),
    "sys.exit()": ("import sys; sys.exit()", 0, "success", None),
    "sys.exit(0)": ("import sys; sys.exit(0)", 0, "success", None),
    "sys.exit(3)": ("import sys; sys.exit(3)", 3, "failure", "SystemExit"),
    "sys.exit with a message": ("import sys; sys.exit('no input')", 1, "failure", "SystemExit"),
    "sys.exit in a function": ("import sys\ndef main(): sys.exit(3)\nmain()", 3, "failure", "SystemExit"),
    "sys.exit through finally": ("import sys\ntry: sys.exit(3)\nfinally: print()", 3, "failure", "SystemExit"),
    "sys.exit through with": (
        "import sys, contextlib\nwith contextlib.ExitStack(): sys.exit(3)", 3, "failure", "SystemExit",
    ),
    "sys.exit caught and raised again": (
        "import sys\ntry: sys.exit(3)\nexcept SystemExit:\n  print()\n  raise", 3, "failure", "SystemExit",
    ),
    "sys.exit caught by the module": ("import sys\ntry: sys.exit(3)\nexcept SystemExit: pass", 0, "success", None),
    "sys.exit caught, and more follows": (
        "import sys\ntry: sys.exit(3)\nexcept SystemExit: pass\nprint('on')", 0, "success", None,
    ),
    "sys.exit caught by a function": (
        "import sys\ndef f():\n  try: sys.exit(3)\n  except SystemExit: pass\nf()\nprint('on')", 0, "success", None,
    ),
    "sys.exit caught, then another": (
        "import sys\ntry: sys.exit(3)\nexcept SystemExit: pass\nsys.exit(0)", 0, "success", None,
    ),
    "sys.exit in a thread": (
        "import sys, threading\nt = threading.Thread(target=sys.exit, args=(3,))\nt.start(); t.join()",
        0, "success", None,
    ),
    "an exception caught before": ("try: 1 / 0\nexcept ZeroDivisionError: pass", 0, "success", None),
    "an interrupt": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
        -signal.SIGINT, "cancellation", "KeyboardInterrupt",
    ),
}  # fmt: skip


@pytest.mark.parametrize("launched", [False, True], ids=["setup", "launcher"])
@pytest.mark.parametrize("end", ENDS)
def test_how_the_script_ends_is_the_result_of_its_run(lab: Lab, end: str, launched: bool) -> None:
    """The exit status stays the program's, and the run's result and error type follow from what ended it."""
    text, code, result, error = ENDS[end]
    plain = lab.run(text, sends=False)
    outcome = lab.run(text if launched else SETUP + text, launched=launched)
    assert outcome.code == plain.code == code
    assert outcome.out == plain.out
    run = lab.receiver.one("run etl")
    assert run.attributes["pipeline.run.result"] == result
    assert run.attributes.get("error.type") == error
    assert lab.receiver.total("pipeline.run.ended", pipeline__run__result=result) == 1


def test_a_process_that_leaves_by_os_exit_says_nothing(lab: Lab) -> None:
    """Only ``otel-pipeline run`` can see that: in the process no code of anyone runs any more."""
    outcome = lab.run("import os; os._exit(7)", launched=True)
    assert (outcome.code, outcome.err) == (7, "")
    assert lab.receiver.runs() == []


def test_a_script_without_pipeline_is_one_run(lab: Lab) -> None:
    """``setup()`` in the script itself: the script is the run, and its stages hang below it."""
    receiver = lab.quiet(SETUP + "with op.stage('load'): pass\n")
    assert receiver.tree() == {"": ["run etl"], "run etl": ["stage load"]}
    run, stage = receiver.one("run etl"), receiver.one("stage load")
    assert stage.attributes["pipeline.run.id"] == run.attributes["pipeline.run.id"]


@pytest.mark.parametrize("launched", [False, True], ids=["setup", "launcher"])
def test_the_first_pipeline_takes_the_script_over(lab: Lab, launched: bool) -> None:
    """One run, not two: by the pipeline's name, with what the script did before below it as well."""
    text = "import otel_pipeline as op, sqlite3\n" + ("" if launched else "op.setup()\n")
    text += """
import sqlite3
db = sqlite3.connect(":memory:").cursor(); db.execute("create table t (a)")
with op.pipeline("orders"):
    with op.stage("load"): db.execute("insert into t values (1)")
"""
    receiver = lab.quiet(text, launched=launched)
    assert receiver.tree() == {"": ["run orders"], "run orders": ["create", "stage load"], "stage load": ["insert"]}
    assert receiver.total("pipeline.run.ended") == 1


@pytest.mark.parametrize("launched", [False, True], ids=["setup", "launcher"])
def test_two_pipelines_are_two_runs_in_two_traces(lab: Lab, launched: bool) -> None:
    """Only the first takes the script over; the second is a run of its own."""
    text = "import otel_pipeline as op\n" + ("" if launched else "op.setup()\n")
    receiver = lab.quiet(
        text + "for name in ('a', 'b'):\n  with op.pipeline(name): op.current_stage()\n", launched=launched
    )
    assert receiver.tree() == {"": ["run a", "run b"]}
    first, second = receiver.runs()
    assert first.trace != second.trace
    assert first.attributes["pipeline.run.id"] != second.attributes["pipeline.run.id"]


def test_setup_in_an_imported_module_makes_no_run_of_the_script(lab: Lab) -> None:
    """A library that sets telemetry up does not decide that the program is a pipeline."""
    lab.write("import otel_pipeline as op\nop.setup('lib')\n", "telemetry.py")
    receiver = lab.quiet("import telemetry, otel_pipeline as op\nwith op.stage('load'): pass\n")
    assert receiver.tree() == {"": ["stage load"]}


@pytest.mark.parametrize(("script_run", "runs"), [("true", 1), ("false", 0)])
def test_the_setting_decides_over_what_would_be_guessed(lab: Lab, script_run: str, runs: int) -> None:
    """``script_run`` makes a run where there would be none, and none where there would be one."""
    lab.write("import otel_pipeline as op\nop.setup('lib')\n", "telemetry.py")
    text = "import telemetry" if script_run == "true" else SETUP
    assert len(lab.quiet(text, env={"OTEL_PIPELINE_SCRIPT_RUN": script_run}).runs()) == runs


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "celery"])
def test_a_server_is_no_run(lab: Lab, server: str) -> None:
    """The launcher makes no run of a program that serves."""
    lab.write("print('serving')", server)
    outcome = lab.python(server, launched=True)
    assert (outcome.code, outcome.out, outcome.err) == (0, "serving\n", "")
    assert lab.receiver.runs() == []


def test_a_server_started_as_a_module_is_no_run(lab: Lab) -> None:
    """``python -m uvicorn app:app`` is as much a server as ``uvicorn app:app``."""
    lab.write("print('serving')", "uvicorn.py")
    assert lab.python("-m", "uvicorn", launched=True) == (0, "serving\n", "")
    assert lab.receiver.runs() == []


def test_an_interactive_session_is_no_run(lab: Lab) -> None:
    """``python -i`` asks on after the script, so that the process is no run."""
    outcome = lab.python("-i", "-c", SETUP.replace("\n", ";"))
    assert outcome.code == 0
    assert lab.receiver.runs() == []


def test_a_module_and_a_command_line_are_scripts_too(lab: Lab) -> None:
    """``python -m pack.age`` is named by its module; ``python -c`` has no better name than python."""
    lab.write(SETUP, "pack/age.py")
    lab.python("-m", "pack.age")
    lab.python("-c", SETUP.replace("\n", ";"))
    lab.python("-m", "pack.age", launched=True)
    assert [run.name for run in lab.receiver.runs()] == ["run pack.age", "run python", "run pack.age"]


def test_names_come_from_the_setting_before_the_script(lab: Lab) -> None:
    """``--pipeline_name`` of the launcher names the run; the service keeps the script's name."""
    lab.write("print('ok')")
    launcher = str(Path(__import__("sys").executable).with_name("opentelemetry-instrument"))
    outcome = lab.python(launcher, "--pipeline_name", "orders", __import__("sys").executable, "etl.py")
    assert (outcome.code, outcome.out, outcome.err) == (0, "ok\n", "")
    assert [run.name for run in lab.receiver.runs()] == ["run orders"]


def test_setup_in_a_launched_script_renames_the_service(lab: Lab) -> None:
    """What the launcher guessed, the script knows better: everything has its names, and there is one of each."""
    receiver = lab.quiet(
        """
        import logging, otel_pipeline as op
        handle = op.setup("orders-etl", version="1.4.0", environment="prod")
        assert op.setup("orders-etl") is handle
        logging.getLogger("etl").error("hello")
        with op.stage("load") as stage:
            stage.add(records_out=3)
        """.replace('.error("hello")', '.info("hidden")'),
        launched=True,
    )
    assert receiver.tree() == {"": ["run etl"], "run etl": ["stage load"]}
    for span in receiver.spans:
        assert span.resource["service.name"] == "orders-etl"
        assert span.resource["service.version"] == "1.4.0"
        assert span.resource["deployment.environment.name"] == "prod"
    assert receiver.total("pipeline.stage.records", pipeline__record__status="out") == 3
    assert {point.resource["service.name"] for point in receiver.points} == {"orders-etl"}


def test_what_the_user_hooked_stays_hooked(lab: Lab) -> None:
    """A ``sys.exit`` and a ``sys.excepthook`` of the user's are called as ever, set before or after ``setup()``."""
    for order in ("hooks(); op.setup()", "op.setup(); hooks()"):
        outcome = lab.run(
            f"""
            import sys, otel_pipeline as op
            def hooks():
                real = sys.exit
                def leave(code=0): print("leaving", code); real(code)
                sys.exit = leave
                sys.excepthook = lambda kind, error, trace: print("hook", kind.__name__, error)
            {order}
            assert sys.excepthook.__name__ == "<lambda>"
            if sys.argv[1] == "exit":
                sys.exit(4)
            raise ValueError("bad")
            """,
            "exit",
        )
        assert outcome == (4, "leaving 4\n", "")
        assert lab.python("etl.py", "raise") == (1, "hook ValueError bad\n", "")
    assert [run.attributes["error.type"] for run in lab.receiver.runs()] == ["SystemExit", "ValueError"] * 2


def test_a_sys_exit_that_comes_back_comes_back(lab: Lab) -> None:
    """A test harness may replace ``sys.exit`` by a function that returns; with its own parameters."""
    lab.quiet(
        """
        import sys
        sys.exit = lambda *args, **more: ("stayed", args, more)
        import otel_pipeline as op
        op.setup()
        assert sys.exit(3, why="x") == ("stayed", (3,), {"why": "x"})
        """
    )
    assert lab.receiver.one("run etl").attributes["pipeline.run.result"] == "success"
