"""A mirror is asked for nothing that came back before it acted on the withdrawal of what stood there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.envelope import MASTER_SOURCE
from events.names import MirrorName
from events.schemas import CatalogueRestated, FilePublished
from selection.policy.choice import RejectReason

if TYPE_CHECKING:
    from conftest import Kit, Story

ANA = MirrorName("ana")


def back_again(story: Story, *, channels: tuple[str, ...] = ("iso",)) -> FilePublished:
    """A file is withdrawn and published again; a mirror holds it all the time."""
    story.published("a.iso", channels=channels)
    story.serving("ana")
    story.withdrawn("a.iso", channels=(*channels, "origin"))
    return story.published("a.iso", channels=channels, generation=2, body="a.iso")


def test_file_that_came_back_is_not_asked_of_a_mirror_that_has_not_heard_of_the_withdrawal(
    kit: Kit, story: Story
) -> None:
    file = back_again(story)
    rejection = kit.Question(story.view(), file).choice().rejected[ANA]
    assert rejection.reason is RejectReason.UNACKNOWLEDGED
    assert rejection.detail == "from iso"


@pytest.mark.parametrize(
    ("behind", "used"),
    [
        pytest.param(0, True, id="all of it"),
        pytest.param(1, True, id="up to the withdrawal"),
        pytest.param(2, False, id="up to the fact before the withdrawal"),
    ],
)
def test_mirror_is_used_again_when_its_position_shows_that_it_acted(
    kit: Kit, story: Story, behind: int, *, used: bool
) -> None:
    file = back_again(story)
    story.followed("ana", behind=behind)
    for said in (story.said, [*reversed(story.said)]):
        assert (ANA not in kit.Question(kit.view_of(said), file).choice().rejected) is used


def test_inventory_that_came_later_acknowledges_nothing(kit: Kit, story: Story) -> None:
    file = back_again(story)
    story.online("ana")
    story.inventory("ana", ["a.iso"])
    assert kit.Question(story.view(), file).reason("ana") == "unacknowledged"


def test_last_word_of_a_mirror_holds_and_not_its_highest(kit: Kit, story: Story) -> None:
    file = back_again(story)
    story.followed("ana")
    story.followed("ana", behind=2)
    assert kit.Question(story.view(), file).reason("ana") == "unacknowledged"


def test_what_a_mirror_said_before_it_lost_its_database_acknowledges_nothing(kit: Kit, story: Story) -> None:
    file = back_again(story)
    story.followed("ana")
    story.epochs["mirror/ana"] += 1
    story.online("ana")
    story.inventory("ana", ["a.iso"])
    assert kit.Question(story.view(), file).reason("ana") == "unacknowledged"


def test_position_in_an_old_numbering_of_the_master_acknowledges_nothing_of_the_new_one(kit: Kit, story: Story) -> None:
    for number in range(20):
        story.published(f"{number}.iso")
    story.followed("ana")
    story.epochs[MASTER_SOURCE] += 1
    story.channel_numbers.clear()
    file = back_again(story)
    assert kit.Question(story.view(), file).reason("ana") == "unacknowledged"
    story.followed("ana")
    assert kit.Question(story.view(), file).choice().ranked[0].mirror == ANA


def test_withdrawals_of_other_paths_and_from_channels_that_it_does_not_follow_are_nothing_to_a_mirror(
    kit: Kit, story: Story
) -> None:
    story.published("b.iso")
    story.withdrawn("b.iso")
    story.published("a.iso", channels=["beta"])
    story.serving("ana")
    story.withdrawn("a.iso", channels=["beta"])
    file = story.published("a.iso", channels=["beta", "iso"])
    assert kit.Question(story.view(), file).choice().ranked[0].mirror == ANA


def test_withdrawal_from_a_channel_that_no_longer_holds_the_file_does_not_keep_it_from_another(
    kit: Kit, story: Story
) -> None:
    file = story.published("a.iso", channels=["iso", "beta"])
    story.joined("ana", channels=["iso", "beta"])
    story.online("ana")
    story.inventory("ana", ["a.iso"])
    story.load("ana")
    story.withdrawn("a.iso", channels=["beta"])
    assert kit.Question(story.view(), file).choice().ranked[0].mirror == ANA


def test_one_channel_that_is_not_acknowledged_is_enough(kit: Kit, story: Story) -> None:
    file = back_again(story, channels=("beta", "iso"))
    story.joined("ana", channels=["beta", "iso"])
    story.followed("ana", channel="iso")
    assert kit.Question(story.view(), file).choice().rejected[ANA].detail == "from beta"


def test_withdrawal_from_before_a_restatement_is_forgotten_with_all_else(kit: Kit, story: Story) -> None:
    back_again(story)
    since = story.numbers[MASTER_SOURCE, 0] + 1
    file = story.published("a.iso", generation=2)
    story.joined("ana")
    story.master(CatalogueRestated(generation=1, since=since))
    for said in (story.said, [*reversed(story.said)]):
        assert kit.Question(kit.view_of(said), file).choice().ranked[0].mirror == ANA


def test_positions_of_one_mirror_are_bounded(kit: Kit, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selection.view.acknowledgements.POSITIONS_MAX", 2)
    file = back_again(story)
    for channel in ("one", "two", "iso"):
        story.followed("ana", channel=channel)
    assert kit.Question(story.view(), file).reason("ana") == "unacknowledged"
