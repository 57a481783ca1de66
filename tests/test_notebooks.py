"""In a real Jupyter kernel: cells are runs, their summaries and progress are outputs, and nothing else of ours is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
_OTHERS = ("OTEL_", "XDG_", "JUPYTER", "IPYTHON", "JPY_", "PYTEST_", "PYTHON")
SETUP = "import time\nimport otel_pipeline as op\nhandle = op.setup('notebook', version='1')"


class Jupyter:
    """Kernels whose files are in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
        places = {"JUPYTER_PATH": "jupyter", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data",
                  "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython", "HOME": "home"}  # fmt: skip
        self.folder = folder
        self.env = kept | {name: str(folder / place) for name, place in places.items()} | {"PYTHONPATH": str(ROOT)}
        spec = folder / "jupyter" / "kernels" / "under-test"
        spec.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (spec / "kernel.json").write_text(
            json.dumps({"argv": argv, "display_name": "under test", "language": "python"}), "utf-8"
        )

    def execute(self, *cells: str, order: list[int] | None = None) -> list[dict[str, Any]]:
        """The cells' outputs and displays, in the ``order`` of their execution, by default each once."""
        told = json.dumps({"cells": cells, "order": list(range(len(cells))) if order is None else order})
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.notebook_kernel"], input=told, capture_output=True, text=True,
            env=self.env, cwd=self.folder, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result: list[dict[str, Any]] = json.loads(done.stdout)
        return result

    def runs(self) -> list[dict[str, Any]]:
        """What `otel-pipeline runs` knows."""
        done = subprocess.run(
            [str(BIN / "otel-pipeline"), "runs", "--json"], capture_output=True, text=True, env=self.env,
            cwd=self.folder, timeout=120, check=True,
        )  # fmt: skip
        result: list[dict[str, Any]] = json.loads(done.stdout)
        return result


@pytest.fixture
def jupyter(tmp_path: Path) -> Jupyter:
    """Jupyter, with a home of its own."""
    return Jupyter(tmp_path)


def texts(outputs: list[dict[str, Any]]) -> list[str]:
    """The texts of outputs; what a stream brings in parts is one, and an empty one is what a display has left."""
    found: list[str] = []
    stream = None
    for output in outputs:
        text = output.get("text") or output.get("ename") or output["data"]["text/plain"]
        if not text:
            continue
        if stream is not None and output.get("name") == stream:
            found[-1] += text
        else:
            found.append(text)
        stream = output.get("name")
    return found


def test_a_cell_is_a_run_each_time(jupyter: Jupyter) -> None:
    """Executed again a cell is another run, `setup` the same; one that fails is a failure, and the kernel goes on."""
    good = "with op.pipeline('orders') as run, op.stage('load') as stage:\n    stage.add(records_in=7)\nprint(run.id)"
    bad = "with op.pipeline('broken'):\n    raise ValueError('no customer')"
    first, one, failed, again, two = (
        each["outputs"] for each in jupyter.execute(SETUP, good, bad, order=[0, 1, 2, 0, 1])
    )
    assert (first, again) == ([], [])
    ids = []
    for outputs in (one, two):
        summary, printed = texts(outputs)
        assert summary.startswith(" ✔ success   orders")
        assert " load " in summary
        assert "\x1b" not in summary
        ids.append(printed.strip())
    summary, error = texts(failed)
    assert summary.startswith(" ✘ failure   broken")
    assert "no customer" in summary
    assert error == "ValueError"
    runs = jupyter.runs()
    assert {run["run_id"] for run in runs if run["pipeline"] == "orders"} == set(ids)
    assert len(set(ids)) == 2
    assert sorted(run["result"] for run in runs) == ["failure", "success", "success"]


def test_progress_is_one_display(jupyter: Jupyter) -> None:
    """A run that lasts shows one display, updated, and empty when it ends; a short one only its summary."""
    cells = [
        SETUP,
        "with op.pipeline('short'): pass",
        "shown = lambda: handle._progress._display._id is not None\n"
        "with op.pipeline('slow'), op.stage('load') as stage:\n"
        "    stage.add(records_in=1234)\n"
        "    while not shown(): time.sleep(0.01)\n"
        "    print('printed')\n",
        "print('after')",
    ]
    _, short, slow, after = jupyter.execute(*cells)
    assert [text.split()[2] for text in texts(short["outputs"])] == ["short"]
    kinds = [kind for kind, _ in slow["displayed"]]
    (_, first), *_, (_, last), (_, summary) = sorted(slow["displayed"], key=lambda shown: "success" in shown[1])
    assert kinds.count("display_data") == 2
    assert first.startswith("slow · ")
    assert "  load  " in first
    assert "1,234 in" in first
    assert last == ""
    assert summary.startswith(" ✔ success   slow")
    assert texts(slow["outputs"]) == ["printed\n", summary]
    assert texts(after["outputs"]) == ["after\n"]


def test_await_and_async_generators_at_the_top_of_a_cell(jupyter: Jupyter) -> None:
    """The kernel's event loop runs already: blocks, coroutines and async generators work in it as elsewhere."""
    cells = [
        SETUP + "\nimport asyncio",
        "@op.stage\n"
        "async def rows():\n"
        "    for number in range(5):\n"
        "        await asyncio.sleep(0)\n"
        "        yield number\n"
        "@op.stage\n"
        "async def load(rows):\n"
        "    return sum([row async for row in rows])\n"
        "async with op.pipeline('streaming'):\n"
        "    total = await load(rows())\n"
        "print(total)",
        "print(op.current_run().name)",
    ]
    _, streaming, after = jupyter.execute(*cells)
    summary, printed = texts(streaming["outputs"])
    assert summary.startswith(" ✔ success   streaming")
    assert printed == "10\n"
    assert texts(after["outputs"]) == ["detached\n"]
    (run,) = jupyter.runs()
    assert run["pipeline"] == "streaming"


def test_it_can_be_turned_off(jupyter: Jupyter) -> None:
    """Nothing of ours is among the outputs then."""
    cells = [
        "import otel_pipeline as op\nhandle = op.setup('notebook', summary='never', progress='never')",
        "with op.pipeline('quiet'): print('printed')\nprint(handle._progress)",
    ]
    _, quiet = jupyter.execute(*cells)
    assert texts(quiet["outputs"]) == ["printed\nNone\n"]


def test_the_page_on_notebooks(jupyter: Jupyter) -> None:
    """The cells of docs/notebooks.md, in their order, in a kernel."""
    page = (ROOT / "docs" / "notebooks.md").read_text("utf-8")
    cells = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    assert len(cells) >= 3
    done = jupyter.execute(*cells)
    errors = [output for each in done for output in each["outputs"] if output["output_type"] == "error"]
    assert errors == []
