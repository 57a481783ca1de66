"""With which status ``sys.exit`` has ended the program.

When the interpreter leaves, Python has forgotten the SystemExit that made it do so. Thus ``sys.exit`` is watched: each
call notes the frame of the script's own module below it, and how that frame ended tells whether the exit went through.

``raise SystemExit(3)`` without ``sys.exit`` leaves no trace in the process: only ``otel-pipeline run`` sees that.
"""

from __future__ import annotations

import dis
import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType


class _Last:
    """The last call: its argument, and the frame of the script's module, which lives as long as the script anyway.

    The exception is not kept: with its traceback it would keep every object alive that the frames between hold.
    """

    status: Any = None
    script: FrameType | None = None


def watch() -> None:
    """Note each ``sys.exit`` from now on; whatever stands there is called as ever."""
    original = sys.exit

    @functools.wraps(original)
    def exit(*args: Any, **kwargs: Any) -> Any:
        script = _script_below(sys._getframe(1))
        if script is not None:
            _Last.status, _Last.script = args[0] if args else None, script
        return original(*args, **kwargs)

    sys.exit = exit


def seen() -> SystemExit | None:
    """The last ``sys.exit``, if it ended the script: not one that was caught so that the script came to its end."""
    script = _Last.script
    if script is None or _returned(script):
        return None
    return SystemExit(_Last.status)


def _script_below(frame: FrameType | None) -> FrameType | None:
    # On another thread there is none: sys.exit ends that thread alone.
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            return frame
        frame = frame.f_back
    return None


def _returned(frame: FrameType) -> bool:
    """Whether its last instruction was a return: an exception that goes through leaves it at another one."""
    return frame.f_lasti >= 0 and dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")
