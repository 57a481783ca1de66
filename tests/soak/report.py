"""The report: one Markdown file with a section for each soak, of which a run replaces those that it made."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import yaml

from ..e2e.servers import REPOSITORY

REPORT = Path(__file__).with_name("report.md")
HEAD = """# Soak report

Written by `make soak`; each section by `python -m tests.soak NAME`. What the cases are and what is compared stands in
the modules that it names.
"""
PACKAGES = ("otel-pipeline", "opentelemetry-sdk", "protobuf", "grpcio")


@dataclass(frozen=True)
class Section:
    """What one soak found: `lines` of Markdown, and whether all is as it should be.

    `servers` says whether the real ones took part.
    """

    lines: tuple[str, ...]
    passed: bool
    servers: bool = False


def write(name: str, section: Section, path: Path = REPORT) -> None:
    """Put the section `name` in the place of its predecessor."""
    sections = _sections(path.read_text(encoding="utf-8") if path.exists() else "")
    sections[name] = "\n".join((f"## {name}", "", _made_with(section.servers), "", *section.lines, ""))
    path.write_text("\n".join((HEAD, *(sections[each] for each in sorted(sections)))), encoding="utf-8")


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _made_with(servers: bool) -> str:
    versions = [f"{package} {version(package)}" for package in PACKAGES]
    python = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    return f"{date.today().isoformat()}; {python}; {', '.join((*versions, *(_server_versions() if servers else ())))}"


def _server_versions() -> list[str]:
    """Those of docker-compose.yml, to which a test holds what `make backends` builds."""
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return [
        service["image"].rpartition("/")[2].replace(":", " ") for service in services.values() if "image" in service
    ]


def _sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    return {name: f"## {name}\n{body.rstrip()}\n" for name, body in zip(parts[::2], parts[1::2], strict=True)}
