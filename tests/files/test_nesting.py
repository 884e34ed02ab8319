"""The depth of brackets, against a parser of JSON and by hand for TOML."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avebench.files.nesting import DEEPEST, too_deep

TEXTS = st.text(st.sampled_from("[]{}\"'#\\\n ab"), max_size=60)


def depth(value: Any) -> int:
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else None
    return 0 if inner is None else 1 + max((depth(one) for one in inner), default=0)


@given(
    st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)),
    st.integers(DEEPEST - 6, DEEPEST + 2),
)
def test_json_is_too_deep_where_its_values_are(value: Any, around: int) -> None:
    for _ in range(around):
        value = [value, "]"]
    text = json.dumps(value)
    found = too_deep(text)
    assert (found is not None) == (depth(value) > DEEPEST)
    if found is not None:
        assert text[found] in "[{"


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("a = " + "[" * 32 + "]" * 32, None),
        ("a = " + "[" * 33 + "]" * 33, 36),
        ("a = [" + "[]," * 50 + "]", None),
        ("# " + "[" * 50, None),
        ("a = '''" + "[" * 50 + "\n'''", None),
        ('a = """' + "[" * 50 + '\\"""\n"""', None),
        ("a = '" + "[" * 50 + "'\nb = " + "[" * 40, 57 + 4 + 32),
        ('"' + "[" * 50, None),
    ],
)
def test_toml_with_its_strings_and_comments(text: str, deep: int | None) -> None:
    assert too_deep(text) == deep
