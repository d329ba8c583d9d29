"""The list of files names each mirror that holds one, in pages of a size that a server can write."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import pytest

from events.schemas import Access, AccessMode
from selection.answering.surface import filelist
from selection.answering.surface.filelist import FILES_AT_ONCE, holders_of, list_files, names_by_number

if TYPE_CHECKING:
    from conftest import Story

STRANGER: Final = ip_address("203.0.113.9")


async def test_file_is_told_with_all_who_hold_it_by_name(story: Story) -> None:
    story.published("a.iso")
    for name, held in (("cleo", ["a.iso"]), ("bob", []), ("ana", ["a.iso"])):
        story.serving(name, held)
    told = await list_files(story.view(), "", STRANGER, limit=10)
    assert [(file.path, file.mirrors) for file in told.files] == [("a.iso", ["ana", "cleo"])]
    assert told.next is None


async def test_page_ends_where_it_names_too_many_mirrors_and_the_next_goes_on(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"{number}.iso" for number in range(5)]
    for path in paths:
        story.published(path)
    for name in ("ana", "bob"):
        story.serving(name, paths)
    monkeypatch.setattr(filelist, "COPIES_PAGE_MAX", 3)
    view, after, pages = story.view(), "", list[list[str]]()
    while (told := await list_files(view, after, STRANGER, limit=10)).next is not None:
        pages.append([file.path for file in told.files])
        after = told.next
    assert [*pages, [file.path for file in told.files]] == [paths[:2], paths[2:4], paths[4:]]


async def test_hidden_files_begin_no_page_and_end_none(story: Story) -> None:
    for number in range(FILES_AT_ONCE + 5):
        story.published(f"{number:03}.iso", access=Access(mode=AccessMode.TICKET))
    story.published("visible.iso")
    told = await list_files(story.view(), "", STRANGER, limit=10)
    assert ([file.path for file in told.files], told.next) == (["visible.iso"], None)
    everything = await list_files(story.view(), "", None, limit=1000)
    assert len(everything.files) == FILES_AT_ONCE + 6


def test_nobody_holds_what_nobody_has(story: Story) -> None:
    story.published("a.iso")
    view = story.view()
    (file,) = view.catalogue.files()
    assert holders_of(file, view, names_by_number(view)) == []
