"""What holds for all tests: nothing of theirs lands in the folders of the user who runs them."""

from __future__ import annotations

import os
import tempfile

from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Our own plugin for pytest would turn off what these tests are about.
os.environ["OTEL_PIPELINE_TESTS"] = "on"

_home = tempfile.TemporaryDirectory(prefix="otel-pipeline-tests-")
for _name in ("XDG_STATE_HOME", "XDG_DATA_HOME"):
    os.environ[_name] = _home.name
