"""What the surface writes: markup that escapes, metalinks that are XML whatever the name, figures for people."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.names import Digest
from selection.answering.surface.html import Markup, joined, table, tag
from selection.answering.surface.metalink import Document, metalink3, metalink4
from selection.answering.surface.offers import Offer
from selection.answering.surface.words import count_text, distance_text, moment, size_text
from selection.view.file import Digests, Pieces


class Reader(HTMLParser):
    """Collects what a browser would make of markup."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: Markup) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(text=st.text(st.characters(exclude_categories=("Cs", "Cc"))), value=st.text("a<>\"'&;= "))
def test_text_and_attributes_never_become_markup(text: str, value: str) -> None:
    reader = read(tag("p", text, title=value))
    assert (reader.tags, reader.attributes, reader.text) == (["p"], [("title", value)], text)


def test_markup_is_not_escaped_twice() -> None:
    assert joined([tag("b", "<"), "<"]) == "<b>&lt;</b>&lt;"
    assert "<td><b>1</b></td>" in table([("", None)], [[tag("b", 1)]])


def test_row_that_lacks_a_cell_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        table([("a", None), ("b", None)], [["one"]])


@pytest.mark.parametrize("write", [metalink3, metalink4])
@given(name=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_metalink_is_xml_whatever_the_file_is_called(write: Callable[[Document], str], name: str) -> None:
    offer = Offer(mirror="ana", url="https://ana.example/?a=1&b=2", country="PT")
    document = Document(
        name=name,
        size_bytes=0,
        sha256=Digest(bytes(32)),
        digests=Digests(),
        pieces=Pieces(),
        published_at=datetime(2026, 11, 22, tzinfo=UTC),
        origin_url="https://dl.example/x?ticket=1&y",
        offers=[offer],
    )
    root = ET.fromstring(write(document))  # noqa: S314 - our own
    (file,) = (each for each in root.iter() if each.tag.endswith("}file"))
    assert file.get("name") == name.translate({0xFFFE: 0xFFFD, 0xFFFF: 0xFFFD})
    assert [each.text for each in root.iter() if each.tag.endswith("}url")] == [offer.url]
    assert not [each for each in root.iter() if each.tag.endswith("}pieces")]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_900, "99.9 kB"),
        (123_456, "123 kB"),
        (999_900, "1.0 MB"),
        (4_700_000_000, "4.7 GB"),
        (2**63, "9.2 EB"),
    ],
)
def test_size_has_some_three_digits(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


def test_figures_read_easily() -> None:
    assert count_text(1_234_567) == "1\u202f234\u202f567"
    assert distance_text(None) == ""
    assert distance_text(1234.6) == "1\u202f235 km"
    assert moment(1_700_000_000_999_999_999).isoformat() == "2023-11-14T22:13:20+00:00"
