"""Grants are minted under the newest key that the master made and the mirror has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.envelope import MASTER_SOURCE
from events.names import ORIGIN, MirrorName
from events.schemas import CatalogueRestated, MirrorLeft
from selection.policy.choice import RejectReason

if TYPE_CHECKING:
    from conftest import Kit, Story

ANA = MirrorName("ana")


def serving(story: Story, *, key_epoch: int) -> None:
    story.joined("ana")
    story.online("ana", key_epoch=key_epoch)
    story.inventory("ana", ["a.iso"])
    story.load("ana")


@pytest.mark.parametrize(
    ("made", "oldest", "has", "minted"),
    [
        pytest.param(3, 2, 3, 3, id="it has the newest"),
        pytest.param(3, 2, 2, 2, id="it has yet to take the newest"),
        pytest.param(3, 1, 1, 1, id="it is two behind and the old one holds"),
        pytest.param(2, 1, 200, 2, id="it claims one that was never made"),
    ],
)
def test_key_is_the_newest_that_both_have(
    kit: Kit, story: Story, made: int, oldest: int, has: int, minted: int
) -> None:
    file = story.published("a.iso")
    serving(story, key_epoch=has)
    story.rotated("ana", key_epoch=made, oldest_epoch=oldest)
    for said in (story.said, [*reversed(story.said)]):
        view = kit.view_of(said)
        assert kit.Question(view, file).choice().ranked[0].mirror == ANA
        assert view.key_epoch(ANA) == minted


def test_without_a_rotation_the_first_key_holds_whatever_the_mirror_says(story: Story) -> None:
    serving(story, key_epoch=7)
    assert story.view().key_epoch(ANA) == 1


def test_mirror_whose_newest_key_opens_nothing_any_more_is_not_eligible_until_it_has_a_newer_one(
    kit: Kit, story: Story
) -> None:
    file = story.published("a.iso")
    serving(story, key_epoch=1)
    story.rotated("ana", key_epoch=3, oldest_epoch=2)
    rejection = kit.Question(story.view(), file).choice().rejected[ANA]
    assert rejection.reason is RejectReason.KEYS_OUTDATED
    assert rejection.detail == "it has that of epoch 1, the oldest that holds is of 2"
    serving(story, key_epoch=3)
    assert kit.Question(story.view(), file).choice().ranked[0].mirror == ANA


def test_mirror_that_left_and_joined_again_begins_at_the_first_key(story: Story) -> None:
    serving(story, key_epoch=3)
    story.rotated("ana", key_epoch=3, oldest_epoch=2)
    story.master(MirrorLeft(mirror=ANA, reason="moved"))
    story.joined("ana")
    (mirror,) = story.view().mirrors()
    assert (mirror.key_epoch, mirror.keys_outdated) == (1, False)


def test_rotation_that_the_master_does_not_say_again_holds_no_longer(kit: Kit, story: Story) -> None:
    serving(story, key_epoch=2)
    story.rotated("ana", key_epoch=2)
    since = story.numbers[MASTER_SOURCE, 0] + 1
    story.joined("ana")
    story.master(CatalogueRestated(generation=1, since=since))
    for said in (story.said, [*reversed(story.said)]):
        assert kit.view_of(said).key_epoch(ANA) == 1


def test_masters_own_copy_is_granted_under_its_newest_key(story: Story) -> None:
    assert story.view().key_epoch(ORIGIN) == 1
    story.rotated("origin", key_epoch=4, oldest_epoch=3)
    assert story.view().key_epoch(ORIGIN) == 4
