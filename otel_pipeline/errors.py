"""The errors that otel_pipeline raises, a tree:

::

    PipelineTelemetryError          anything of ours, to catch all
    ├── ExpectationError            an expectation, schedule or objective cannot be used (also a ValueError)
    ├── SettingError                a setting cannot be used (also a ValueError)
    │   └── AlreadySetUpError       setup() was called again with other settings
    └── UsageError                  a call that cannot mean anything (also a TypeError)

They are raised while a program is being set up or written: a misspelt setting, a wrong argument. Once a pipeline runs,
nothing of ours raises into it.
"""

from __future__ import annotations

__all__ = ["AlreadySetUpError", "ExpectationError", "PipelineTelemetryError", "SettingError", "UsageError"]


class PipelineTelemetryError(Exception):
    """The root of the tree."""


class ExpectationError(PipelineTelemetryError, ValueError):
    """Something that was declared of a pipeline cannot be used; quotes it and says what can."""


class SettingError(PipelineTelemetryError, ValueError):
    """A setting has a name or value that cannot be used; quotes both and says what can."""


class AlreadySetUpError(SettingError):
    """``setup()`` was called a second time with settings that contradict the first call."""


class UsageError(PipelineTelemetryError, TypeError):
    """A decorator or call was used in a way that cannot mean anything."""
