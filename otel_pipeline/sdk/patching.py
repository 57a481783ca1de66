"""Methods of the standard library that are wrapped, and how they are put back.

Modules that the program may never import are wrapped when it does: loading multiprocessing for everyone costs every
start of every script.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_undo: list[tuple[Any, str, Any]] = []
_hooks: dict[str, Callable[[ModuleType], None]] = {}


def replace(owner: type, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put ``wrap(original)`` in the place of a method; a static or class method stays one."""
    there = owner.__dict__[name]
    _undo.append((owner, name, there))
    if isinstance(there, (staticmethod, classmethod)):
        setattr(owner, name, type(there)(wrap(there.__func__)))
    else:
        # As the class gives it: the wrapper of another instrumentation (wrapt's) finds `self` only when it is bound so.
        setattr(owner, name, wrap(getattr(owner, name)))


def when_imported(name: str, patch: Callable[[ModuleType], None]) -> None:
    """Call ``patch`` with the module, now if it is loaded, else when it is."""
    known = name in _hooks
    _hooks[name] = patch
    if not known:
        register_post_import_hook(functools.partial(_apply, name), name)
    elif name in sys.modules:
        patch(sys.modules[name])


def active() -> bool:
    """Whether anything is wrapped."""
    return bool(_undo)


def undo() -> None:
    """Put all originals back, for tests."""
    for name in _hooks:
        _hooks[name] = _nothing
    while _undo:
        owner, name, original = _undo.pop()
        setattr(owner, name, original)


def _apply(name: str, module: ModuleType) -> None:
    _hooks[name](module)


def _nothing(module: ModuleType) -> None:
    del module
