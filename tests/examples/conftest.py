"""A folder of awkward sources, and the truth about any folder found without the examples' help."""

import ast
import hashlib
import importlib.util
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

Row = tuple[str, str, int]

PARSED = {
    "bom.py": b"\xef\xbb\xbfdef after_bom(): pass\n",
    "cookie.py": b"# -*- coding: latin-1 -*-\nclass Caf\xe9:\n    'Caf\xe9 au lait'\n",
    "crlf.py": b"def one():\r\n    pass\r\n",
    "doubtful.py": b"pattern = '\\d'\n",
    "empty.py": b"",
    "good.py": b"'Brew tea.'\nasync def pour(cup):\n    'Pour into a cup.'\n    def tilt(): pass\nclass Pot: pass\n",
    "surrogate.py": b"def lone():\n    '\\ud800 alone'\n",
}
BROKEN = {
    "codec.py": b"# coding: rot13\nx = 1\n",
    "cookie_unknown.py": b"# coding: no-such-codec\nx = 1\n",
    "deep.py": b"-" * 200_000 + b"1\n",
    "latin_first.py": b"# caf\xe9\nx = 1\n",
    "latin_later.py": b"x = 1\ny = 2\nz = 'caf\xe9'\n",
    "null.py": b"x = 1\0\n",
    "typo.py": b"def (:\n",
}
DUPLICATES = {
    "package/__init__.py": PARSED["empty.py"],
    "package/good_again.py": PARSED["good.py"],
    "package/typo_again.py": BROKEN["typo.py"],
}
IGNORED = {
    "notes.txt": b"def text(): pass\n",
    "site-packages/theirs.py": b"def theirs(): pass\n",
    "package/dist-packages/theirs.py": b"def theirs_too(): pass\n",
}
FUNCTIONS = [("bom.py", "after_bom", 1), ("crlf.py", "one", 1), ("good.py", "pour", 2), ("good.py", "tilt", 4)]
FUNCTIONS += [("surrogate.py", "lone", 1)]
CLASSES = [("cookie.py", "Café", 2), ("good.py", "Pot", 5)]


class Truth(NamedTuple):
    """What a folder holds: paths with sizes, and symbols with their places, each sorted."""

    files: int
    duplicates: int
    unparsable: int
    modules: list[tuple[str, int]]
    functions: list[Row]
    classes: list[Row]


TREE = Truth(
    files=len(PARSED) + len(BROKEN) + len(DUPLICATES),
    duplicates=len(DUPLICATES),
    unparsable=len(BROKEN),
    modules=sorted((path, len(source)) for path, source in PARSED.items()),
    functions=sorted(FUNCTIONS),
    classes=sorted(CLASSES),
)


def find_truth(root: Path, limit: int | None = None) -> Truth:
    """Count with `os.walk`, `hashlib` and `ast.parse` of what the import system would read.

    Not `ast.parse` of the bytes: in comments it lets pass what is not UTF-8, where the interpreter refuses the file.
    """
    paths = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in {"site-packages", "dist-packages"})
        paths += [Path(folder) / name for name in sorted(names) if name.endswith(".py")]
    found: Counter[str] = Counter()
    digests = set()
    modules, functions, classes = [], [], []
    for name in paths[:limit]:
        source = name.read_bytes()
        digest = hashlib.sha256(source).hexdigest()
        if digest in digests:
            found["duplicates"] += 1
            continue
        digests.add(digest)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(importlib.util.decode_source(source))
        except Exception:
            found["unparsable"] += 1
            continue
        path = str(name.relative_to(root)).replace(os.sep, "/")
        modules.append((path, len(source)))
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    functions.append((path, node.name, node.lineno))
                case ast.ClassDef():
                    classes.append((path, node.name, node.lineno))
    return Truth(
        len(paths[:limit]),
        found["duplicates"],
        found["unparsable"],
        sorted(modules),
        sorted(functions),
        sorted(classes),
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make the folder of awkward sources."""
    root = tmp_path / "tree"
    for path, source in {**PARSED, **BROKEN, **DUPLICATES, **IGNORED}.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source)
    return root
