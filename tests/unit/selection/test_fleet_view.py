"""The view as a whole: what is withdrawn, said again, numbered, and lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from events.envelope import MASTER_SOURCE
from events.names import FilePath
from events.schemas import CatalogueRestated, LogOpened

if TYPE_CHECKING:
    from conftest import Kit, Story


def test_withdrawal_that_arrives_before_the_publication_wins(kit: Kit, story: Story) -> None:
    story.published("a.iso")
    story.withdrawn("a.iso")
    assert kit.view_of(reversed(story.said)).file(FilePath("a.iso")) is None


def test_withdrawal_of_a_replaced_generation_leaves_the_new_one(kit: Kit, story: Story) -> None:
    story.published("a.iso", body="old")
    story.published("a.iso", generation=2, body="new")
    story.withdrawn("a.iso", generation=1, body="old")
    file = story.view().file(FilePath("a.iso"))
    assert file is not None
    assert file.sha256 == kit.content("new")
    assert story.view().channels_of(file) == ("iso",)


def test_file_is_kept_without_the_digests_of_its_pieces(kit: Kit, story: Story) -> None:
    whole = story.published("a.iso", size_bytes=3)
    in_pieces = replace(whole, piece_bytes=2, piece_digests=bytes(64))
    kept = kit.view_of([replace(story.said[0], event=in_pieces)]).file(FilePath("a.iso"))
    assert kept is not None
    assert (kept.size_bytes, kept.piece_bytes, kept.piece_digests) == (3, 0, b"")


def test_withdrawn_file_can_be_published_again(story: Story) -> None:
    story.published("a.iso")
    story.withdrawn("a.iso")
    story.published("a.iso")
    assert story.view().file(FilePath("a.iso")) is not None


def test_new_generation_of_the_log_takes_nothing_away(kit: Kit, story: Story) -> None:
    story.published("a.iso")
    story.serving("ana")
    story.master(LogOpened(generation=7))
    view = story.view()
    assert [file.path for file in view.catalogue.files()] == ["a.iso"]
    assert [(mirror.name, view.announced(mirror)) for mirror in view.mirrors()] == [("ana", True)]
    assert view.holders(kit.content("a.iso"))
    assert view.log_generation == 7


def test_what_the_master_does_not_say_again_holds_no_longer(kit: Kit, story: Story) -> None:
    story.published("gone.iso")
    story.published("kept.iso")
    story.serving("ana", ["gone.iso", "kept.iso"])
    story.joined("bob")
    since = len([envelope for envelope in story.said if envelope.source == MASTER_SOURCE]) + 1
    story.published("kept.iso")
    story.joined("ana")
    before = story.view()
    story.master(CatalogueRestated(generation=2, since=since))
    for said in (story.said, [*reversed(story.said)]):
        view = kit.view_of(said)
        assert view.file(FilePath("gone.iso")) is None
        assert [file.path for file in view.catalogue.files()] == ["kept.iso"]
        assert len(view.catalogue) == 1
        assert [(mirror.name, view.followed_by(mirror)) for mirror in view.mirrors()] == [("ana", ("iso",))]
        assert view.holders(kit.content("kept.iso"))
    assert before.file(FilePath("gone.iso")) is not None


def test_missing_events_are_counted_until_they_arrive(kit: Kit, story: Story) -> None:
    story.joined("ana")
    for body in ("one", "two", "three", "four", "five"):
        story.ready("ana", body)
    late = [envelope for envelope in story.said if envelope.source == "mirror/ana" and envelope.sequence in {2, 3}]
    in_time = [envelope for envelope in story.said if envelope not in late]
    assert kit.view_of(in_time).missing_events() == {"mirror/ana": 2}
    assert kit.view_of([*in_time, late[0]]).missing_events() == {"mirror/ana": 1}
    assert kit.view_of([*in_time, *late]).missing_events() == {}
