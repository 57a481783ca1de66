"""Python's logging goes out joined to the trace, and what the program prints stays as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sdk.conftest import Lab

# Each is a program that logs in its way. FORMAT has no times in it, so that two runs print the same.
FORMAT = "'%(levelname)s %(name)s %(message)s'"
WAYS = {
    "no configuration": "logging.warning('plain %s', 'text')",
    "no configuration, own logger": "log = logging.getLogger('etl'); log.warning('yes'); log.info('no')",
    "module functions, then a handler": "logging.info('no'); logging.error('yes'); print(logging.root.handlers)",
    "basicConfig": f"logging.basicConfig(level='DEBUG', format={FORMAT}); logging.getLogger('a.b').debug('yes')",
    "basicConfig to stdout": "logging.basicConfig(stream=sys.stdout, level='INFO'); logging.info('yes')",
    "dictConfig": f"""
import logging.config
logging.config.dictConfig({{
    'version': 1,
    'formatters': {{'f': {{'format': {FORMAT}}}}},
    'handlers': {{'h': {{'class': 'logging.StreamHandler', 'formatter': 'f'}}}},
    'root': {{'level': 'INFO', 'handlers': ['h']}},
}})
logging.getLogger('etl').info('yes'); logging.getLogger('etl').debug('no')
""",
    "propagate=False": """
logger = logging.getLogger('apart'); logger.propagate = False
logger.addHandler(logging.StreamHandler(sys.stdout)); logger.warning('apart')
""",
    "a custom level": """
logging.addLevelName(25, 'NOTICE'); logging.basicConfig(level=1); logging.log(25, 'notice'); logging.log(5, 'trace')
logging.log(99, 'beyond')
""",
    "an exception": "try: 1 / 0\nexcept ZeroDivisionError: logging.exception('failed')",
    "stack_info and extra": "logging.warning('x', stack_info=True, extra={'day': 1, 'what': object, 'big': 2 ** 70})",
    "a handler that raises": """
class Bad(logging.Handler):
    def emit(self, record): raise RuntimeError('handler')
logging.getLogger().addHandler(Bad())
try: logging.warning('x')
except RuntimeError:
    import traceback; traceback.print_exc()
""",
    "a handler that fails to format": "logging.warning('%d items', 'no')",
    "too few arguments": "logging.warning('%s %s', 1)",
    "an argument whose str fails": """
class Odd:
    def __str__(self): raise RuntimeError('odd')
    def __repr__(self): return 'odd'
logging.warning('%s', Odd()); logging.warning(Odd())
""",
    "a filter": """
logger = logging.getLogger('etl')
logger.addFilter(lambda record: 'secret' not in record.getMessage())
logger.warning('a secret'); logger.warning('shown')
""",
    "a disabled logger": "logging.getLogger('etl').disabled = True; logging.getLogger('etl').error('no')",
    "a subclass": """
class Mine(logging.Logger):
    def makeRecord(self, *args, **more):
        record = super().makeRecord(*args, **more); record.mine = 1; return record
logging.setLoggerClass(Mine); logging.basicConfig(format='%(mine)s %(message)s'); logging.getLogger('mine').error('x')
""",
    "a record's attributes": """
class Show(logging.Handler):
    def emit(self, record): print(sorted(vars(record)), record.funcName, record.lineno)
logging.getLogger().addHandler(Show())
def load(): logging.getLogger('etl').error('x', extra={'day': 1})
load()
""",
    "levels": "print([logging.getLogger(n).level for n in ('', 'etl', 'opentelemetry', 'otel_pipeline', 'urllib3')])",
    "captured warnings": "import warnings; logging.captureWarnings(True); warnings.warn('old')",
}


@pytest.mark.parametrize("first", [True, False], ids=["setup first", "setup last"])
@pytest.mark.parametrize("way", WAYS)
def test_what_the_program_prints_is_the_same_with_and_without_us(lab: Lab, way: str, first: bool) -> None:
    """Byte for byte on stdout and stderr, whatever its logging is like, configured before or after ``setup()``."""
    configured, _, logged = WAYS[way].rpartition(";") if way == "basicConfig" else ("", "", WAYS[way])
    program = "import sys, logging\n{}\n{}\n{}\n"
    setup = "if sys.argv[1:]: import otel_pipeline as op; op.setup()"
    lab.write(program.format(*((setup, configured) if first else (configured, setup)), logged))
    without = lab.python("etl.py", sends=False)
    with_us = lab.python("etl.py", "on")
    assert with_us == without


def test_records_are_joined_to_the_trace(lab: Lab) -> None:
    """A record has the trace and span of the stage in which it was logged, its logger, place and severity."""
    receiver = lab.quiet(
        """
        import logging, otel_pipeline as op
        op.setup()
        logging.getLogger().addHandler(logging.NullHandler())
        with op.pipeline("orders"):
            with op.stage("load"):
                logging.getLogger("etl").warning("slow %s", "day", extra={"day": 3, "odd": [1]})
        """
    )
    (log,) = [log for log in receiver.logs if not log.event]
    stage = receiver.one("stage load")
    assert (log.trace, log.span) == (stage.trace, stage.id)
    assert (log.body, log.severity, log.number, log.scope) == ("slow day", "WARN", 13, "etl")
    assert log.attributes["code.function.name"] == "<module>"
    assert log.attributes["code.file.path"].endswith("etl.py")
    assert (log.attributes["day"], log.attributes["odd"]) == (3, "[1]")
    assert log.resource["service.name"] == "etl"


def test_an_exception_is_told_with_its_stack(lab: Lab) -> None:
    """By OpenTelemetry's names for exceptions."""
    receiver = lab.quiet(
        """
        import logging, otel_pipeline as op
        op.setup()
        logging.getLogger().addHandler(logging.NullHandler())
        try:
            raise ValueError("bad day")
        except ValueError:
            logging.getLogger("etl").exception("failed")
        """
    )
    (log,) = [log for log in receiver.logs if not log.event]
    assert (log.attributes["exception.type"], log.attributes["exception.message"]) == ("ValueError", "bad day")
    assert "etl.py" in log.attributes["exception.stacktrace"]


def test_each_record_is_sent_once_and_only_those_that_a_logger_lets_through(lab: Lab) -> None:
    """Levels, filters and ``disabled`` hold for what is sent; ``propagate=False`` does not hide a logger's records."""
    receiver = lab.quiet(
        """
        import logging, otel_pipeline as op
        logging.basicConfig(level="INFO", stream=open("log", "w"))
        op.setup()
        op.setup()
        etl, apart, off = (logging.getLogger(name) for name in ("etl", "apart", "off"))
        apart.propagate, off.disabled = False, True
        apart.addHandler(logging.NullHandler())
        etl.addFilter(lambda record: "secret" not in record.getMessage())
        for message in ("one", "a secret"):
            etl.info(message)
        etl.debug("no")
        off.error("no")
        apart.error("two")
        logging.getLogger("requests_of_mine").info("three")
        logging.getLogger("opentelemetry_user").info("four")
        """
    )
    assert receiver.messages() == ["one", "two", "three", "four"]


def test_logs_may_be_left_at_home(lab: Lab) -> None:
    """``logs=False`` sends none; the events about runs are sent all the same."""
    receiver = lab.quiet(
        """
        import logging, otel_pipeline as op
        op.setup(logs=False)
        logging.getLogger().addHandler(logging.NullHandler())
        logging.error("hidden")
        """
    )
    assert receiver.messages() == []
    assert receiver.events("pipeline.run.started")


def test_what_the_sender_says_while_it_sends_is_not_sent(lab: Lab) -> None:
    """A root logger at DEBUG does not make each request cause the next."""
    outcome = lab.run(
        """
        import logging, otel_pipeline as op
        logging.basicConfig(level="DEBUG")
        handle = op.setup()
        for number in range(3):
            logging.info("item %s", number)
            assert handle.flush(60)
        """
    )
    assert outcome.code == 0
    assert lab.receiver.messages() == ["item 0", "item 1", "item 2"]


def test_a_log_call_in_a_signal_handler_is_harmless(lab: Lab) -> None:
    """It may come at any moment, also while a record is being sent: nothing hangs and nothing is printed."""
    receiver = lab.quiet(
        """
        import logging, os, signal, otel_pipeline as op
        logging.getLogger().addHandler(logging.NullHandler())
        op.setup()
        seen = []
        def on_signal(number, frame):
            logging.warning("signal")
            seen.append(number)
        signal.signal(signal.SIGALRM, on_signal)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        number = 0
        while len(seen) < 500:
            with op.stage("load"):
                logging.error("item %s", number)
            number += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        """
    )
    assert "signal" in receiver.messages()


def test_logging_within_logging_is_harmless(lab: Lab) -> None:
    """An argument that logs when it is shown, a handler that logs: each record is sent at most once."""
    receiver = lab.quiet(
        """
        import logging, otel_pipeline as op
        logging.getLogger().addHandler(logging.NullHandler())
        op.setup()
        class Talks:
            def __str__(self):
                logging.warning("inner")
                return "talk"
        logging.warning("outer %s", Talks())
        """
    )
    assert "outer talk" in receiver.messages()
