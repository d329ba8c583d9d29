"""Two views that know the same have no differences, however they number things; each other one is named."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

import pytest

from events.schemas import AddressPolicy, Availability, LossReason
from selection.view.differences import Subject, differences
from selection.view.snapshot import dump, load

if TYPE_CHECKING:
    from conftest import Kit, Story

CASES: list[tuple[Subject, str, Callable[[Story], object]]] = [
    (Subject.FILE, "d.iso sha256", lambda story: story.published("d.iso")),
    (Subject.FILE, "-/held/d.iso sha256", lambda story: story.published("-/held/d.iso")),
    (Subject.FILE, "a.iso generation", lambda story: story.published("a.iso", generation=2, body="new")),
    (Subject.FILE, "a.iso channels", lambda story: story.withdrawn("a.iso", channels=["iso"])),
    (Subject.CHANNEL, "iso", lambda story: story.defined("iso", AddressPolicy.STRICT)),
    (Subject.MIRROR, "dia joined_sequence", lambda story: story.joined("dia")),
    (Subject.MIRROR, "ana opening", lambda story: story.available("ana", Availability.PAUSED)),
    (Subject.MIRROR, "ana rotated", lambda story: story.rotated("ana", key_epoch=2)),
    (Subject.SUBSCRIPTION, "ana", lambda story: story.joined("ana", channels=["beta"])),
    (Subject.COPY, "a.iso", lambda story: story.lost("ana", "a.iso")),
    (Subject.COPY, "d.iso", lambda story: story.ready("ana", "d.iso")),
    (Subject.INVENTORY, "ana", lambda story: story.inventory("ana", ["a.iso", "b.iso"])),
    (Subject.WITHDRAWAL, "a.iso iso", lambda story: story.withdrawn("a.iso", channels=["iso"])),
    (Subject.POSITION, "ana iso", lambda story: story.followed("ana")),
    (Subject.REASON, "ana a.iso lost", lambda story: story.lost("ana", "a.iso", LossReason.CORRUPT)),
]


@pytest.fixture
def fleet(story: Story) -> Story:
    """Some of everything that a view keeps."""
    story.defined("iso", AddressPolicy.OFF)
    for name in ("ana", "bob", "cat"):
        story.serving(name, ["a.iso", "b.iso"])
    story.published("a.iso", tags=["metadata"])
    story.published("b.iso")
    story.published("-/held/c.iso", body="c")
    story.withdrawn("b.iso", channels=["iso"])
    story.followed("bob")
    story.lost("cat", "a.iso")
    return story


def test_views_that_number_everything_otherwise_know_the_same(fleet: Story, kit: Kit) -> None:
    other = list(fleet.said)
    Random(1).shuffle(other)  # noqa: S311 - any order
    assert list(differences(fleet.view(), kit.view_of(other))) == []


def test_view_that_was_written_and_read_again_knows_the_same(fleet: Story) -> None:
    assert list(differences(fleet.view(), load(dump(fleet.view())))) == []


def test_load_reports_are_no_difference(fleet: Story) -> None:
    before = fleet.view()
    fleet.load("ana", active=3)
    assert list(differences(before, fleet.view())) == []


@pytest.mark.parametrize(("subject", "name", "more"), CASES)
def test_what_one_view_knows_beyond_the_other_is_named(
    fleet: Story, kit: Kit, subject: Subject, name: str, more: Callable[[Story], object]
) -> None:
    before = fleet.view()
    more(fleet)
    wanted = name.replace("a.iso", kit.content("a.iso").hex()) if subject in {Subject.COPY, Subject.REASON} else name
    wanted = wanted.replace("d.iso", kit.content("d.iso").hex()) if subject is Subject.COPY else wanted
    there = {(found.subject, found.name): found for found in differences(before, fleet.view())}
    back = {(found.subject, found.name): found for found in differences(fleet.view(), before)}
    assert (subject, wanted) in there
    assert there.keys() == back.keys()
    assert all((found.left, found.right) == (back[key].right, back[key].left) for key, found in there.items())
