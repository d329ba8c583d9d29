"""Sheets of public files: what they are of, and which of them are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.schemas import Access, AccessMode
from selection.answering import sheets
from selection.answering.heads import Heads
from selection.answering.sheets import Sheets

if TYPE_CHECKING:
    from conftest import Story


@pytest.fixture
def heads() -> Heads:
    return Heads("https://dl.example/")


def test_a_sheet_is_that_of_the_file_that_a_target_names(story: Story, heads: Heads) -> None:
    file = story.shown("dir/ü a~(1).iso")
    known = Sheets(story.view(), heads)
    for target in (b"/dir/%C3%BC%20a~(1).iso", b"/dir/%c3%bc%20a%7E%281%29.iso"):
        assert known.of(target) == heads.sheet(file)
        assert heads.sheet(file).tail == b"/%C3%BC%20a~%281%29.iso"


@pytest.mark.parametrize("target", [b"/b.iso", b"/a.iso?x", b"/a.iso%00", b"/members.iso", b"/"])
def test_what_is_no_public_files_plain_address_has_none_however_often(
    story: Story, heads: Heads, target: bytes
) -> None:
    story.published("a.iso")
    story.published("members.iso", access=Access(mode=AccessMode.TICKET))
    known = Sheets(story.view(), heads)
    assert [known.of(target) for _ in range(3)] == [None, None, None]


def test_a_sheet_is_kept_from_the_second_time_on(story: Story, heads: Heads) -> None:
    story.published("a.iso")
    known = Sheets(story.view(), heads)
    first, second, third = (known.of(b"/a.iso") for _ in range(3))
    assert first == second == third
    assert first is not second
    assert second is third


def test_sheets_are_as_the_view_is_now(story: Story, heads: Heads) -> None:
    view = story.view()
    known = Sheets(view, heads)
    for generation, size_bytes in enumerate((1000, 2000), 1):
        story.published("a.iso", generation=generation, size_bytes=size_bytes)
        for envelope in story.said:
            view.apply(envelope, heard_s=0.0)
        told = [known.of(b"/a.iso") for _ in range(3)]
        assert [sheet and sheet.file.size_bytes for sheet in told] == [size_bytes] * 3


def test_where_too_many_are_kept_the_one_that_was_kept_first_goes(
    story: Story, heads: Heads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "SHEETS_KEPT", 2)
    targets = [b"/a.iso", b"/b.iso", b"/c.iso"]
    for target in targets:
        story.published(target.decode().removeprefix("/"))
    known = Sheets(story.view(), heads)
    first, *others = [[known.of(target), known.of(target)][1] for target in targets]
    assert all(known.of(target) is sheet for target, sheet in zip(targets[1:], others, strict=True))
    again = known.of(targets[0])
    assert again == first
    assert again is not first
