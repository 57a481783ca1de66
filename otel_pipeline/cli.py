"""The command line: parses arguments and calls, nothing else.

A subcommand is a row of ``COMMANDS``: what it is, its arguments, what it calls.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


PIPE_CLOSED = 141
"""The exit status when nobody reads on (``| head``): what a shell shows of a command that SIGPIPE ended."""


@dataclass(frozen=True)
class Command:
    """A subcommand: ``arguments`` adds its own to a parser, ``call`` does it and gives the exit status."""

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    call: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what ``argv`` (else the process's arguments) says and return the exit status.

    ``otel-pipeline run`` does not return: the process ends as the command ended.
    """
    try:
        try:
            return _called(argv)
        finally:
            if sys.stdout is not None:  # closed by the parent, as some daemons do
                sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and would say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _called(argv: Sequence[str] | None) -> int:
    parser = parser_of(COMMANDS)
    arguments = parser.parse_args(argv)
    if (call := getattr(arguments, "call", None)) is None:
        parser.print_help()
        return 0
    return int(call(arguments))


def parser_of(commands: Sequence[Command]) -> argparse.ArgumentParser:
    """The parser of ``commands``."""
    parser = argparse.ArgumentParser(prog="otel-pipeline", description="Data pipelines seen through OpenTelemetry.")
    parser.add_argument("--version", action="version", version=f"otel-pipeline {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        command.arguments(subparser)
        subparser.set_defaults(call=command.call, parser=subparser)
    return parser


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [--name NAME] [--quiet] [--] COMMAND [ARGUMENT ...]"
    parser.add_argument("--name", help="the run's name when no pipeline of the command names it")
    parser.add_argument("--quiet", action="store_true", help="print no summary")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")


def _run(arguments: argparse.Namespace) -> int:
    from otel_pipeline.run import leave, run  # noqa: PLC0415 - each command loads what it needs

    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        arguments.parser.error("no command to run; for example: otel-pipeline run -- python etl.py")
    leave(run(command, name=arguments.name, quiet=arguments.quiet))


def _queue_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("status", "list", "drain", "retry"), help="what to do")
    parser.add_argument("--queue-dir", metavar="FOLDER", help="the queue's folder (setting queue_dir)")
    parser.add_argument("--json", action="store_true", help="status: as JSON, with every file")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="drain: give up after (30)")
    parser.add_argument("--live", action="store_true", help="drain: also what living processes have not yet sent")


def _queue(arguments: argparse.Namespace) -> int:
    from otel_pipeline.errors import PipelineTelemetryError  # noqa: PLC0415 - each command loads what it needs
    from otel_pipeline.sdk import queues  # noqa: PLC0415

    try:
        if arguments.action == "status":
            return queues.status(arguments.queue_dir, as_json=arguments.json)
        if arguments.action == "list":
            return queues.files(arguments.queue_dir)
        if arguments.action == "drain":
            return queues.drain(arguments.queue_dir, timeout=arguments.timeout, live=arguments.live)
        return queues.retry(arguments.queue_dir)
    except BrokenPipeError:
        raise
    except (PipelineTelemetryError, OSError) as error:
        sys.stderr.write(f"otel-pipeline queue {arguments.action}: {error}\n")
        return 2


def _runs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="only this pipeline's runs")
    parser.add_argument("--last", type=int, metavar="N", help="the last N runs of each pipeline (10; as JSON all)")
    parser.add_argument("--json", action="store_true", help="as a JSON list, the latest run first")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN_ID", help="a run id, its beginning, or: last")
    parser.add_argument("--json", action="store_true", help="as a JSON object")


def _stats_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("metric", metavar="METRIC", help="a KPI by any of its names (docs/kpis.md)")
    parser.add_argument("--window", default="1h", metavar="TIME", help="how far back: 90s, 15m, 1h, 7d (1h)")
    formats = ("table", "json", "csv", "prometheus")
    parser.add_argument("--format", choices=formats, default="table", help="what to print (table)")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")


def _history(arguments: argparse.Namespace) -> int:
    from otel_pipeline.errors import PipelineTelemetryError  # noqa: PLC0415 - each command loads what it needs

    name = arguments.parser.prog
    try:
        from otel_pipeline import history  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").partition(".")[0]) not in ("cronsim", "sqlalchemy"):
            raise
        sys.stderr.write(f"{name}: the local store needs {missing}: pip install 'otel-pipeline[server]'\n")
        return 2
    calls: dict[str, Callable[[], int]] = {
        "runs": lambda: history.runs(arguments.pipeline, last=arguments.last, as_json=arguments.json),
        "show": lambda: history.show(arguments.run, as_json=arguments.json),
        "stats": lambda: history.stats(arguments.metric, window=arguments.window, form=arguments.format),
    }
    try:
        return calls[name.rpartition(" ")[2]]()
    except BrokenPipeError:
        raise
    except (PipelineTelemetryError, OSError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 2


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grpc", default="127.0.0.1:4317", metavar="HOST:PORT", help="OTLP over gRPC (%(default)s)")
    parser.add_argument("--http", default="127.0.0.1:4318", metavar="HOST:PORT", help="over HTTP (%(default)s)")
    parser.add_argument("--store", metavar="FILE|URL", help="where runs and KPIs are kept (setting store)")
    parser.add_argument("--forward", metavar="URL", help="where KPI metrics go, by OTLP (setting forward)")
    parser.add_argument(
        "--forward-interval", type=float, metavar="SECONDS", help="between their exports (setting forward_interval)"
    )
    parser.add_argument("--quiet", action="store_true", help="do not say where it listens")


def _serve(arguments: argparse.Namespace) -> int:
    from otel_pipeline.errors import PipelineTelemetryError  # noqa: PLC0415 - each command loads what it needs

    name = arguments.parser.prog
    try:
        from otel_pipeline.serve import serve  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").partition(".")[0]) not in (
            "cronsim",
            "grpc",
            "sqlalchemy",
            "starlette",
            "uvicorn",
        ):
            raise
        sys.stderr.write(f"{name}: it needs {missing}: pip install 'otel-pipeline[server]'\n")
        return 2
    try:
        settings = {name: getattr(arguments, name) for name in ("store", "forward", "forward_interval")}
        return serve(grpc=arguments.grpc, http=arguments.http, quiet=arguments.quiet, **settings)
    except (PipelineTelemetryError, OSError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 2


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as a JSON object")


def _doctor(arguments: argparse.Namespace) -> int:
    from otel_pipeline import doctor  # noqa: PLC0415 - each command loads what it needs

    return doctor.report(as_json=arguments.json)


def _purge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def _purge(arguments: argparse.Namespace) -> int:
    from otel_pipeline.errors import PipelineTelemetryError  # noqa: PLC0415 - each command loads what it needs
    from otel_pipeline.purge import purge  # noqa: PLC0415

    try:
        return purge(yes=arguments.yes, dry_run=arguments.dry_run)
    except PipelineTelemetryError as error:
        sys.stderr.write(f"otel-pipeline purge: {error}\n")
        return 2


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def _version(arguments: argparse.Namespace) -> int:
    del arguments
    print(f"otel-pipeline {__version__}")  # noqa: T201 - what was asked for
    return 0


COMMANDS = (
    Command("run", "Run a command as one run of a pipeline, nothing in it changed.", _run_arguments, _run),
    Command(
        "queue",
        "Look at what waits on disk to be sent, send it, or offer rejected records again.",
        _queue_arguments,
        _queue,
    ),
    Command("runs", "Show the last runs of each pipeline.", _runs_arguments, _history),
    Command("show", "Show one run, and how it differs from the last good one.", _show_arguments, _history),
    Command("stats", "Show the statistics of a KPI over a window of time.", _stats_arguments, _history),
    Command(
        "serve",
        "Take OTLP from a Collector or from programs, keep runs and KPIs, and show them to Prometheus.",
        _serve_arguments,
        _serve,
    ),
    Command(
        "doctor",
        "Say what is configured and from where, and whether the Collector is reached; exit status 1 if not.",
        _doctor_arguments,
        _doctor,
    ),
    Command(
        "purge",
        "Remove what is kept on this machine: queues, rejected records, open runs and the local store.",
        _purge_arguments,
        _purge,
    ),
    Command("version", "Print the version.", _no_arguments, _version),
)
"""The subcommands, in the order of the help."""
