"""The name of a run that nobody named: from the command that started it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_EVERY_OPTION = "--*"
_SCRIPT_ENDING = re.compile(r"\.(pyw?|pyz|sh|bash|zsh|ksh|exe|cmd|bat)$", re.IGNORECASE)


class _Program(NamedTuple):
    """How a program that runs another one takes its arguments."""

    names: str
    valued: tuple[str, ...] = ()
    """Options whose value is the next word."""
    words: tuple[str, ...] = ()
    """Words between the program and its options, such as ``run``."""
    positionals: int = 0
    """Words of its own after its options, such as the seconds of ``timeout``."""

    def matches(self, argv: Sequence[str]) -> bool:
        return bool(re.fullmatch(self.names, _base(argv[0]))) and tuple(argv[1 : 1 + len(self.words)]) == self.words


_PYTHON = _Program(r"(python|pypy)[\d.]*[dtw]?", ("-X", "-W", "--check-hash-based-pycs"))
_SHELL = _Program(r"(ba|da|z|k|a)?sh", ("-o", "+o", "-O", "+O", "--rcfile", "--init-file"))
_WRAPPERS = (
    _Program("env", ("-u", "--unset", "-C", "--chdir")),
    _Program("nohup|setsid|command|exec"),
    _Program("nice", ("-n", "--adjustment")),
    _Program("ionice", ("-c", "-n")),
    _Program("stdbuf", ("-i", "-o", "-e")),
    _Program("time", ("-f", "-o", "--format", "--output")),
    _Program("timeout", ("-k", "-s", "--kill-after", "--signal"), positionals=1),
    _Program("uv", ("-p", "--python", "--with", "--extra", "--group", "--env-file", "--directory"), words=("run",)),
    _Program("otel-pipeline", ("--name",), words=("run",)),
    _Program("(poetry|pipenv|pdm|hatch|rye)", words=("run",)),
    _Program("opentelemetry-instrument", (_EVERY_OPTION,)),
)


def name_from(argv: Sequence[str]) -> str:
    """The pipeline's name by the command ``argv``, such as ``sys.orig_argv``.

    >>> name_from(["python", "-X", "dev", "jobs/etl.py", "--day", "1"])
    'etl'
    >>> name_from(["python3.12", "-m", "package.mod"])
    'package.mod'
    >>> name_from(["dbt", "run"])
    'dbt'
    >>> name_from(["bash", "-e", "job.sh"])
    'job'
    >>> name_from(["timeout", "-k", "5", "60", "env", "DAY=1", "./load.sh"])
    'load'
    """
    if not argv or not argv[0]:
        return "python"
    if _PYTHON.matches(argv):
        return _python_target(argv[1:]) or "python"
    if _SHELL.matches(argv):
        return _shell_target(argv[1:]) or _base(argv[0])
    for wrapper in _WRAPPERS:
        if wrapper.matches(argv) and (rest := _after(wrapper, argv)):
            return name_from(rest)
    return _script(argv[0])


def _after(wrapper: _Program, argv: Sequence[str]) -> Sequence[str]:
    """The command that the wrapper runs."""
    words = list(argv[1 + len(wrapper.words) :])
    while words and (words[0].startswith("-") or _ASSIGNMENT.match(words[0])):
        option = words.pop(0)
        if option == "--":
            break
        takes_next = option in wrapper.valued or (_EVERY_OPTION in wrapper.valued and "=" not in option)
        if takes_next and words:
            words.pop(0)
    return words[wrapper.positionals :]


def _python_target(words: Sequence[str]) -> str | None:
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in _PYTHON.valued:
            del rest[:1]
        elif not option.startswith("--") and (found := re.match(r"-[abd-ln-zA-VYZ]*([cm])(.*)", option)):
            return None if found[1] == "c" else (found[2] or (rest[0] if rest else None))
        elif option == "-":
            return None
    return _script(rest[0]) if rest else None


def _shell_target(words: Sequence[str]) -> str | None:
    rest = list(words)
    while rest and rest[0][:1] in ("-", "+"):
        option = rest.pop(0)
        if option in _SHELL.valued or re.fullmatch(r"[-+][a-z]*o", option):
            del rest[:1]
        elif re.fullmatch(r"-[a-z]*[cs][a-z]*", option):
            return None
        elif option in ("-", "--"):
            break
    return _script(rest[0]) if rest else None


def _script(path: str) -> str:
    parts = [part for part in re.split(r"[/\\]", path) if part not in ("", ".")]
    if len(parts) > 1 and re.fullmatch(r"__(main|init)__\.pyc?", parts[-1]):
        parts.pop()
    name = parts[-1] if parts else path
    return _SCRIPT_ENDING.sub("", name) or name


def _base(path: str) -> str:
    return re.sub(r"\.exe$", "", re.split(r"[/\\]", path)[-1], flags=re.IGNORECASE)
