"""Filters: which files a channel takes, and which rule decided."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.names import FilePath, Tag
from events.schemas import Filter
from master.errors import InvalidRequestError
from master.filters import DEEP_WILDCARDS_MAX, Rule, Traits, check_filter, decide, matches

ISO = Traits(
    path=FilePath("debian/12/netinst.iso"),
    size_bytes=1_000_000,
    media_type="application/x-iso9660-image",
    tags=(Tag("arch=amd64"), Tag("stable")),
)


@pytest.mark.parametrize(
    ("rules", "rule"),
    [
        pytest.param({}, Rule.ALL, id="no rules take everything"),
        pytest.param({"size_bytes_min": 1_000_000, "size_bytes_max": 1_000_000}, Rule.ALL, id="sizes are inclusive"),
        pytest.param({"size_bytes_min": 1_000_001}, Rule.SIZE_MIN, id="one byte too small"),
        pytest.param({"size_bytes_max": 999_999}, Rule.SIZE_MAX, id="one byte too large"),
        pytest.param({"tags_any": (Tag("nightly"), Tag("stable"))}, Rule.ALL, id="one of the tags will do"),
        pytest.param({"tags_any": (Tag("nightly"),)}, Rule.TAGS_ANY, id="none of the tags"),
        pytest.param({"tags_none": (Tag("stable"),)}, Rule.TAGS_NONE, id="an unwanted tag"),
        pytest.param({"paths_any": ("debian/**",)}, Rule.ALL, id="a folder"),
        pytest.param({"paths_any": ("*.iso",)}, Rule.PATHS_ANY, id="a star stops at a slash"),
        pytest.param({"paths_any": ("**/*.iso",), "paths_none": ("debian/1?/*",)}, Rule.PATHS_NONE, id="left out"),
        pytest.param({"media_types": ("application/*",)}, Rule.ALL, id="a family of media types"),
        pytest.param({"media_types": ("image/*", "text/plain")}, Rule.MEDIA_TYPES, id="another media type"),
    ],
)
def test_the_first_rule_that_does_not_hold_decides(rules: dict[str, Any], rule: Rule) -> None:
    decision = decide(Filter(**rules), ISO)
    assert decision.rule is rule
    assert decision.taken == (rule is Rule.ALL)
    assert decision.detail


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("*", "a/b", False),
        ("**", "a/b", True),
        ("**/x", "x", True),
        ("**/x", "a/b/x", True),
        ("**/x", "ax", False),
        ("a/**/x", "a/x", True),
        ("a/**/x", "a/b/c/x", True),
        ("a**x", "a/b/x", True),
        ("[ab].(iso)+", "[ab].(iso)+", True),
        ("[ab].iso", "a.iso", False),
        ("*a*b*c", "xxaxxbxxc", True),
        ("*ab*ab", "ab", False),
    ],
)
def test_globs_match_whole_paths(glob: str, path: str, expected: bool) -> None:
    assert matches(glob, path) is expected


def _matches_plainly(glob: str, path: str, *, before: str = "/") -> bool:
    """Say the same by trying everything: exponential, and obviously right. ``before`` stands before the glob."""
    if not glob:
        return not path
    if glob.startswith("**/") and before == "/" and _matches_plainly(glob[3:], path):
        return True
    if glob.startswith("**"):
        rest = glob.lstrip("*")
        return any(_matches_plainly(rest, path[start:], before="*") for start in range(len(path) + 1))
    if glob.startswith("*"):
        reach = path.find("/") if "/" in path else len(path)
        return any(_matches_plainly(glob[1:], path[start:], before="*") for start in range(reach + 1))
    fits = bool(path) and (path[0] == glob[0] or (glob[0] == "?" and path[0] != "/"))
    return fits and _matches_plainly(glob[1:], path[1:], before=glob[0])


@given(
    glob=st.lists(st.sampled_from(["a", "b", "?", "*", "/"]), max_size=9).map("".join),
    path=st.text("ab/", max_size=9),
)
@example(glob="a**/", path="a")
def test_globs_match_what_trying_everything_matches(glob: str, path: str) -> None:
    assert matches(glob, path) == _matches_plainly(glob, path)


@given(
    deep=st.sampled_from(["**/a*b", "a/**", "**/a/**", "a**b", "a/**/b*a*b", "**"]), path=st.text("ab/", max_size=10)
)
def test_deep_globs_match_what_trying_everything_matches(deep: str, path: str) -> None:
    assert matches(deep, path) == _matches_plainly(deep, path)


def test_a_glob_that_backtracks_takes_no_time() -> None:
    assert not matches("*a" * 30 + "b", "a" * 250)


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param({"size_bytes_min": 2, "size_bytes_max": 1}, id="no size fits"),
        pytest.param({"size_bytes_min": -1}, id="a negative size"),
        pytest.param({"paths_any": ("/a",)}, id="no path begins with a slash"),
        pytest.param({"paths_none": ("",)}, id="an empty glob"),
        pytest.param({"paths_any": ("**/" * (DEEP_WILDCARDS_MAX + 1),)}, id="too many deep wildcards"),
        pytest.param({"paths_any": ("a",) * 101}, id="too many globs"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        check_filter(Filter(**rules))


def test_media_types_of_a_filter_are_brought_into_lower_case() -> None:
    assert check_filter(Filter(media_types=("Image/*", "TEXT/Plain"))).media_types == ("image/*", "text/plain")
