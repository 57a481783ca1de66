"""Pages that are derived from the code are in step with it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "generate_docs.py"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate_docs = _script()


@pytest.mark.parametrize("page", generate_docs.PAGES, ids=lambda page: page.path)
def test_page_is_in_step(page: object) -> None:
    """Each generated page is what its table gives now; if not: run scripts/generate_docs.py."""
    assert generate_docs.difference(page) == ""


def test_a_stale_page_is_shown(tmp_path: Path) -> None:
    """A page that differs, or is missing, gives a diff that names it."""
    page = generate_docs.PAGES[0]
    (tmp_path / "docs").mkdir()
    assert "+# Semantic conventions" in generate_docs.difference(page, tmp_path)
    (tmp_path / page.path).write_text("# Semantic conventions\n\nold\n", "utf-8")
    assert "-old" in generate_docs.difference(page, tmp_path)


def test_check_mode_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--check`` prints the difference, exits with 1, and writes nothing."""
    monkeypatch.setattr(generate_docs, "PAGES", (generate_docs.Page("docs/no-such-page.md", lambda: "text\n"),))
    assert generate_docs.main(["--check"]) == 1
    assert "+text" in capsys.readouterr().out
    assert not (ROOT / "docs" / "no-such-page.md").exists()


def test_settings_become_rows() -> None:
    """A setting's row has its name, environment variable, type, default and description, whatever it leaves out."""
    full = SimpleNamespace(name="size", env="SIZE", falls_back_to=("OTEL_SIZE",), type=int, default=5, description="d")
    flag = SimpleNamespace(name="flag", env="FLAG", kind="boolean", default=False, description="d")
    bare = SimpleNamespace(name="x", description="d")
    assert generate_docs._setting(full) == ("`size`", "`SIZE`, `OTEL_SIZE`", "int", "`5`", "d")
    assert generate_docs._setting(flag) == ("`flag`", "`FLAG`", "boolean", "`false`", "d")
    assert generate_docs._setting(bare) == ("`x`", "", "", "", "d")
    assert generate_docs._table(("a",), [("b | c",)]).splitlines()[-1] == "| b \\| c |"


def test_the_pictures_are_in_step() -> None:
    """Those of docs/images are what scripts/screenshot draws now, and load nothing from outside."""
    script = ROOT / "scripts" / "screenshot"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"stale: run scripts/screenshot\n{done.stderr}"
    for picture in ("summary", "progress"):
        drawn = (ROOT / "docs" / "images" / f"{picture}.svg").read_text("utf-8")
        addresses = {part.split('"')[0] for part in drawn.split("http")[1:]}
        assert addresses <= {"://www.w3.org/2000/svg"}
        assert "url(http" not in drawn
        assert "@import" not in drawn
