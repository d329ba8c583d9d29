"""The view as a whole: what is withdrawn, said again, numbered, and lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from events.envelope import MASTER_SOURCE
from events.names import FilePath, held_path
from events.schemas import CatalogueRestated, LogOpened
from selection.view.file import Digests, Pieces

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
    assert file.channels == ("iso",)


def test_digests_of_a_files_pieces_and_its_other_digests_are_given_apart(kit: Kit, story: Story) -> None:
    whole = story.published("a.iso", size_bytes=3)
    in_pieces = replace(whole, piece_bytes=2, piece_digests=bytes(64), md5=b"m" * 16, sha1=b"s" * 20)
    view = kit.view_of([replace(story.said[0], event=in_pieces)])
    file = view.file(FilePath("a.iso"))
    assert file is not None
    assert view.pieces(file) == Pieces(piece_bytes=2, piece_digests=bytes(64))
    assert view.digests(file) == Digests(md5=b"m" * 16, sha1=b"s" * 20)


def test_held_file_is_shown_to_nobody_and_its_content_counts_for_mirrors(kit: Kit, story: Story) -> None:
    path = held_path(FilePath("a.iso"))
    story.published(path, body="a.iso")
    story.published("b.iso")
    story.serving("ana", ["a.iso"])
    view = story.view()
    assert view.file(path) is None
    assert [file.path for file in view.catalogue.files()] == ["b.iso"]
    assert len(view.catalogue) == 1
    assert view.holders(kit.content("a.iso"))


def test_folder_gives_what_stands_directly_in_it_in_pages(story: Story) -> None:
    for path in ("a.iso", "a/1", "a/2/x", "a/2/y", "a/3", "a0", "b/z"):
        story.published(path)
    catalogue = story.view().catalogue
    root = catalogue.folder("", limit=10)
    assert (root.subfolders, [file.path for file in root.files], root.next_after) == (
        ("a/", "b/"),
        ["a.iso", "a0"],
        None,
    )
    first = catalogue.folder("a/", limit=2)
    assert (first.subfolders, [file.path for file in first.files], first.next_after) == (("2/",), ["a/1"], "2/")
    rest = catalogue.folder("a/", after="2/", limit=2)
    assert (rest.subfolders, [file.path for file in rest.files], rest.next_after) == ((), ["a/3"], None)
    assert catalogue.folder("c/", limit=2).files == ()


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


def test_event_that_is_passed_over_is_missing_no_more(kit: Kit, story: Story) -> None:
    story.joined("ana")
    for body in ("one", "two", "three"):
        story.ready("ana", body)
    second, third = [envelope for envelope in story.said if envelope.source == "mirror/ana"][-2:]
    view = kit.view_of([envelope for envelope in story.said if envelope is not second])
    assert view.missing_events() == {"mirror/ana": 1}
    view.pass_over("mirror/ana", second.epoch - 1, second.sequence)
    assert view.missing_events() == {"mirror/ana": 1}
    view.pass_over("mirror/ana", second.epoch, second.sequence)
    assert view.missing_events() == {}
    view.pass_over("mirror/ana", third.epoch, third.sequence + 2)
    assert view.missing_events() == {"mirror/ana": 1}
    view.pass_over("mirror/ana", third.epoch + 1, 7)
    assert view.missing_events() == {}
    assert not view.holders(kit.content("one"))
