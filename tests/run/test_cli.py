"""The command line: what is parsed, and that names come from commands."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_pipeline import cli
from otel_pipeline.instrument.naming import name_from
from otel_pipeline.version import __version__
from tests.run.conftest import TIMEOUT, Parent

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """And the status is 0; every command is in it."""
    assert cli.main([]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert all(command.name in output and command.help in output for command in cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is printed."""
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"otel-pipeline {__version__}\n"


@pytest.mark.parametrize("argv", [["run"], ["run", "--"], ["run", "--name", "x"], ["walk"]])
def test_a_wrong_call(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, with what is wanted on stderr."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert "usage: otel-pipeline" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX command")
@pytest.mark.parametrize(
    ("before", "words"),
    [([], ["--", "a"]), (["--"], ["--name", "a"]), (["--", ], ["x", "--", "y"]), (["--name", "n", "--"], ["--quiet"])],
)  # fmt: skip
def test_the_commands_words_are_untouched(parent: Parent, before: list[str], words: list[str]) -> None:
    """What follows the command, or ``--``, is the command's, also what looks like ours."""
    show = [sys.executable, "-I", "-c", "import sys; print(sys.argv[1:])"]
    main = "import sys; from otel_pipeline.cli import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-I", "-c", main, "run", "--quiet", *before, *show, *words],
        capture_output=True,
        text=True,
        env=parent.environ(OTEL_SDK_DISABLED="true"),
        timeout=TIMEOUT,
        check=True,
    )
    assert ended.stdout == f"{words}\n"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python etl.py", "etl"),
        ("python3.12 -u jobs/etl.py --day 1", "etl"),
        ("/usr/bin/python -X dev -W error etl_v1.2.py", "etl_v1.2"),
        ("python -Ximporttime -Werror etl.py", "etl"),
        ("python -m package.mod x", "package.mod"),
        ("python -um package.mod", "package.mod"),
        ("python -mpackage", "package"),
        ("python -c pass", "python"),
        ("python -", "python"),
        ("python", "python"),
        ("python jobs/load/__main__.py", "load"),
        ("pypy3 etl.pyz", "etl"),
        ("python3.13t etl.py", "etl"),
        ("bash job.sh", "job"),
        ("bash -euo pipefail ./job.sh", "job"),
        ("sh -c ls", "sh"),
        ("bash -ec ls", "bash"),
        ("bash", "bash"),
        ("./etl.py", "etl"),
        ("dbt run", "dbt"),
        ("my.tool", "my.tool"),
        ("env A=1 B=2 python etl.py", "etl"),
        ("nohup nice -n 5 python etl.py", "etl"),
        ("timeout -k 5 60 python etl.py", "etl"),
        ("uv run --with rich etl.py", "etl"),
        ("uv sync", "uv"),
        ("poetry run dbt build", "dbt"),
        ("opentelemetry-instrument --traces_exporter console --metrics_exporter=none python etl.py", "etl"),
        ("otel-pipeline run --name x -- python etl.py", "etl"),
        ("python.exe etl.py", "etl"),
        ("env", "env"),
        ("-c", "-c"),
        ("", "python"),
    ],
)
def test_names(command: str, name: str) -> None:
    """A run is named by the script, the module or the program."""
    assert name_from(command.split()) == name


WORDS = ["python", "bash", "env", "timeout", "uv", "run", "-m", "-c", "-", "--", "-X", "A=1", "/", ".py", "x.py"]


@given(st.lists(st.sampled_from(WORDS) | st.text(), max_size=6))
def test_every_command_has_a_name(words: list[str]) -> None:
    """Whatever the words are, there is a name that is not empty."""
    assert name_from(words)


def test_importing_loads_no_sdk() -> None:
    """What runs before the command starts imports neither the SDK nor anything that sends."""
    text = (
        "import sys, otel_pipeline.cli, otel_pipeline.run;"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'grpc',"
        "'requests', 'urllib3', 'rich', 'psutil'))])"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-c", text],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=TIMEOUT,
        check=True,
    )
    assert ended.stdout == "[]\n"
