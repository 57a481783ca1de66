"""Reads the deployment's files for the tests beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "collector-config"

# The Collector's own syntax: ${env:NAME} or ${env:NAME:-default}.
_FROM_ENVIRONMENT = re.compile(r"\$\{env:(\w+)(?::-([^}]*))?\}")


def load(path: Path) -> dict[str, Any]:
    """A YAML file's content."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def compose() -> dict[str, Any]:
    """The content of docker-compose.yml."""
    return load(REPOSITORY / "docker-compose.yml")


def services() -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml by name."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def settings_read(path: Path) -> dict[str, set[str]]:
    """The environment variables that a configuration reads, each with the defaults that it is given there."""
    found: dict[str, set[str]] = {}
    for name, default in _FROM_ENVIRONMENT.findall(path.read_text()):
        found.setdefault(name, set()).add(default)
    return found


def pins() -> dict[str, str]:
    """The versions that scripts/backends builds, by program."""
    text = (REPOSITORY / "scripts" / "backends").read_text()
    (line,) = re.findall(r"^prometheus=.*$", text, re.MULTILINE)
    return dict(pin.split("=") for pin in line.split())
