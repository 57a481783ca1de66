"""What a user's process loads: pinned, since each module costs every start of every script."""

from __future__ import annotations

import subprocess
import sys

# With packages that are loaded from below ``opentelemetry`` a level deeper.
SHOW = """
import sys
def third_party():
    standard = sys.stdlib_module_names | {"__main__", "__mp_main__", "sitecustomize", "usercustomize"}
    return {name.split(".")[0] for name in sys.modules if not name.startswith("_")} - standard
before = third_party()
"""
HEAVY = ("google.protobuf", "grpc", "requests", "urllib3", "rich", "yaml", "sqlalchemy", "fastapi", "numpy")


def loaded(program: str, tmp_path: object) -> tuple[set[str], set[str]]:
    """The third-party packages that ``program`` loads, and the parts of OpenTelemetry."""
    show = "print(*third_party() - before); print(*{'.'.join(n.split('.')[:2]) for n in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-I", "-c", SHOW + program + "\n" + show],
        capture_output=True, text=True, check=True, cwd=str(tmp_path), env={"HOME": str(tmp_path)},
    )  # fmt: skip
    packages, modules = done.stdout.splitlines()
    return set(packages.split()), {name for name in modules.split() if name.startswith(("opentelemetry.", *HEAVY))}


def test_import_loads_nothing(tmp_path: object) -> None:
    """``import otel_pipeline`` costs nothing: pytest does so, for its plugin, wherever the package is installed."""
    packages, parts = loaded("import otel_pipeline; otel_pipeline.__version__", tmp_path)
    assert packages == {"otel_pipeline"}
    assert parts == set()


def test_its_names_load_the_api_alone(tmp_path: object) -> None:
    """Decorators cost OpenTelemetry's API and nothing else: a library may use them."""
    packages, parts = loaded("from otel_pipeline import pipeline, stage, Expect, current_run", tmp_path)
    assert packages == {"opentelemetry", "otel_pipeline", "typing_extensions"}
    assert "opentelemetry.sdk" not in parts
    assert not parts & set(HEAVY)


def test_its_names_load_little_more_of_the_standard_library(tmp_path: object) -> None:
    """What only some calls need (declarations, watermarks, carriers) is loaded by these."""
    program = """
import sys, opentelemetry.trace
before = set(sys.modules)
from otel_pipeline import pipeline, stage, current_run
print(*{"datetime", "json", "urllib.parse", "otel_pipeline.declaration"} & (set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_pipelines_load_no_more(tmp_path: object) -> None:
    """Nor does using it without ``setup()``."""
    program = """
import otel_pipeline as op
@op.stage
def extract(): yield from range(3)
with op.pipeline("orders") as run, op.stage("load") as stage:
    list(stage.track(extract())); stage.dataset("t", "write", records=3); stage.fail(ValueError("x"))
"""
    packages, parts = loaded(program, tmp_path)
    assert packages == {"opentelemetry", "otel_pipeline", "typing_extensions"}
    assert "opentelemetry.sdk" not in parts


def test_setup_loads_the_sdk_and_nothing_that_sends(tmp_path: object) -> None:
    """Without an endpoint there is no exporter to load, and no summary to print."""
    packages, parts = loaded("import otel_pipeline as op\nop.setup('etl', instrument=False)", tmp_path)
    assert packages == {"opentelemetry", "otel_pipeline", "platformdirs", "psutil", "typing_extensions"}
    assert not parts & {*HEAVY, "opentelemetry.exporter", "opentelemetry.proto"}


def test_setup_with_an_endpoint_needs_no_http_library(tmp_path: object) -> None:
    """The queue has its own encoders and its own sender."""
    program = "import otel_pipeline as op\nop.setup('etl', endpoint='http://127.0.0.1:9', instrument=False)"
    packages, parts = loaded(program + "\nwith op.stage('load'): pass", tmp_path)
    assert packages == {
        "opentelemetry", "otel_pipeline", "platformdirs", "psutil", "typing_extensions",
    }  # fmt: skip
    assert not parts & {*HEAVY, "opentelemetry.exporter", "opentelemetry.proto"}


def test_instrumentations_load_no_library_that_the_program_does_not_use(tmp_path: object) -> None:
    """The installed instrumentations are of libraries that cost nothing (sqlite3)."""
    packages, parts = loaded("import otel_pipeline as op\nop.setup('etl')", tmp_path)
    assert packages - {"packaging", "wrapt"} == {
        "opentelemetry", "otel_pipeline", "platformdirs", "psutil", "typing_extensions",
    }  # fmt: skip
    assert not parts & set(HEAVY)
