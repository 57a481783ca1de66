"""Prometheus's text format, read strictly: https://prometheus.io/docs/instrumenting/exposition_formats/."""

from __future__ import annotations

import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{((?:{_LABEL})(?:,{_LABEL})*)\}})? (\S+)")
_HELP = re.compile(rf"# HELP ({_NAME}) ((?:[^\\\n]|\\\\|\\n)*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary|untyped)")
_PARTS = {
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("", "_sum", "_count"),
}
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The value of each series; AssertionError where the text is not what Prometheus would read."""
    assert text.endswith("\n")
    types: dict[str, str] = {}
    helped: set[str] = set()
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    current = ""
    for line in text.removesuffix("\n").split("\n"):
        if match := _HELP.fullmatch(line):
            assert match[1] not in helped, f"a second HELP: {line}"
            helped.add(match[1])
        elif match := _TYPE.fullmatch(line):
            assert match[1] not in types, f"a second TYPE: {line}"
            current, types[match[1]] = match[1], match[2]
        else:
            match = _SAMPLE.fullmatch(line)
            assert match is not None, f"no sample: {line!r}"
            parts = _PARTS.get(types[current], ("",))
            assert match[1] in {current + part for part in parts}, f"not below its TYPE {current}: {line}"
            key = match[1], tuple(_labels(match[2] or ""))
            assert len({name for name, _ in key[1]}) == len(key[1]), f"a label twice: {line}"
            assert key not in found, f"a second time: {line}"
            found[key] = float(match[3])
    return found


def _labels(text: str) -> list[tuple[str, str]]:
    pairs = re.findall(rf"({_LABEL})", text)
    return [
        (name, re.sub(r'\\[\\"n]', lambda escape: _ESCAPES[escape[0]], value[1:-1]))
        for name, _, value in (pair.partition("=") for pair in pairs)
    ]
