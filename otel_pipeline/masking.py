"""Secrets, and how they are masked before anything leaves the process: one list, two tables, no I/O.

::

    attribute, header, column …   name, value ─► SECRET_NAMES ─► the whole value becomes ***
    message, SQL, URL, command …  text ────────► RULES ────────► what is secret in it becomes ***

It is better to mask a harmless word than to send a password: where a name says that a secret follows, what follows is
masked, whatever it looks like. What is in neither table is left as it is, to the character. docs/privacy.md shows both.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import Any

MASK = "***"


def value(name: str, given: Any) -> Any:
    """The value of something called ``name``, without secrets.

    >>> value("db.password", "hunter2"), value("db.query.text", "ALTER USER a PASSWORD 'hunter2'")
    ('***', "ALTER USER a PASSWORD '***'")
    >>> value("process.command_args", ["etl.py", "--token", "abc", "--day", "monday"])
    ['etl.py', '--token', '***', '--day', 'monday']
    """
    if (secrecy := secrecy_of(name)) and _is_hidden(given, secrecy):
        return type(given)([MASK]) if type(given) in (list, tuple) else MASK
    return inside(given)


def inside(given: Any) -> Any:
    """``given``, its texts without secrets, however deep: in sequences, mappings, data classes. Else it is given back.

    >>> inside({"user": "bob", "auth_token": "abc", "urls": ["https://bob:hunter2@example.org/"]})
    {'user': 'bob', 'auth_token': '***', 'urls': ['https://bob:***@example.org/']}
    """
    kind = type(given)
    if kind is str:
        return _short(given) if len(given) <= _SHORT else text(given)
    if kind is list:
        return _arguments([inside(item) for item in given])
    if kind is tuple:
        return tuple(_arguments([inside(item) for item in given]))
    if kind is int or kind is float or kind is bool or given is None:
        return given
    return _inside_others(given)


def _inside_others(given: Any) -> Any:
    if isinstance(given, str):
        return text(given)
    if isinstance(given, Mapping):
        return {key: value(key, item) if isinstance(key, str) else inside(item) for key, item in given.items()}
    if isinstance(given, bytes):
        return text(given.decode("latin-1")).encode("latin-1")
    if is_dataclass(given) and not isinstance(given, type):
        had = {each.name: getattr(given, each.name) for each in fields(given)}
        changed = {name: new for name, old in had.items() if (new := inside(old)) != old}
        return replace(given, **changed) if changed else given
    if isinstance(given, Sequence) and not isinstance(given, bytearray):
        return _arguments([inside(item) for item in given])
    return given


def text(given: str) -> str:
    """``given`` without secrets.

    >>> text("cannot reach postgresql://etl:hunter2@db/shop?sslmode=require")
    'cannot reach postgresql://etl:***@db/shop?sslmode=require'
    """
    low = given.lower()
    for hint in _HINTS:
        if hint in low:
            break
    else:
        return given  # nearly all: a microsecond
    for rule in RULES:
        if any(hint in low for hint in rule.hints) and (not rule.signs or any(sign in low for sign in rule.signs)):
            given = rule.pattern.sub(rule.instead, given)
    return given


@lru_cache(maxsize=2048)
def secrecy_of(name: str) -> int:
    """What is secret of something called ``name``: 0 nothing, 1 texts, 2 numbers as well.

    >>> secrecy_of("DB_PASSWORD"), secrecy_of("apiToken"), secrecy_of("gen_ai.usage.input_tokens")
    (2, 1, 0)
    """
    low = name.lower()
    if "cookie" not in low and not any(hint in low for hint in _NAMED_HINTS):
        return 0  # nearly all, and so most programs compile none of the patterns
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    words = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    for pattern, secrecy, _ in SECRET_NAMES:
        if re.search(pattern, words):
            return secrecy
    return 0


SECRET_NAMES: tuple[tuple[str, int, str], ...] = (
    (r"passw(?:or)?d|passphrase|(?:^|_)pwd(?:_|$)", 2, "password, passwd, passphrase, pwd"),
    (r"(?:^|_)pass$", 1, "pass"),
    (r"(?:^|_)secrets?(?:_|$)|secret_?(?:access_?)?key", 2, "secret, client_secret, secret_key"),
    (r"(?:^|_)token$|(?:^|_)token_(?:id|value|secret|data)$|(?:auth|access|refresh|id|csrf|bearer)token", 1, "token"),
    (r"(?:api|app|access|private|account|signing|encryption|subscription)_?key", 1, "api_key, access_key, private_key"),
    (r"(?:^|_)(?:authorization|auth)$|(?:^|_)auth_header", 1, "authorization, auth"),
    (r"(?:^|_)cookies?$", 1, "cookie, set-cookie"),
    (r"credential", 1, "credential, credentials"),
    (r"(?:j|php)sess(?:ion)?id|(?:^|_)sessionid$", 1, "sessionid, JSESSIONID, PHPSESSID"),
    (r"(?:^|_)signature$|(?:^|_)sig$", 1, "signature, sig"),
)
"""How names of secrets look, in words joined by ``_`` (``dbPassword`` and ``DB-PASSWORD`` are ``db_password``); whether
numbers are secret too; and how to say it."""


@dataclass(frozen=True)
class Rule:
    """What is masked in texts. It is looked for where one of ``hints`` and, if there are any, of ``signs`` occurs.

    Both are in lower case.
    """

    name: str
    regex: str
    instead: str
    hints: tuple[str, ...]
    example: str
    signs: tuple[str, ...] = ()
    flags: int = re.IGNORECASE | re.DOTALL

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when a text has a hint of it: all of them would be a tenth of the start of every process."""
        return re.compile(self.regex, self.flags)


_NAMED = (
    r"(?:passw(?:or)?d\w*|passphrase|(?<![a-z])secrets?(?![a-z])\w*|client_?secret|secret[_\-]?(?:access[_\-]?)?key"
    r"|(?:api|app|access|private|account|subscription|sharedaccess)[_\-]?key(?:[_\-]?id)?|aws_secret\w*"
    # "unexpected token: )" tells of no secret.
    r"|token(?![a-z])(?!:\s+[\"']?[^\s\d]{0,15}(?:\s|$))|(?:access|auth|refresh|id|csrf)token|credentials?|(?:j|php)?sess(?:ion)?id"
    r"|(?<![a-z])(?:proxy-)?authorization|(?<![a-z])(?:set-)?cookie(?!s)|(?<![a-z])pwd(?![a-z])|(?<![a-z])pass(?==)|(?<![a-z])auth(?==)|(?<=[?&\-_])sig(?:nature)?)"
)
_NAMED_HINTS = ("pass", "secret", "key", "token", "cred", "sess", "pwd", "auth", "sig", "cookie")
# What stands in the place of a value in SQL, formats and code, and what is masked already.
_NO_VALUE = (
    r"(?!\?(?:[\s,;)]|$)|%s(?!\w)|%\(\w+\)s|\$\d{1,2}(?:[\s,;)]|$)"
    r"|(?:null|none|true|false)(?:[\s,;)\]}&\"']|$)|[bruf]?\\{0,8}[\"']?\*\*\*)"
)


def _rule(name: str, pattern: str, instead: str, hints: tuple[str, ...], example: str, *signs: str) -> Rule:
    return Rule(name, pattern, instead, hints, example, signs)


RULES: tuple[Rule, ...] = (
    _rule(
        "private keys",
        r"-----BEGIN (?P<what>[A-Z ]*PRIVATE KEY[A-Z ]*)-----.*?(?:-----END (?P=what)-----|\Z)"
        r"|(?<![A-Za-z0-9+/=\s\\])[A-Za-z0-9+/=\s\\]{16,}-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----",  # where it was cut
        MASK,
        ("key",),
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    ),
    _rule(
        "passwords in URLs",
        # What follows a host is a port: digits alone. A password may hold an @ and, where nobody escaped it, a slash.
        r"(?<=://)(?P<user>[^\s/?#:@\[\"'<>]{0,255}):(?!\d{1,5}(?:[/?#\s\"'),;]|$))(?!/)"
        r"(?:(?!://)[^\s\"'<>]){1,999}@",
        rf"\g<user>:{MASK}@",
        ("://",),
        "postgresql://etl:hunter2@db/shop",
    ),
    _rule(
        "tokens in the place of a user in URLs",
        r"(?<=://)(?=[^\s/?#:@\"'<>]{0,99}\d)[^\s/?#:@\[\"'<>]{16,999}@",
        f"{MASK}@",
        ("://",),
        "https://0123456789abcdef0123@example.org/",
    ),
    _rule(
        "authorization and cookie headers",
        r"(?P<name>(?<![a-z])(?:proxy-)?authorization|(?<![a-z])(?:set-)?cookie)"
        r"(?P<is>\\{0,8}[\"']?\s*[:=]\s*(?:b(?=\\{0,8}[\"']))?\\{0,8}[\"']?)"
        rf"(?![\s\"'\[({{]|{re.escape(MASK)})[^\r\n\"']+",
        rf"\g<name>\g<is>{MASK}",
        ("auth", "cookie"),
        "Authorization: Basic ZXRsOmh1bnRlcjI=",
    ),
    _rule(
        "bearer and basic credentials",
        r"(?P<kind>(?<![a-z])bearer|(?<![a-z])basic)\s+"
        r"(?=[a-z\-._~+/]*[\d=]|[a-z\-._~+/]{24}|\S*(?-i:[a-z][A-Z]))[\w\-.~+/]{6,}=*",
        rf"\g<kind> {MASK}",
        ("bearer", "basic"),
        "Bearer 0123456789abcdef",
    ),
    _rule(
        "XML elements by their names",
        rf"(?P<open><[\w:.\-]{{0,40}}?{_NAMED}>)[^<]+",
        rf"\g<open>{MASK}",
        _NAMED_HINTS,
        "<password>hunter2</password>",
        "<",
    ),
    _rule(
        "values by their names",
        rf"(?P<name>{_NAMED})(?P<is>\\{{0,8}}[\"']?\s*(?:=>|:=|[=:]{{1,2}}|%3d)\s*(?:[bruf](?=\\{{0,8}}[\"']))?){_NO_VALUE}"
        rf"(?:(?P<quote>\\{{0,8}}[\"'])(?:(?!(?P=quote))(?:\\.|.))+"
        r"|\[[^\]]*\]?|\([^)]*\)?|\{[^}]*\}?"
        # Without quotes it ends at a blank, or at a mark that something else follows: password=a,b;user=c is a,b.
        rf"|(?![\"'\\/])(?:[^\s&;,\"'<>)\]}}]|[;,)\]}}](?![\s;,)\]}}]|$|[\w.\-]+\s*[=:]|\\{{0,8}}[\"'])|[\"'](?=\w))+)",
        rf"\g<name>\g<is>\g<quote>{MASK}",
        _NAMED_HINTS,
        "https://example.org/?api_key=abc&page=2",
        *("=", ":", "%3d"),
    ),
    _rule(
        "literals in SQL",
        r"(?P<says>\b(?:identified\s+(?:with\s+\S+\s+)?(?:by|as)(?:\s+password)?|password|secret|credentials)(?:\s+|\s*\(\s*))"
        rf"{_NO_VALUE}(?:(?P<quote>['\"])(?:(?!(?P=quote))(?:\\.|.)|(?P=quote){{2}})+(?=(?P=quote)))",
        rf"\g<says>\g<quote>{MASK}",
        ("identif", "pass", "secret", "cred"),
        "CREATE USER etl IDENTIFIED BY 'hunter2'",
    ),
    _rule(
        "words in SQL",
        rf"(?P<says>\bidentified\s+(?:with\s+\S+\s+)?by\s+){_NO_VALUE}[^\s'\";,()]+",
        rf"\g<says>{MASK}",
        ("identif",),
        "ALTER USER etl IDENTIFIED BY hunter2",
    ),
    _rule(
        "options of commands",
        rf"(?P<option>(?<![\w\-])--?[\w\-]{{0,40}}?{_NAMED}[\w\-]*(?:\s+|\\{{0,8}}[\"'],\s*))"
        rf"(?!-)(?P<quote>\\{{0,8}}[\"']?){_NO_VALUE}(?:(?<=\")[^\"]+|(?<=')[^']+|(?<![\"'])\S+)",
        rf"\g<option>\g<quote>{MASK}",
        _NAMED_HINTS,
        "etl.py --db-password hunter2 --day monday",
        "-",
    ),
    _rule(
        "passwords of known commands",
        r"(?P<command>\bmysql\w*\b[^\s|;&]*(?:\s+[^\s|;&]+){0,40}?\s+[\"']?-p"
        r"|\bsshpass[\"']?,?\s+[\"']?-p[\"']?,?\s*[\"']?"
        r"|\bcurl\b[^\s|;&]*(?:\s+[^\s|;&]+){0,40}?\s+[\"']?(?:-u|--user)[\"']?[\s=,]*[\"']?[^\s:\"']+:)"
        r"(?!\*\*\*)[^\s\"']+",
        rf"\g<command>{MASK}",
        ("mysql", "pass", "curl"),
        "mysqldump -u etl -phunter2 shop",
    ),
    Rule(
        "tokens by their form",
        (
            r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w\-]{16,}|xox[abeprs]-[\w\-]{10,}"
            r"|[sr]k_(?:live|test)_\w{10,}|sk-[\w\-]{20,}|AIza[\w\-]{30,}|npm_\w{30,}|pypi-[\w\-]{16,}"
            r"|eyJ[\w\-]{8,}\.[\w\-]{4,}(?:\.[\w\-]*)?)|(?<=hooks\.slack\.com/services/)[\w/]+"
        ),
        MASK,
        (
            "akia", "asia", "gh", "github", "glpat-", "xox", "k_live_", "k_test_", "sk-", "aiza", "npm_", "pypi-",
            "eyj", "slack",
        ),
        "AKIAIOSFODNN7EXAMPLE",
        flags=0,
    ),
)  # fmt: skip
"""What is masked in texts, in this order: each rule sees what those before it have left."""
_SHORT = 64
_short = lru_cache(maxsize=4096)(text)  # most texts come again and again: names, statuses, statements
_HINTS = tuple(dict.fromkeys(hint for rule in RULES for hint in rule.hints))


def _is_hidden(given: Any, secrecy: int) -> bool:
    if given is None or isinstance(given, bool) or given in ("", (), [], b""):
        return False
    return secrecy == 2 or not isinstance(given, (int, float))


@cache
def _option() -> re.Pattern[str]:
    return re.compile(rf"--?[\w\-]{{0,40}}?{_NAMED}[\w\-]*", re.IGNORECASE)


def _arguments(items: list[Any]) -> list[Any]:
    """The arguments of a command: what follows an option that names a secret is one."""
    if len(items) < 2 or not any(isinstance(item, str) and item.startswith("-") for item in items):
        return items
    words = [item if isinstance(item, str) else "" for item in items]
    for number, (before, word) in enumerate(itertools.pairwise(words), start=1):
        if not word.startswith("-") and _option().fullmatch(before):
            items[number] = words[number] = MASK
    # Those that a command's name tells of: as one line, which has the same words unless one holds a blank.
    masked = text(" ".join(words)).split(" ")
    return masked if words == items and len(masked) == len(items) else items
