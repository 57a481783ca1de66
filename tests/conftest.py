"""What holds for all tests: nothing of theirs lands in the folders of the user who runs them."""

from __future__ import annotations

import os
import tempfile

_home = tempfile.TemporaryDirectory(prefix="otel-pipeline-tests-")
for _name in ("XDG_STATE_HOME", "XDG_DATA_HOME"):
    os.environ[_name] = _home.name
