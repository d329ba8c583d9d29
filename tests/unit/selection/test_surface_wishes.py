"""In which form a visitor wants a file told."""

from __future__ import annotations

import pytest

from selection.answering.surface.wishes import Form, accepts, is_on, split_suffix, wish_of

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
ARIA2 = "*/*,application/metalink4+xml,application/metalink+xml"


@pytest.mark.parametrize(
    ("query", "accept", "suffix", "form"),
    [
        pytest.param({}, "", None, Form.REDIRECT, id="nothing said"),
        pytest.param({}, "*/*", None, Form.REDIRECT, id="anything"),
        pytest.param({}, BROWSER, None, Form.REDIRECT, id="a browser"),
        pytest.param({}, ARIA2, None, Form.METALINK4, id="aria2"),
        pytest.param({}, "application/json, text/plain, */*", None, Form.MIRRORBITS, id="a library of JavaScript's"),
        pytest.param({}, "application/metalink+xml", None, Form.METALINK3, id="an old client"),
        pytest.param({}, "application/json;q=0", None, Form.REDIRECT, id="refused by name"),
        pytest.param({}, "application/json;q=0.1, application/metalink4+xml;q=0.9", None, Form.METALINK4, id="weighed"),
        pytest.param({}, "application/json;q=much", None, Form.REDIRECT, id="weighed in words"),
        pytest.param({}, "application/json;q=nan", None, Form.REDIRECT, id="weighed by no number"),
        pytest.param({}, "Application/JSON", None, Form.MIRRORBITS, id="in capitals"),
        pytest.param({"sha256": ""}, "application/json", Form.METALINK4, Form.SHA256, id="a query before a suffix"),
        pytest.param({}, "application/json", Form.METALINK4, Form.METALINK4, id="a suffix before Accept"),
        pytest.param({"json": ""}, "*/*", Form.MIRRORLIST, Form.MIRRORLIST, id="a suffix with a switch"),
        pytest.param({"": "", "redirect": "1"}, "*/*", None, Form.REDIRECT, id="a query that is none of ours"),
    ],
)
def test_form_is_named_by_query_then_suffix_then_type(
    query: dict[str, str], accept: str, suffix: Form | None, form: Form
) -> None:
    assert wish_of(query, accept, suffix).form is form


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("dir/a.iso.meta4", ("dir/a.iso", Form.METALINK4)),
        ("a.sha256", ("a", Form.SHA256)),
        (".sha256", None),
        ("dir/.sha256", None),
        ("a.stats", None),
        ("a.json", None),
        ("a.iso", None),
        ("a.", None),
        ("sha256", None),
    ],
)
def test_suffix_needs_a_name_before_it(path: str, split: tuple[str, Form] | None) -> None:
    assert split_suffix(path) == split


@pytest.mark.parametrize(
    ("value", "on"), [("", True), ("1", True), ("true", True), ("0", False), ("False", False), (None, None)]
)
def test_switch_is_on_unless_it_says_no(value: str | None, on: bool | None) -> None:
    assert is_on({} if value is None else {"https": value}, "https") is on


def test_wildcard_names_no_type() -> None:
    assert not accepts("*/*", "text/html")
    assert not accepts("text/*", "text/html")
