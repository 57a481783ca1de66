"""Methods of the standard library that are wrapped, and how they are put back.

Modules that the program may never import are wrapped when it does: loading multiprocessing for everyone costs every
start of every script.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
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
    _hooks[name] = patch
    if name in sys.modules:
        patch(sys.modules[name])
    elif _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)


def active() -> bool:
    """Whether anything is wrapped."""
    return bool(_undo)


def undo() -> None:
    """Put all originals back, for tests."""
    _hooks.clear()
    if _watch in sys.meta_path:
        sys.meta_path.remove(_watch)
    while _undo:
        owner, name, original = _undo.pop()
        setattr(owner, name, original)


class _Watch:
    """A finder that finds nothing itself: it asks the others, and has the module patched when it has been executed.

    (wrapt has the same, at the price of loading asyncio and ssl: 30 ms at the start of every script.)
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in _hooks:
            return None
        finders = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next((found for finder in finders if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            loader = cast("Any", spec.loader)
            loader.exec_module = functools.partial(_executed, loader.exec_module)
        return spec


def _executed(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    execute(module)
    if (patch := _hooks.get(module.__name__)) is not None:
        with contextlib.suppress(Exception):  # another version of the module: the context does not go along there
            patch(module)


_watch = cast("Any", _Watch())
