"""Wrapping methods of the standard library, beside others who do, and putting them back."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import pytest
from wrapt import wrap_function_wrapper

from otel_pipeline.sdk import patching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    yield
    patching.undo()


class Base:
    """Has a method of each kind."""

    def method(self, word: str) -> str:
        """See the class."""
        return f"{type(self).__name__} {word}"

    @classmethod
    def of_class(cls, word: str) -> str:
        """See the class."""
        return f"{cls.__name__} {word}"

    @staticmethod
    def static(word: str) -> str:
        """See the class."""
        return word


def loudly(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: original(*args) + "!"


def test_each_kind_of_method_is_wrapped_and_put_back() -> None:
    """Called on the class, an object and a subclass."""
    before = dict(vars(Base))
    for name in ("method", "of_class", "static"):
        patching.replace(Base, name, loudly)
    below = type("Below", (Base,), {})
    assert [below().method("a"), below.of_class("b"), Base().static("c")] == ["Below a!", "Below b!", "c!"]
    patching.undo()
    assert dict(vars(Base)) == before


def test_a_method_that_another_instrumentation_has_wrapped() -> None:
    """Its wrapper still gets the object apart from the arguments, as wrapt does it."""
    owner = type("Owner", (), {"method": lambda self, word: word})
    seen: list[Any] = []

    def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append((instance, args))
        return wrapped(*args, **kwargs)

    wrap_function_wrapper(owner, "method", wrapper)
    patching.replace(owner, "method", loudly)
    thing = owner()
    assert thing.method("a") == "a!"
    assert seen == [(thing, ("a",))]


def test_a_module_is_patched_once_for_each_time_that_it_is_asked() -> None:
    """Now where it is loaded; and again after everything was put back."""
    seen: list[types.ModuleType] = []
    patching.when_imported("types", seen.append)
    patching.undo()
    patching.when_imported("types", seen.append)
    assert seen == [types, types]
