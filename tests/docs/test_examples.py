"""What the documentation shows works: marked examples run, links lead to what exists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import markdown

EXAMPLES = [
    example
    for file in (markdown.ROOT / "README.md", *sorted((markdown.ROOT / "docs").rglob("*.md")))
    if file.exists()
    for example in markdown.examples(file)
]
TIMEOUT = 120


def _environment(home: Path) -> dict[str, str]:
    """A user's environment: the package installed, no setting of ours or OpenTelemetry's, an empty home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "XDG_", "PYTEST_"))}
    path = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", "")))
    source = os.pathsep.join(filter(None, (str(markdown.ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PATH": path, "PYTHONPATH": source, "HOME": str(home), "USERPROFILE": str(home)}


def run(example: markdown.Example, folder: Path) -> None:
    """Run an example in ``folder``; raise ``AssertionError`` with its output when it fails."""
    if example.language == "python":
        (folder / "example.py").write_text(example.code, "utf-8")
        steps: list[list[str] | str] = [[sys.executable, "example.py"]]
    elif example.language == "console":
        steps = [*markdown.commands(example.code)]
    else:
        raise AssertionError(f"cannot run a block of {example.language or 'no language'}; want python or console")
    assert steps, "no command: a line that begins with '$ '"
    for step in steps:
        done = subprocess.run(
            step, shell=isinstance(step, str), cwd=folder, env=_environment(folder), timeout=TIMEOUT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.file.name}:{example.line}")
def test_example_runs(example: markdown.Example, tmp_path: Path) -> None:
    """A marked block of README.md or docs/ runs in an empty folder and exits with 0."""
    run(example, tmp_path)


@pytest.mark.parametrize("file", markdown.pages(), ids=lambda file: file.relative_to(markdown.ROOT).as_posix())
def test_links_lead_somewhere(file: Path) -> None:
    """Every relative link leads to a file, and every anchor to a heading of it."""
    faults = [markdown.broken(file, target) for target in markdown.links(file.read_text("utf-8"))]
    assert list(filter(None, faults)) == []


def test_the_index_names_every_page() -> None:
    """docs/README.md links to every page beside it."""
    index = markdown.ROOT / "docs" / "README.md"
    linked = {target.partition("#")[0] for target in markdown.links(index.read_text("utf-8"))}
    assert {file.name for file in index.parent.glob("*.md")} - linked == {"README.md"}


def test_examples_are_found_and_run(tmp_path: Path) -> None:
    """Marked blocks are found with their line and run, others are left alone; a block that fails tells why."""
    file = tmp_path / "page.md"
    file.write_text(
        "# Page\n\n<!-- test: run -->\n```python\nimport otel_pipeline\n```\n\n```python\n1 / 0\n```\n\n"
        "<!-- test: run -->\n\n```console\n$ python -c 'print(1)' \\\n  && cd .\n1\n$ exit 3\n```\n",
        "utf-8",
    )
    good, bad = markdown.examples(file)
    assert (good.line, good.language, good.code) == (4, "python", "import otel_pipeline\n")
    run(good, tmp_path)
    assert markdown.commands(bad.code) == ["python -c 'print(1)'   && cd .", "exit 3"]
    with pytest.raises(AssertionError, match="exit 3"):
        run(bad, tmp_path)


@pytest.mark.parametrize("text", ["<!-- test: rnu -->\n```python\n```\n", "<!-- test: run -->\n\ntext\n"])
def test_a_mark_that_marks_nothing(text: str, tmp_path: Path) -> None:
    """A misspelt mark, or one with no block behind it, is an error: the example would silently not run."""
    file = tmp_path / "page.md"
    file.write_text(text, "utf-8")
    with pytest.raises(ValueError, match="1 marks of examples, of which 0"):
        markdown.examples(file)


def test_links_and_anchors(tmp_path: Path) -> None:
    """Links in code and to other hosts are left alone; missing files, headings and ways out are told."""
    file = tmp_path / "page.md"
    text = (
        "# A `b.c`: d\n## Twice\n## Twice\n[a](#a-bc-d) [b](#twice-1) ![c](no.svg) `[d](x)` [e](https://host/x)\n"
        "[f](../up.md) [g](page.md#none) [h]: \n\n```\n[i](y)\n```\n"
    )
    file.write_text(text, "utf-8")
    assert markdown.links(text) == ["#a-bc-d", "#twice-1", "no.svg", "../up.md", "page.md#none"]
    told = [markdown.broken(file, target, tmp_path) for target in markdown.links(text)]
    assert told == [
        "", "", "no.svg: no such file", "../up.md: outside the repository", "page.md#none: no such heading",
    ]  # fmt: skip
