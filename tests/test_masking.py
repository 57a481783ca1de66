"""No secret of a hostile table is left, and what is harmless is left as it is."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_pipeline import masking
from otel_pipeline.masking import MASK, RULES, SECRET_NAMES
from tests.known_secrets import HARMLESS, SECRET, TEXTS, VALUES


@pytest.mark.parametrize("hostile", TEXTS)
def test_no_secret_is_left_in_a_text(hostile: str) -> None:
    """In whatever way it is written."""
    masked = masking.text(hostile)
    assert SECRET not in masked, masked
    assert MASK in masked


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_no_secret_is_left_in_a_value(name: str, value: object) -> None:
    """Told by the name, by an option before it, or by what it looks like; however deep."""
    masked = masking.value(name, value)
    assert SECRET not in repr(masked), masked


@pytest.mark.parametrize(("name", "value"), VALUES)
@pytest.mark.parametrize("written", [repr, str, lambda value: json.dumps(value, default=str)])
def test_no_secret_is_left_in_a_value_that_was_written_out(name: str, value: object, written: object) -> None:
    """As a program logs its settings."""
    masked = masking.text(f"settings {written({'day': 1, name: value, 'user': 'etl'})}")  # type: ignore[operator]
    assert SECRET not in masked, masked
    assert "etl" in masked


@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_is_harmless_stays(harmless: str) -> None:
    """To the character: also words, placeholders and addresses that look a little like secrets."""
    assert masking.text(harmless) == harmless


@pytest.mark.parametrize("hostile", [*TEXTS, *HARMLESS])
def test_masked_once_is_masked_for_good(hostile: str) -> None:
    """A text that passes several borders is the same after each."""
    once = masking.text(hostile)
    assert masking.text(once) == once


@pytest.mark.parametrize("hostile", TEXTS)
@pytest.mark.parametrize("wrap", [json.dumps, repr, lambda text: f"Traceback:\n  f({text!r})\nValueError: {text}\n"])
def test_secrets_in_reprs_and_stack_traces(hostile: str, wrap: object) -> None:
    """What holds of a text holds of its repr, of it in JSON, and in a stack trace."""
    assert SECRET not in masking.text(wrap(hostile))  # type: ignore[operator]


_TEXT = (
    "orders customers extract transform load 42 3.14 SELECT id FROM WHERE day = 'monday' /data/in.csv line error "
    "keyboard monkey assign basics passed bypass tokens tokenizer secretary author authored sessions signal 10:30 a=b "
    "https://example.org/a?page=2 http://localhost:4318/v1/traces someone@example.org ValueError: <b> -v --day"
)


@given(
    # Texts of few letters, of which no name of a secret can be made; Hypothesis knows those of our own sources.
    st.lists(st.sampled_from(_TEXT.split()), max_size=12).map(" ".join) | st.text("abxÄ東 01=:<>-/?&'\".,;()[]{}\\\n%$")
)
def test_harmless_text_is_unchanged(harmless: str) -> None:
    """Of words of pipelines, and of any marks and numbers."""
    assert masking.text(harmless) == harmless


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False), st.lists, max_leaves=9))
def test_what_is_no_text_stays(value: object) -> None:
    """Numbers and the like are the same value, in lists too."""
    assert masking.inside(value) == value


@given(st.text(max_size=300), st.sampled_from(TEXTS), st.integers(0, 300))
def test_nothing_raises(text: str, hostile: str, where: int) -> None:
    """Whatever stands around a secret."""
    masking.text(text[:where] + hostile + text[where:])


@pytest.mark.parametrize(
    "piece", ["://a:", "password ", "password=", "mysql -u ", "key='", "-", "token=\\", "curl -u a:", "basic ", "<a:b"]
)
def test_long_texts_take_no_time_beyond_measure(piece: str) -> None:
    """Texts made to be slow (the limit of a log record is 64,000 characters) come to an end."""
    masking.text(piece * (64_000 // len(piece)))


def test_each_rule_masks_its_example() -> None:
    """And is found by its hints; the names are told by one word each."""
    for rule in RULES:
        assert any(hint in rule.example.lower() for hint in rule.hints), rule.name
        assert rule.pattern.search(rule.example), rule.name
        assert MASK in masking.text(rule.example), rule.name
    for _, _, told in SECRET_NAMES:
        assert all(masking.secrecy_of(name) for name in told.split(", ")), told


def test_numbers_are_secret_where_only_a_password_can_be_meant() -> None:
    """A count of tokens is no secret, a password of digits is."""
    assert masking.value("password", 12345678) == MASK
    assert masking.value("gen_ai.token", 512) == 512
    assert masking.value("password", None) is None
    assert masking.value("password", "") == ""
    assert masking.value("api_keys_seen", 3) == 3


def test_the_examples_in_the_module_are_true() -> None:
    """Its docstrings run."""
    assert doctest.testmod(masking).failed == 0


def test_the_page_has_the_whole_list() -> None:
    """docs/privacy.md names each rule, and each kind of name."""
    page = (Path(__file__).parents[1] / "docs" / "privacy.md").read_text("utf-8")
    for told in [rule.name for rule in RULES] + [told for _, _, told in SECRET_NAMES]:
        assert f"\n| {told} |" in page, told
