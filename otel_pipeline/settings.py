"""The settings, a row each: name, kind, default, and how a value is read. ``config.py`` finds the values.

``docs/configuration.md`` is generated from ``SETTINGS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "OTEL_PIPELINE_"
PACKS = ("etl", "standards", "api", "service", "crawl")
"""The packs of other names under which KPIs are served (docs/kpis.md)."""
_SHORTEST_INTERVAL = 0.1


@dataclass(frozen=True)
class Setting:
    """One row: ``convert`` takes a string or a value of the right type, and raises ValueError with what it wants.

    ``of_server``: it is for whoever keeps runs (`otel-pipeline serve`, `runs` …), and no argument of ``setup()``.
    """

    name: str
    kind: str
    default: Any
    description: str
    convert: Callable[[Any], Any]
    falls_back_to: tuple[str, ...] = ()
    of_server: bool = False

    @property
    def env(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper()


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a non-empty string")
    return value


def _seconds(value: Any) -> float:
    if not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if 0 <= number < float("inf"):
            return number
    raise ValueError("a number of seconds from 0 up")


def _interval(value: Any) -> float:
    number = _seconds(value)
    if number < _SHORTEST_INTERVAL:
        raise ValueError(f"a number of seconds from {_SHORTEST_INTERVAL} up")
    return number


def _whole(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("a whole number from 0 up")


_SPELLINGS = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def _one_of(*words: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        # YAML reads on/off/yes/no as booleans; a switch with more than two positions is spelt in words.
        word = str(value).strip().lower() if isinstance(value, (str, bool)) else ""
        for known in (word, _SPELLINGS.get(word, "")):
            if known in words:
                return known
        raise ValueError("one of " + ", ".join(words))

    return convert


def _packs(value: Any) -> str:
    """Some of ``PACKS``, by commas in their order; all, or none."""
    words = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    chosen = {str(word).strip().lower() for word in words}
    if chosen in ({"all"}, {"none"}):
        return chosen.pop()
    if chosen and chosen <= {*PACKS}:
        return ",".join(pack for pack in PACKS if pack in chosen)
    raise ValueError(f"all, none, or some of {', '.join(PACKS)}")


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if (word := _SPELLINGS.get(word, word)) not in ("true", "false"):
        raise ValueError("true or false")
    return word == "true"


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "service_name",
        "string",
        None,
        "The service (`service.name`); by default the script's name.",
        _text,
        ("OTEL_SERVICE_NAME",),
    ),
    Setting("version", "string", None, "Its version (`service.version`).", _text),
    Setting("environment", "string", None, "Where it runs (`deployment.environment.name`), such as prod.", _text),
    Setting(
        "name", "string", None, "The pipeline's name for the run of a whole script; by default the script's.", _text
    ),
    Setting(
        "script_run",
        "auto, true, false",
        "auto",
        "Whether the whole script is a run. auto: under the launcher, and for `setup()` called by the script itself; "
        "not for servers, notebooks and interactive sessions.",
        _one_of("auto", "true", "false"),
    ),
    Setting(
        "endpoint",
        "URL",
        None,
        "Where OTLP goes. Without one nothing is sent.",
        _text,
        ("OTEL_EXPORTER_OTLP_ENDPOINT",),
    ),
    Setting(
        "protocol",
        "http/protobuf, grpc",
        "http/protobuf",
        "How OTLP is spoken; grpc needs the extra `otel-pipeline[grpc]`.",
        _one_of("http/protobuf", "grpc"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL",),
    ),
    Setting("logs", "boolean", True, "Send the records of Python's `logging`, joined to the trace.", _switch),
    Setting(
        "instrument", "boolean", True, "Load OpenTelemetry's instrumentations of libraries that are installed.", _switch
    ),
    Setting(
        "exit_timeout",
        "seconds",
        2.0,
        "The longest that the end of the process waits for sending; what is not sent by then is left. 0: not at all.",
        _seconds,
    ),
    Setting(
        "handle_signals",
        "boolean",
        False,
        "End open runs as cancelled on SIGTERM and SIGHUP. A handler of Python's runs only when a C call returns.",
        _switch,
    ),
    Setting("heartbeat_interval", "seconds", 15.0, "How often an open run says that it is alive; 0 never.", _seconds),
    Setting(
        "stage_span_limit",
        "count",
        1000,
        "The most spans of others below one stage; the rest are counted on the stage's span.",
        _whole,
    ),
    Setting(
        "strict",
        "auto, true, false",
        "auto",
        "What becomes of a call that is given something that it cannot use, such as a negative count. true: it raises "
        "UsageError. false: that is said once, counted in `pipeline.telemetry.rejected`, and left out. auto: true in "
        "Python's development mode (`python -X dev`).",
        _one_of("auto", "true", "false"),
    ),
    Setting(
        "record_values",
        "boolean",
        False,
        "Keep the first values of failed records in their samples, besides type and keys; see [privacy](privacy.md).",
        _switch,
    ),
    Setting(
        "queue_dir",
        "folder",
        None,
        "Where what was not yet sent waits on disk; by default in the user's state folder.",
        _text,
    ),
    Setting(
        "store",
        "file or URL",
        None,
        "Where `otel-pipeline runs`, `serve` and their like keep runs and KPIs: a file, by default in the user's data "
        "folder, or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.",
        _text,
        of_server=True,
    ),
    Setting(
        "store_sync",
        "normal, full",
        "normal",
        "What a store in a file outlives. normal: the death of the process; full: a loss of power too, for a disk's "
        "flush with each commit. PostgreSQL outlives both.",
        _one_of("normal", "full"),
        of_server=True,
    ),
    Setting(
        "forward",
        "URL",
        None,
        "Where `otel-pipeline serve` sends the KPI metrics, by OTLP (`protocol`); without one nowhere.",
        _text,
        of_server=True,
    ),
    Setting(
        "forward_interval",
        "seconds",
        15.0,
        "How often it does. A new series is exported as 0 one interval before its first value.",
        _interval,
        of_server=True,
    ),
    Setting(
        "compatibility",
        f"all, none, or some of {', '.join(PACKS)}",
        "all",
        "Packs of other names under which `otel-pipeline serve` and `stats` serve [KPIs](kpis.md), besides their own. "
        "Several by commas; in the file also as a list.",
        _packs,
        of_server=True,
    ),
    Setting(
        "summary",
        "auto, always, never",
        "auto",
        "The run summary on stderr. auto: on a terminal, in a notebook, and under `otel-pipeline run`.",
        _one_of("auto", "always", "never"),
    ),
    Setting(
        "progress",
        "auto, always, never",
        "auto",
        "Live progress of a run that lasts longer than a second, on stderr. auto: on a terminal, and in a notebook; "
        "always: also into a pipe or a file, for whoever has a terminal at its other end.",
        _one_of("auto", "always", "never"),
    ),
)
