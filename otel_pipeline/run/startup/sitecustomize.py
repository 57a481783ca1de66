"""Loaded first by every Python below ``otel-pipeline run``, by ``PYTHONPATH``.

OpenTelemetry's own launcher has such a module too. This one stands in its place because that one hides the user's
``sitecustomize``, and reports an error where the interpreter has no OpenTelemetry, such as another virtual environment.
The module stands alone: it also runs in interpreters without ``otel_pipeline``, of older versions.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib would slow every start
# They start the process that matters; loading OpenTelemetry in them would cost time and claim the run too early.
_LAUNCHERS = ("opentelemetry-instrument", "otel-pipeline")


def _is_here(path: str) -> bool:
    return bool(path) and os.path.abspath(path) == _HERE  # noqa: PTH100


def _load_users() -> None:
    """The user's ``sitecustomize``, which this one hides; its errors are reported by ``site`` as ever."""
    mine = sys.modules.pop("sitecustomize", None)
    try:
        __import__("sitecustomize")  # another one, now that this folder is off the path
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        if mine is not None:
            sys.modules.setdefault("sitecustomize", mine)


def _is_launcher() -> bool:
    words = [os.path.basename(word) for word in getattr(sys, "orig_argv", ())[:2]]  # noqa: PTH119
    return any(word in _LAUNCHERS for word in words)


def _instrument() -> None:
    from importlib.util import find_spec  # noqa: PLC0415 - only where there is something to instrument

    if _is_launcher() or find_spec("otel_pipeline") is None or find_spec("opentelemetry") is None:
        return
    import logging  # noqa: PLC0415

    from opentelemetry.instrumentation.auto_instrumentation import initialize  # noqa: PLC0415

    # It warns about each configurator that was not chosen, on the stderr of every process.
    loader = logging.getLogger("opentelemetry.instrumentation.auto_instrumentation._load")
    level = loader.level
    loader.setLevel(logging.ERROR)
    # Processes that are started while OpenTelemetry loads must not load it again, and so without end.
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in path.split(os.pathsep) if not _is_here(part))
    try:
        initialize()
    finally:
        os.environ["PYTHONPATH"] = path
        loader.setLevel(level)


def _try_instrument() -> None:
    try:
        _instrument()
    except Exception as error:  # noqa: BLE001 - the user's program starts, whatever becomes of its telemetry
        sys.stderr.write(f"otel-pipeline: cannot instrument this process: {type(error).__name__}: {error}\n")


sys.path[:] = [_path for _path in sys.path if not _is_here(_path)]
try:
    _load_users()
finally:
    _try_instrument()
