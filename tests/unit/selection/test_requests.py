"""What a visitor's request asks for is read once."""

from __future__ import annotations

import pytest

from events.errors import InvalidNameError
from selection.answering.requests import asked_not_of, path_of


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/a.iso", "a.iso"),
        ("/dir/a%20b.iso", "dir/a b.iso"),
        ("/%C3%A9.iso", "é.iso"),
        ("/a%252Fb", "a%2Fb"),
        ("/100%25", "100%"),
        ("/a+b", "a+b"),
        ("/a%2Fb", "a/b"),
    ],
)
def test_path_is_decoded_once(raw: str, path: str) -> None:
    assert path_of(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        "/",
        "//a",
        "/a/",
        "/../etc/passwd",
        "/a/%2e%2e/b",
        "/a/..%2fb",
        "/a%00b",
        "/a%0d%0ab",
        "/a%5cb",
        "/%ff%fe",
        "/%ed%a0%80",
        "/e%CC%81",
        "/-/api/v1/nothing",
        "/" + "a" * 2000,
    ],
)
def test_path_that_no_file_can_have_is_refused(raw: str) -> None:
    with pytest.raises(InvalidNameError):
        path_of(raw)


def test_mirrors_to_leave_out_are_read_once_each_and_nonsense_not_at_all() -> None:
    values = ["ana", "ana", "../x", "", "bob", "cat", "dia"]
    assert asked_not_of(values, hops_max=3) == ("ana", "bob", "cat")


def test_master_may_be_among_those_who_sent_a_visitor_back_and_is_no_hop() -> None:
    assert asked_not_of(["origin", "ana", "bob", "cat"], hops_max=3) == ("ana", "bob", "cat", "origin")
