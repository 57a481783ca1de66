"""Our plugin for pytest: otel_pipeline is off in tests, unless asked for, and ``pipelines`` records in memory.

::

    import otel_pipeline as op                 def test_orders(pipelines):
                                                   main()
    @op.pipeline("orders_etl")      ◄──────        run = pipelines.run("orders_etl")
    def main(): …                                  assert run.result == "success"

pytest loads this wherever the package is installed, so nothing is imported here but what reads the environment.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import pytest

from otel_pipeline import config as settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from otel_pipeline.testing import Pipelines

__all__ = ["pipelines"]


@pytest.fixture
def pipelines(request: pytest.FixtureRequest) -> Iterator[Pipelines]:
    """What the pipelines of this test did: ``pipelines.run("orders").stage("load").records.out`` (docs/testing.md)."""
    from otel_pipeline.testing import recorded  # noqa: PLC0415 - loads the SDK: only for tests that ask for it

    with recorded() as found:
        request.node.stash[_RECORDED] = found
        yield found


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--otel-pipeline`` and the ini option ``otel_pipeline``."""
    asks = "let otel_pipeline record and send in tests as it does outside of them"
    parser.getgroup("otel_pipeline").addoption("--otel-pipeline", action="store_true", dest="otel_pipeline", help=asks)
    parser.addini("otel_pipeline", asks, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Turn it off, unless asked for."""
    config.addinivalue_line("markers", "otel_pipeline: let otel_pipeline record and send in this test")
    if settings.in_tests() == "on":
        return
    asked = config.getoption("otel_pipeline") or config.getini("otel_pipeline")
    config.stash[_SWITCH] = switch = _Switch()
    switch.turn("on" if asked else "off")
    config.add_cleanup(switch.undo)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, None, None]:
    """The marker turns it on for a test."""
    switch = item.config.stash.get(_SWITCH, None)
    if switch is None or switch.word == "on" or item.get_closest_marker("otel_pipeline") is None:
        yield
        return
    switch.turn("on")
    yield
    switch.turn("off")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.CallInfo[None], None]:
    """A failing test shows what its pipelines did."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
    found = item.stash.get(_RECORDED, None)
    if report.when == "call" and report.failed and found is not None:
        report.sections.append(("Recorded pipelines", found.told()))


class _Switch:
    """On: everything is as outside of tests. Off: ``setup()`` and what a launcher has set up record nothing."""

    def __init__(self) -> None:
        self.word: str | None = None
        self._before = settings.in_tests()
        self._off = contextlib.ExitStack()

    def turn(self, word: str) -> None:
        self._off.close()
        self.word = word
        settings.set_in_tests(word)
        if word == "off":
            self._off.enter_context(_silence())

    def undo(self) -> None:
        self._off.close()
        settings.set_in_tests(self._before)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Where pytest itself was set up, by ``opentelemetry-instrument pytest`` say: pipelines are not recorded there."""
    setup = sys.modules.get("otel_pipeline.sdk.setup")
    if setup is None or setup.current_handle() is None:
        yield
        return
    from opentelemetry.metrics import NoOpMeterProvider  # noqa: PLC0415 - loaded already
    from opentelemetry.trace import NoOpTracerProvider  # noqa: PLC0415

    from otel_pipeline.instrument import measuring, registry  # noqa: PLC0415

    with registry.aside(NoOpTracerProvider()), measuring.aside(NoOpMeterProvider()):
        yield


_SWITCH = pytest.StashKey[_Switch]()
_RECORDED = pytest.StashKey["Pipelines"]()
