"""Who holds what: a mirror's last word on each content, and its inventories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.names import FilePath, MirrorName
from events.schemas import (
    DeclineReason,
    ReplicaDeclined,
)

if TYPE_CHECKING:
    from conftest import Kit, Story

ANA = MirrorName("ana")


def test_late_ready_does_not_undo_newer_loss(kit: Kit, story: Story) -> None:
    story.joined("ana")
    story.ready("ana", "a.iso")
    story.lost("ana", "a.iso")
    assert kit.view_of(reversed(story.said)).holders(kit.content("a.iso")) == 0


def test_inventory_replaces_what_was_said_before_and_not_what_was_said_after(kit: Kit, story: Story) -> None:
    story.joined("ana")
    story.ready("ana", "before")
    story.inventory("ana", ["listed", "lost after"], page_size=1)
    story.ready("ana", "after")
    story.lost("ana", "lost after")
    for said in (story.said, [*reversed(story.said)]):
        view = kit.view_of(said)
        held = {name for name in ("before", "listed", "lost after", "after") if view.holders(kit.content(name))}
        assert held == {"listed", "after"}


def test_incomplete_inventory_replaces_nothing(kit: Kit, story: Story) -> None:
    story.joined("ana")
    story.ready("ana", "before")
    story.inventory("ana", ["one", "two"], page_size=1, skip_page=2)
    view = story.view()
    assert view.holders(kit.content("before"))
    assert not view.holders(kit.content("one"))


def test_inventories_that_never_complete_do_not_pile_up(kit: Kit, story: Story) -> None:
    story.joined("ana")
    for _ in range(50):
        story.inventory("ana", ["one", "two"], page_size=1, skip_page=2)
    story.inventory("ana", ["two"])
    assert story.view().holders(kit.content("two"))


def test_what_one_mirror_claims_is_bounded(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selection.view.replicas.CONTENTS_MAX", 10)
    for name in ("ana", "bob"):
        story.joined(name)
    for number in range(30):
        story.ready("ana", f"{number}")
    story.ready("bob", "11")
    view = story.view()
    assert [view.copies(mirror) for mirror in view.mirrors()] == [10, 1]


def test_loss_is_believed_however_much_a_mirror_has_claimed(
    kit: Kit, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selection.view.replicas.CONTENTS_MAX", 3)
    story.joined("ana")
    story.inventory("ana", ["kept", "lost"])
    for number in range(5):
        story.ready("ana", f"{number}")
    story.lost("ana", "lost")
    assert not story.view().holders(kit.content("lost"))
    assert story.view().holders(kit.content("kept"))


def test_inventory_that_is_too_large_is_dropped_and_the_next_one_counts(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selection.view.replicas.CONTENTS_MAX", 10)
    story.joined("ana")
    story.inventory("ana", [f"{number}" for number in range(6)], page_size=1)
    assert story.view().copies(story.view().mirrors()[0]) == 0
    story.inventory("ana", ["small"])
    assert story.view().copies(story.view().mirrors()[0]) == 1


def declined(story: Story, kit: Kit, body: str) -> None:
    event = ReplicaDeclined(
        mirror=ANA,
        sha256=kit.content(body),
        path=FilePath(body),
        generation=1,
        reason=DeclineReason.DISK_FULL,
        detail="",
        retry_after_s=1.0,
    )
    story.mirror("ana", event)


def test_refusal_to_fetch_is_forgotten_when_the_mirror_says_anything_newer(kit: Kit, story: Story) -> None:
    story.joined("ana")
    declined(story, kit, "ready later")
    declined(story, kit, "before the inventory")
    story.inventory("ana", [])
    declined(story, kit, "ready later")
    story.ready("ana", "ready later")
    story.lost("ana", "ready later")
    declined(story, kit, "still")
    for said in (story.said, [*reversed(story.said)]):
        view = kit.view_of(said)
        (mirror,) = view.mirrors()
        names = ("ready later", "before the inventory", "still")
        assert [name for name in names if view.declined(mirror, kit.content(name))] == ["still"]


def test_refusals_to_fetch_are_bounded(kit: Kit, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selection.view.replicas.DECLINED_MAX", 2)
    story.joined("ana")
    for name in ("one", "two", "three"):
        declined(story, kit, name)
    view = story.view()
    (mirror,) = view.mirrors()
    assert [bool(view.declined(mirror, kit.content(name))) for name in ("one", "two", "three")] == [False, True, True]
