"""Where settings come from: three spellings, one order: argument > environment > config file > default.

::

    setup(exit_timeout=2)      OTEL_PIPELINE_EXIT_TIMEOUT=2      exit_timeout: 2   (otel-pipeline.yaml)

Nothing else reads the environment or a config file. The table of the settings is in ``settings.py``.
OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_*``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER`` …) keep
their meaning; where a setting of ours says the same thing, the table names the variable that it falls back to.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from otel_pipeline.errors import SettingError
from otel_pipeline.settings import PACKS, PREFIX, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_OTLP = "OTEL_EXPORTER_OTLP_"
CONFIG_FILE = f"{PREFIX}CONFIG_FILE"
EMBEDDED = "embedded"  # the folder in the queue's for what is kept on this machine
DEFAULT_FILE = "otel-pipeline.yaml"
PIPELINES, KPIS = "pipelines", "kpis"
"""Parts of the config file that are no settings of a process."""

Origin = Literal["argument", "environment", "config file", "default"]


_BY_NAME = {setting.name: setting for setting in SETTINGS}

# Variables with our prefix that are no settings: our processes tell them to each other, or tests and scripts read them.
RUN_ID = f"{PREFIX}RUN_ID"
HANDOVER = f"{PREFIX}HANDOVER"
TESTS = f"{PREFIX}TESTS"
INTERNAL = (
    RUN_ID,
    HANDOVER,
    TESTS,
    CONFIG_FILE,
    f"{PREFIX}PARENT_RUN",
    f"{PREFIX}SERVERS",
    f"{PREFIX}REQUIRE_SERVERS",
)


@dataclass(frozen=True)
class Settings:
    """The settings' values. ``origins`` tells where each came from."""

    service_name: str | None = None
    version: str | None = None
    environment: str | None = None
    name: str | None = None
    script_run: str = "auto"
    endpoint: str | None = None
    protocol: str = "http/protobuf"
    logs: bool = True
    instrument: bool = True
    exit_timeout: float = 2.0
    handle_signals: bool = False
    heartbeat_interval: float = 15.0
    stage_span_limit: int = 1000
    record_values: bool = False
    strict: str = "auto"
    queue_dir: str | None = None
    store: str | None = None
    store_sync: str = "normal"
    forward: str | None = None
    forward_interval: float = 15.0
    compatibility: str = "all"
    summary: str = "auto"
    progress: str = "auto"
    origins: tuple[tuple[str, Origin], ...] = ()

    def values(self) -> dict[str, Any]:
        """Name and value of each setting."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "origins"}


def load(
    arguments: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> Settings:
    """The settings from all places.

    ``arguments`` whose value is None are not given. With ``say``, what cannot be used in the environment or the file is
    said there in a line and left out (a launcher must not stop the user's program); without, it raises SettingError.
    A wrong argument always raises: it is a line of the user's code.
    """
    environ = os.environ if environ is None else environ
    found: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for read in (_from_file, _from_environment, _from_arguments):
        lenient = say is not None and read is not _from_arguments
        for problem, name, origin, value in read(environ, arguments or {}):
            if problem is None:
                found[name], origins[name] = value, origin
            elif lenient and say is not None:
                say(f"otel_pipeline: {problem}; it is left out")
            else:
                raise SettingError(problem)
    return Settings(**found, origins=tuple(origins.items()))


def places(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Where each setting's value comes from, for people: a variable, the path of the config file, argument, default."""
    environ = os.environ if environ is None else environ
    found = dict.fromkeys(_BY_NAME, "default") | dict(settings.origins)
    for setting in SETTINGS:
        if found[setting.name] == "environment":
            found[setting.name] = next(each for each in (setting.env, *setting.falls_back_to) if environ.get(each))
        elif found[setting.name] == "config file":
            found[setting.name] = str(_file(environ))
    return found


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """A line for each variable with our prefix that is no setting: probably misspelt."""
    environ = os.environ if environ is None else environ
    known = [setting.env for setting in SETTINGS]
    return [
        f"otel_pipeline: {name} is not a setting{_nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known and name not in INTERNAL
    ]


def sdk_disabled(environ: Mapping[str, str] | None = None) -> bool:
    """``OTEL_SDK_DISABLED=true`` turns everything off, and so does a test suite that has not asked for it."""
    environ = os.environ if environ is None else environ
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or off_in_tests(environ)


def off_in_tests(environ: Mapping[str, str] | None = None) -> bool:
    """``OTEL_PIPELINE_TESTS=off``, set by the plugin for pytest: nothing is recorded, here and in what is started."""
    return in_tests(environ) == "off"


def in_tests(environ: Mapping[str, str] | None = None) -> str | None:
    """What ``OTEL_PIPELINE_TESTS`` says: off; on, so that the plugin for pytest leaves all as it is; None."""
    environ = os.environ if environ is None else environ
    return environ.get(TESTS)


def set_in_tests(word: str | None) -> None:
    """Say it to this process and to those that it starts."""
    if word is None:
        os.environ.pop(TESTS, None)
    else:
        os.environ[TESTS] = word


def exporter_names(signal: str, settings: Settings, environ: Mapping[str, str] | None = None) -> list[str]:
    """The exporters of traces, metrics or logs by ``OTEL_<SIGNAL>_EXPORTER``; otlp where there is an endpoint."""
    environ = os.environ if environ is None else environ
    named = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "")
    names = [name.strip() for name in named.split(",") if name.strip()]
    if not names:
        own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
        names = ["otlp"] if settings.endpoint or own else []
    return [name for name in names if name != "none"]


def disabled_instrumentations(environ: Mapping[str, str] | None = None) -> set[str]:
    """Names in ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS``; ``*`` means all."""
    environ = os.environ if environ is None else environ
    return {name.strip() for name in environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}


def embedded(settings: Settings, environ: Mapping[str, str] | None = None) -> bool:
    """Whether runs are kept on this machine, for `otel-pipeline runs`: where nothing is sent and nobody said "none"."""
    environ = os.environ if environ is None else environ
    sends = any(exporter_names(signal, settings, environ) for signal in ("traces", "metrics", "logs"))
    return not sends and not environ.get("OTEL_TRACES_EXPORTER")


def strict(settings: Settings) -> bool:
    """Whether a call that is given something that it cannot use raises."""
    return settings.strict == "true" or (settings.strict == "auto" and sys.flags.dev_mode)


def otlp_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables ``OTEL_EXPORTER_OTLP_*`` without that prefix, and the proxy for the endpoint as ``PROXY``."""
    environ = os.environ if environ is None else environ
    found = {name.removeprefix(_OTLP): value for name, value in environ.items() if name.startswith(_OTLP) and value}
    proxy = _proxy(found.get("ENDPOINT", ""), environ)
    return found | ({"PROXY": proxy} if proxy else {})


def _proxy(endpoint: str, environ: Mapping[str, str]) -> str | None:
    if not any(name.lower() in ("http_proxy", "https_proxy") for name in environ):
        return None
    from urllib.parse import urlsplit  # noqa: PLC0415 - only where there is a proxy
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415

    url = urlsplit(endpoint)
    return None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)


def state_folder() -> Path:
    """The folder of this user's state: ``$XDG_STATE_HOME/otel_pipeline`` on Linux, its like elsewhere."""
    from platformdirs import user_state_path  # noqa: PLC0415 - only where it is needed

    return user_state_path("otel_pipeline", appauthor=False)


def store_place(settings: Settings) -> Path | str:
    """Where the store is: the setting's URL or file, or ``$XDG_DATA_HOME/otel_pipeline/store.db`` on Linux."""
    from platformdirs import user_data_path  # noqa: PLC0415 - only where it is needed

    if settings.store is None:
        return user_data_path("otel_pipeline", appauthor=False) / "store.db"
    return settings.store if is_url(settings.store) else Path(settings.store)


def packs(settings: Settings) -> tuple[str, ...]:
    """The packs of other names under which KPIs are served."""
    if settings.compatibility == "all":
        return PACKS
    return tuple(pack for pack in PACKS if pack in settings.compatibility.split(","))


def is_url(place: str) -> bool:
    """Whether a store's place is a database's URL, and no file."""
    return "://" in place


def queue_folder(settings: Settings) -> Path:
    """The folder of the queues that are sent."""
    return Path(settings.queue_dir) if settings.queue_dir else state_folder() / "queue"


def environment() -> Mapping[str, str]:
    """The process's environment, for those who hand it on."""
    return os.environ


def pipelines(environ: Mapping[str, str] | None = None) -> tuple[str, Any] | None:
    """The config file's name and its ``pipelines`` as they stand there; None where it has none. Raises SettingError."""
    return _part(PIPELINES, environ)


def kpis(environ: Mapping[str, str] | None = None) -> tuple[str, Any] | None:
    """The same of its ``kpis``."""
    return _part(KPIS, environ)


def _part(name: str, environ: Mapping[str, str] | None) -> tuple[str, Any] | None:
    path = _file(os.environ if environ is None else environ)
    values = _read_yaml(path) if path is not None else {}
    return (str(path), values[name]) if name in values else None


# What is wrong, or None and the setting's name, where it came from, and its value.
_Reading = tuple[str | None, str, Origin, Any]


def _from_arguments(environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Iterator[_Reading]:
    del environ
    for name, value in arguments.items():
        if value is not None:
            yield _reading(name, value, "argument", f"{name}=")


def _from_environment(environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Iterator[_Reading]:
    del arguments
    for setting in SETTINGS:
        for variable in (setting.env, *setting.falls_back_to):
            if environ.get(variable):
                yield _reading(setting.name, environ[variable], "environment", f"{variable}=")
                break


def _from_file(environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Iterator[_Reading]:
    del arguments
    if (path := _file(environ)) is None:
        return
    try:
        values = _read_yaml(path)
    except SettingError as error:
        yield str(error), "", "config file", None
        return
    for name, value in values.items():
        if name in (PIPELINES, KPIS):
            continue
        if value is not None or name not in _BY_NAME:
            yield _reading(str(name), value, "config file", f"{path}: {name}: ")


def _file(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(CONFIG_FILE)
    path = Path(named or DEFAULT_FILE)
    return path if named or path.is_file() else None


def _reading(name: str, value: Any, origin: Origin, spelling: str) -> _Reading:
    if name not in _BY_NAME:
        spelling = spelling if origin == "config file" else f"{spelling}{value!r}: "
        return f"{spelling}there is no such setting{_nearest(name, list(_BY_NAME))}", name, origin, None
    try:
        return None, name, origin, _BY_NAME[name].convert(value)
    except ValueError as error:
        return f"{spelling}{value!r}: want {error}", name, origin, None


def _read_yaml(path: Path) -> dict[Any, Any]:
    import yaml  # noqa: PLC0415 - only where there is a file

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{CONFIG_FILE}={str(path)!r}: cannot read it: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingError(f"{path}: want `setting: value` lines, got a {type(values).__name__}")
    return values


def _nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for what is misspelt

    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
