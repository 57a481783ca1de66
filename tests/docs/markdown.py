"""What the tests of the documentation need of Markdown: marked examples, links, anchors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
MARK = "<!-- test: run -->"

_FENCE = re.compile(r"^(?P<fence>```+|~~~+)(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=fence)[ \t]*$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"|^\[[^\]]+\]:\s*(\S+)", re.M)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.M)
_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
_OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:", re.I)


class Example(NamedTuple):
    """A fenced block that is marked to be run."""

    file: Path
    line: int
    language: str
    code: str


def pages(root: Path = ROOT) -> list[Path]:
    """Every Markdown file of the repository; hidden folders are not of it."""
    found = (path for path in root.rglob("*.md") if not any(p.startswith(".") for p in path.relative_to(root).parts))
    return sorted(found)


def examples(file: Path) -> list[Example]:
    """The marked blocks of ``file``; a mark that stands before no block, or is misspelt, is an error."""
    text = file.read_text("utf-8")
    found = []
    for block in _FENCE.finditer(text):
        if text[: block.start()].rstrip().endswith(MARK):
            line = text.count("\n", 0, block.start()) + 1
            found.append(Example(file, line, block["language"], block["code"]))
    marks = len(re.findall(r"<!--\s*test\b", _FENCE.sub("", text)))
    if marks != len(found):
        raise ValueError(
            f"{file.name}: {marks} marks of examples, of which {len(found)} are {MARK} before a fenced block"
        )
    return found


def commands(code: str) -> list[str]:
    """The commands of a console block: what stands behind ``$``, with lines continued by a backslash."""
    return [line[2:] for line in code.replace("\\\n", "").splitlines() if line.startswith("$ ")]


def links(text: str) -> list[str]:
    """The targets of links and pictures that lead into the repository."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    targets = (next(filter(None, groups)) for groups in _LINK.findall(prose))
    return [target for target in targets if not _OUTSIDE.match(target)]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of headings, and those that are set by hand."""
    prose = _FENCE.sub("", text)
    seen: dict[str, int] = {}
    found = set(_ANCHOR.findall(prose))
    for heading in _HEADING.findall(prose):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return found


def broken(file: Path, target: str, root: Path = ROOT) -> str:
    """Why ``target`` leads nowhere from ``file``; empty when it leads somewhere."""
    path, _, anchor = target.partition("#")
    wanted = (root / path[1:] if path.startswith("/") else file.parent / path).resolve() if path else file.resolve()
    if not wanted.is_relative_to(root.resolve()):
        return f"{target}: outside the repository"
    if not wanted.exists():
        return f"{target}: no such file"
    if anchor and wanted.suffix == ".md" and anchor not in anchors(wanted.read_text("utf-8")):
        return f"{target}: no such heading"
    return ""
