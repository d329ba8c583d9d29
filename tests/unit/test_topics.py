"""Topic matching against the examples of AMQP and against a plain definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.topics import matches


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("file.iso.#", "file.iso.published", True),
        ("file.iso.#", "file.iso", True),
        ("file.iso.#", "file.isolinux.published", False),
        ("file.*.published", "file.iso.published", True),
        ("file.*.published", "file.published", False),
        ("*", "", False),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("#.b.#", "a.b.c", True),
        ("#.b", "b.b.b", True),
        ("a.#.#.b", "a.b", True),
        ("a.*.#", "a", False),
        ("a.*.#", "a.b", True),
    ],
)
def test_a_pattern_matches_as_amqp_says(pattern: str, key: str, expected: bool) -> None:
    assert matches(pattern, key) is expected


def plainly(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(plainly(pattern[1:], words[taken:]) for taken in range(len(words) + 1))
    return bool(words) and pattern[0] in {"*", words[0]} and plainly(pattern[1:], words[1:])


words = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=6)
patterns = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=6)


@given(patterns, words)
def test_matching_agrees_with_the_plain_definition(pattern: list[str], key: list[str]) -> None:
    assert matches(".".join(pattern), ".".join(key)) is plainly(pattern, key)


def test_many_hashes_cost_no_exponential_time() -> None:
    assert not matches(".".join(["#", "a"] * 40), ".".join(["a"] * 39 + ["b"]))
