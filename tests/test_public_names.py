"""What users import."""

from __future__ import annotations

from pathlib import Path

import otel_pipeline


def test_public_names() -> None:
    """Adding or removing a public name is a decision, not an accident."""
    assert otel_pipeline.__all__ == [
        "AlreadySetUpError",
        "Crawl",
        "Expect",
        "ExpectationError",
        "Handle",
        "PipelineTelemetryError",
        "Run",
        "SettingError",
        "Slo",
        "Stage",
        "UsageError",
        "__version__",
        "cache",
        "check",
        "collector",
        "counter",
        "crawl",
        "current_crawl",
        "current_run",
        "current_stage",
        "database",
        "gauge",
        "histogram",
        "pipeline",
        "queue_length",
        "search",
        "setup",
        "stage",
        "timed",
    ]


def test_each_public_name_is_there_and_documented() -> None:
    """Each can be had from the package, also those that load the SDK on their first use."""
    for name in otel_pipeline.__all__:
        assert getattr(otel_pipeline, name).__doc__, name


def test_another_name_is_an_attribute_error() -> None:
    """The lazy names do not hide a misspelt one."""
    assert not hasattr(otel_pipeline, "set_up")


def test_no_public_name_is_that_of_a_module() -> None:
    """Importing the module would replace it."""
    package = Path(otel_pipeline.__file__).parent
    modules = {path.stem for path in package.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert modules.isdisjoint(otel_pipeline.__all__)
