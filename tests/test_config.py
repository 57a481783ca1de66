"""One table of settings, three spellings, one order; and what is said of those that cannot be used."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from otel_pipeline import SettingError, config, environment_variables, setup

DOCS = Path(__file__).parents[1] / "docs"
VALUES: dict[str, tuple[Any, Any, Any]] = {
    "service_name": ("a", "b", "c"),
    "version": ("1", "2", "3"),
    "environment": ("prod", "test", "dev"),
    "name": ("a", "b", "c"),
    "script_run": ("true", "false", "auto"),
    "endpoint": ("http://a", "http://b", "http://c"),
    "protocol": ("grpc", "http/protobuf", "grpc"),
    "logs": (False, True, False),
    "instrument": (False, True, False),
    "exit_timeout": (1.5, 2.5, 3.5),
    "heartbeat_interval": (1.0, 2.0, 3.0),
    "stage_span_limit": (1, 2, 3),
    "record_values": (False, True, False),
    "strict": ("true", "false", "auto"),
    "queue_dir": ("a", "b", "c"),
    "store": ("a", "b", "c"),
    "store_sync": ("full", "normal", "full"),
    "forward": ("http://a", "http://b", "http://c"),
    "forward_interval": (1.0, 2.0, 3.0),
    "compatibility": ("etl", "standards,service", "none"),
    "handle_signals": (True, False, True),
    "summary": ("always", "never", "auto"),
    "progress": ("always", "never", "auto"),
}
ROWS = pytest.mark.parametrize("setting", config.SETTINGS, ids=lambda setting: setting.name)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def yaml_file(text: str, name: str = "otel-pipeline.yaml") -> dict[str, str]:
    """A config file, and the environment that names it."""
    Path(name).write_text(text, encoding="utf-8")
    return {"OTEL_PIPELINE_CONFIG_FILE": name}


@ROWS
def test_an_argument_wins_over_the_environment_over_the_file_over_the_default(setting: config.Setting) -> None:
    """And each value knows where it came from."""
    argument, variable, line = VALUES[setting.name]
    environ = yaml_file(f"{setting.name}: {str(line).lower() if isinstance(line, bool) else repr(line)}")

    def value(arguments: dict[str, Any], environ: dict[str, str]) -> tuple[Any, str | None]:
        settings = config.load(arguments, environ)
        return getattr(settings, setting.name), dict(settings.origins).get(setting.name)

    Path("empty.yaml").touch()
    assert value({}, {"OTEL_PIPELINE_CONFIG_FILE": "empty.yaml"}) == (setting.default, None)
    assert value({}, environ) == (line, "config file")
    environ[setting.env] = str(variable)
    assert value({}, environ) == (variable, "environment")
    assert value({setting.name: argument}, environ) == (argument, "argument")


@ROWS
def test_each_setting_is_an_argument_a_variable_a_field_and_documented(setting: config.Setting) -> None:
    """The table, ``setup()``, ``Settings``, the launcher's options and the page say the same."""
    assert (setting.name in inspect.signature(setup).parameters) != setting.of_server
    assert setting.env == f"OTEL_PIPELINE_{setting.name.upper()}"
    assert getattr(environment_variables, setting.env) == setting.env
    assert getattr(config.Settings(), setting.name) == setting.default
    assert f"| `{setting.name}` | `{setting.env}`" in (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert len(setting.description) > 20
    assert setting.description.endswith(".")


def test_there_are_no_settings_outside_the_table() -> None:
    """Neither an argument of ``setup()`` nor a field."""
    names = {setting.name for setting in config.SETTINGS}
    assert {field.name for field in fields(config.Settings)} == names | {"origins"}
    arguments = {setting.name for setting in config.SETTINGS if not setting.of_server}
    assert set(inspect.signature(setup).parameters) == arguments | {"unknown"}
    assert set(VALUES) == names


@pytest.mark.parametrize(
    ("setting", "standard"),
    [
        ("service_name", "OTEL_SERVICE_NAME"),
        ("endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("protocol", "OTEL_EXPORTER_OTLP_PROTOCOL"),
    ],
)
def test_opentelemetrys_own_variables_count_where_ours_is_not_set(setting: str, standard: str) -> None:
    """Ours comes first: it can say something for pipelines alone."""
    value = "grpc" if setting == "protocol" else "theirs"
    assert getattr(config.load(environ={standard: value}), setting) == value
    ours = "http/protobuf" if setting == "protocol" else "ours"
    environ = {standard: value, f"OTEL_PIPELINE_{setting.upper()}": ours}
    assert getattr(config.load(environ=environ), setting) == ours


def test_an_empty_variable_is_not_set() -> None:
    """As OpenTelemetry's specification asks."""
    assert config.load(environ={"OTEL_PIPELINE_EXIT_TIMEOUT": "", "OTEL_SERVICE_NAME": ""}) == config.load(environ={})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("exit_timeout", "soon", "a number of seconds from 0 up"),
        ("exit_timeout", "-1", "a number of seconds from 0 up"),
        ("exit_timeout", "nan", "a number of seconds from 0 up"),
        ("exit_timeout", "inf", "a number of seconds from 0 up"),
        ("exit_timeout", True, "a number of seconds from 0 up"),
        ("heartbeat_interval", "15s", "a number of seconds from 0 up"),
        ("stage_span_limit", "1e3", "a whole number from 0 up"),
        ("stage_span_limit", "²", "a whole number from 0 up"),
        ("stage_span_limit", 1.5, "a whole number from 0 up"),
        ("stage_span_limit", -1, "a whole number from 0 up"),
        ("logs", "maybe", "true or false"),
        ("logs", 2, "true or false"),
        ("protocol", "http/json", "one of http/protobuf, grpc"),
        ("script_run", "yes please", "one of auto, true, false"),
        ("summary", True, "one of auto, always, never"),
        ("compatibility", "etl,other", "all, none, or some of etl, standards, api, service, crawl"),
        ("compatibility", "all,etl", "all, none, or some of etl, standards, api, service, crawl"),
        ("service_name", " ", "a non-empty string"),
        ("service_name", 3, "a non-empty string"),
    ],
)
def test_a_bad_value_is_quoted_with_what_is_wanted(name: str, value: Any, wanted: str) -> None:
    """By the spelling that the user has used."""
    with pytest.raises(SettingError, match=re.escape(f"{name}={value!r}: want {wanted}")):
        config.load({name: value}, {})
    if isinstance(value, str):
        variable = f"OTEL_PIPELINE_{name.upper()}"
        with pytest.raises(SettingError, match=re.escape(f"{variable}={value!r}: want {wanted}")):
            config.load(environ={variable: value})
    line = yaml_file(f"{name}: {str(value).lower() if isinstance(value, bool) else repr(value)}")
    with pytest.raises(SettingError, match=re.escape(f"otel-pipeline.yaml: {name}: {value!r}: want {wanted}")):
        config.load(environ=line)


def test_a_bad_value_of_a_standard_variable_is_named_by_that_variable() -> None:
    """A user who has never heard of ours finds what is meant."""
    with pytest.raises(SettingError, match=r"^OTEL_EXPORTER_OTLP_PROTOCOL='http/json': want"):
        config.load(environ={"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})


def test_values_are_understood_as_people_write_them() -> None:
    """Switches in the usual words, numbers with spaces around them, YAML's own types."""
    for text, value in {"on": True, "NO": False, " 1 ": True, "False": False}.items():
        assert config.load(environ={"OTEL_PIPELINE_LOGS": text}).logs is value
    assert config.load(environ={"OTEL_PIPELINE_STAGE_SPAN_LIMIT": " 10 "}).stage_span_limit == 10
    assert config.load(environ=yaml_file("script_run: off\nexit_timeout: 3\n")).script_run == "false"
    assert config.load({"script_run": True}, {}).script_run == "true"
    assert config.load(environ={"OTEL_PIPELINE_SCRIPT_RUN": "no"}).script_run == "false"


def test_a_misspelt_argument_is_named_with_the_nearest_valid() -> None:
    """Through ``setup()``, as the user calls it."""
    with pytest.raises(SettingError, match=r"^exit_time_out=2: there is no such setting; did you mean exit_timeout\?$"):
        setup(exit_time_out=2)
    with pytest.raises(SettingError, match=r"^qqq=1: there is no such setting; there are service_name, version, "):
        config.load({"qqq": 1}, {})


def test_a_misspelt_line_of_the_file_is_named_with_the_nearest_valid() -> None:
    """With the file's name."""
    with pytest.raises(SettingError, match=r"conf.yaml: servic_name: .*did you mean service_name\?$"):
        config.load(environ=yaml_file("servic_name: x", "conf.yaml"))


def test_a_misspelt_variable_is_named_with_the_nearest_valid() -> None:
    """Only those with our prefix: the others are somebody else's. None of ours is taken for one."""
    environ = {"OTEL_PIPELINE_EXIT_TIMOUT": "1", "OTEL_SERVICE_NAM": "x", "OTEL_PIPELINE_RUN_ID": "x"}
    environ |= dict.fromkeys((*config.INTERNAL, *(setting.env for setting in config.SETTINGS)), "x")
    (line,) = config.unknown_variables(environ)
    assert line == (
        "otel_pipeline: OTEL_PIPELINE_EXIT_TIMOUT is not a setting; did you mean OTEL_PIPELINE_EXIT_TIMEOUT?"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"conf.yaml: not YAML: .*line 1"),
        ("- a\n- b\n", r"conf.yaml: want `setting: value` lines, got a list"),
        ("just text", r"conf.yaml: want `setting: value` lines, got a str"),
        ("1: 2", r"conf.yaml: 1: there is no such setting"),
        ("service_name: &a [*a]", r"conf.yaml: service_name: .*want a non-empty string"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(text: str, message: str) -> None:
    """With what is wrong, in one line."""
    environ = yaml_file(text, "conf.yaml")
    with pytest.raises(SettingError, match=message) as raised:
        config.load(environ=environ)
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named() -> None:
    """A file that was asked for must be there and be text; the one in the current folder need not be there."""
    for name in ("nowhere.yaml", "."):
        with pytest.raises(SettingError, match=f"^OTEL_PIPELINE_CONFIG_FILE='{re.escape(name)}': cannot read it: "):
            config.load(environ={"OTEL_PIPELINE_CONFIG_FILE": name})
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingError, match=r"binary.yaml: not YAML"):
        config.load(environ={"OTEL_PIPELINE_CONFIG_FILE": "binary.yaml"})
    assert config.load(environ={}) == config.Settings()


def test_a_file_in_the_current_folder_is_found() -> None:
    """By its name alone; an empty one says nothing, nor does an empty value."""
    yaml_file("version: '1.0'\nenvironment:\n")
    settings = config.load(environ={})
    assert (settings.version, settings.environment) == ("1.0", None)
    yaml_file("# nothing\n")
    assert config.load(environ={}) == config.Settings()


def test_what_is_expected_of_pipelines_is_no_setting() -> None:
    """It stands in the same file, for whoever judges runs; without it there is nothing."""
    environ = yaml_file("version: '1.0'\npipelines: {orders: {schedule: '0 2 * * *'}}\n", "conf.yaml")
    assert config.load(environ=environ).version == "1.0"
    assert config.pipelines(environ) == ("conf.yaml", {"orders": {"schedule": "0 2 * * *"}})
    assert config.pipelines(yaml_file("version: '1.0'\n", "conf.yaml")) is None
    assert config.pipelines({}) is None
    with pytest.raises(SettingError, match="not YAML"):
        config.pipelines(yaml_file("[", "conf.yaml"))


def test_a_launcher_says_what_cannot_be_used_and_goes_on() -> None:
    """One line each; what is right beside it counts."""
    environ = yaml_file("versoin: 1\nsummary: loud\nenvironment: prod\n", "conf.yaml")
    environ |= {"OTEL_PIPELINE_EXIT_TIMEOUT": "soon", "OTEL_PIPELINE_NAME": "orders"}
    said: list[str] = []
    settings = config.load(environ=environ, say=said.append)
    assert (settings.environment, settings.name) == ("prod", "orders")
    assert (settings.exit_timeout, settings.summary) == (2.0, "auto")
    assert [re.sub(r"; there are.*(?=; it is)", "", line) for line in said] == [
        "otel_pipeline: conf.yaml: versoin: there is no such setting; did you mean version?; it is left out",
        "otel_pipeline: conf.yaml: summary: 'loud': want one of auto, always, never; it is left out",
        "otel_pipeline: OTEL_PIPELINE_EXIT_TIMEOUT='soon': want a number of seconds from 0 up; it is left out",
    ]
    said.clear()
    config.load(environ=yaml_file("[", "conf.yaml"), say=said.append)
    assert len(said) == 1


def test_a_wrong_argument_raises_also_beside_a_launcher() -> None:
    """It is a line of the user's code."""
    with pytest.raises(SettingError, match="logs='maybe'"):
        config.load({"logs": "maybe"}, {}, say=lambda line: None)
