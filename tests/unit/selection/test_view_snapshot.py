"""Bytes that are no snapshot are known for it, and what no law asks of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from events.names import FilePath
from selection.view.file import Pieces
from selection.view.snapshot import MARK, SnapshotUnusableError, dump, load

if TYPE_CHECKING:
    from conftest import Kit, Story


def test_snapshot_of_nothing_is_a_view_of_nothing(kit: Kit) -> None:
    view = load(dump(kit.view_of([])))
    assert (list(view.catalogue.files()), view.mirrors()) == ([], ())


def test_snapshot_that_is_cut_changed_or_of_another_version_is_unusable(story: Story) -> None:
    story.published("a.iso")
    story.serving("ana")
    whole = dump(story.view())
    changed = bytearray(whole)
    changed[-10] ^= 1
    for broken in (b"", whole[:-1], bytes(changed), whole.replace(b"/1/", b"/2/", 1), MARK):
        with pytest.raises(SnapshotUnusableError):
            load(broken)


def test_snapshot_keeps_what_few_ask_for_and_no_load_report(kit: Kit, story: Story) -> None:
    published = replace(story.published("a.iso", size_bytes=3), piece_bytes=2, piece_digests=bytes(64))
    story.serving("ana")
    view = load(dump(kit.view_of([replace(story.said[0], event=published), *story.said[1:]])))
    file = view.file(FilePath("a.iso"))
    assert file is not None
    assert view.pieces(file) == Pieces(piece_bytes=2, piece_digests=bytes(64))
    (mirror,) = view.mirrors()
    assert mirror.load is None
    assert view.announced(mirror)


def test_files_that_came_and_went_leave_no_trace_in_a_snapshot(story: Story) -> None:
    story.serving("ana", [])
    for number in range(50):
        story.published(f"{number}.iso", channels=["iso"])
        story.ready("ana", f"{number}.iso")
        story.lost("ana", f"{number}.iso")
        story.withdrawn(f"{number}.iso", channels=["origin"])
        story.withdrawn(f"{number}.iso", channels=["iso"])
    view = story.view()
    assert len(view.catalogue) == 0
    again = load(dump(view))
    contents = again.parts.contents
    assert not any((*contents.held.cells, *contents.uses.cells))
    story.published("new.iso")
    again.apply(story.said[-2], heard_s=0.0)
    again.apply(story.said[-1], heard_s=0.0)
    assert [file.path for file in again.catalogue.files()] == ["new.iso"]


def test_numbers_that_need_more_room_than_those_before_are_kept_exactly(story: Story) -> None:
    for number in range(300):
        story.published(f"{number}", generation=1 + number, size_bytes=40**number % 2**60)
    story.channel_numbers["iso"] = 2**40
    story.published("late", generation=2**31 - 1, size_bytes=2**62)
    view = story.view()
    for number in range(300):
        file = view.file(FilePath(f"{number}"))
        assert file is not None
        assert (file.generation, file.size_bytes) == (1 + number, 40**number % 2**60)
    late = load(dump(view)).file(FilePath("late"))
    assert late is not None
    assert (late.generation, late.size_bytes, late.channels) == (2**31 - 1, 2**62, ("iso",))
