"""The URL that a visitor is sent to."""

from __future__ import annotations

import pytest

from events.names import FilePath, MirrorName
from selection.answering.links import carried, downloads_at, file_in_url, is_base_url

ANA = MirrorName("ana")
BOB = MirrorName("bob")


@pytest.mark.parametrize(
    ("url", "usable"),
    [
        ("https://m.example", True),
        ("http://[2001:db8::1]:8080/base", True),
        ("http://m.example/a?b", False),
        ("http://m.example/#a", False),
        ("http://user:secret@m.example", False),
        ("ftp://m.example", False),
        ("http://m.example:port", False),
        ("http:///path", False),
        ("http://m.example/\r\nX: y", False),
    ],
)
def test_base_url_is_one_that_can_stand_in_a_header(url: str, *, usable: bool) -> None:
    assert is_base_url(url) is usable


def test_link_ends_in_the_files_name_and_carries_the_mirrors_tried() -> None:
    assert downloads_at("https://m.example/base/") == "https://m.example/base/d/"
    assert file_in_url(FilePath("dir/é a?.iso")) == "%C3%A9%20a%3F.iso"
    assert carried((ANA, BOB), "ticket=t") == "?not=ana&not=bob&ticket=t"
    assert carried((), "ticket=t") == "?ticket=t"
    assert carried((), "") == ""
