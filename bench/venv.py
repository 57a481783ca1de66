"""The environment that the measured processes run in: the peers and this checkout, apart from the project's own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers.txt"
_OURS = f"{ROOT}[server]"
CACHE = Path.home() / ".cache" / "otel_pipeline"

_VERSIONS = """
import importlib.metadata as m, json, sys
print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))
"""


def python() -> Path:
    """The interpreter of the environment, which is made when `peers.txt` or Python's version is new.

    Raises CalledProcessError when pip cannot install the peers.
    """
    known = f"{PEERS.read_text()}{sys.version}{_OURS}"
    folder = CACHE / f"bench-venv-{hashlib.sha256(known.encode()).hexdigest()[:12]}"
    found = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "complete"  # an installation that was interrupted is made again
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"bench: installing the peers of {PEERS.relative_to(ROOT)}, once", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # In one go: packages added one by one would be resolved against each other's leftovers.
        subprocess.run([*install, "--requirement", str(PEERS), "--editable", _OURS], check=True)
        done.touch()
    return found


def versions(interpreter: str | Path) -> dict[str, str]:
    """The installed version of each peer."""
    lines = [line.partition(">=")[0] for line in PEERS.read_text().splitlines() if line and not line.startswith("#")]
    found = subprocess.run([interpreter, "-c", _VERSIONS, *lines], check=False, capture_output=True, text=True)
    return dict(json.loads(found.stdout)) if found.returncode == 0 else {}


def commit() -> str:
    """Which state of this checkout is measured; `+` where files differ from the commit. Empty without git."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""
