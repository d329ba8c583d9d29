"""A mirror that wants no new visitors gets none; one that spares its quota gets those that nobody else can take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.names import MirrorName
from events.schemas import Availability, Location, MirrorWentOffline
from selection.places.place import Place
from selection.policy.choice import RejectReason

if TYPE_CHECKING:
    from conftest import Kit, Story

ANA, BOB, CAT = MirrorName("ana"), MirrorName("bob"), MirrorName("cat")
PORTO = Location(latitude=41.15, longitude=-8.61, country="PT")
OSLO = Location(latitude=59.91, longitude=10.75, country="NO")
IN_PORTO = Place(latitude=41.15, longitude=-8.61, country="PT")
MONDAY_AT_SEVEN_S = 1_763_967_600


@pytest.mark.parametrize("availability", [one for one in Availability if one is not Availability.OPEN])
def test_mirror_that_takes_no_new_visitors_is_rejected_with_the_reason_until_it_is_open_again(
    kit: Kit, story: Story, availability: Availability
) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.available("ana", availability, until_s=MONDAY_AT_SEVEN_S)
    rejection = kit.Question(story.view(), file).choice().rejected[ANA]
    assert rejection.reason.code == availability.value
    assert rejection.reason.criterion == 3
    assert rejection.detail == "until 2025-11-24 07:00 UTC"
    story.available("ana", Availability.OPEN)
    assert kit.Question(story.view(), file).choice().ranked[0].mirror == ANA


def test_closure_without_an_end_tells_none(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.available("ana", Availability.PAUSED)
    assert kit.Question(story.view(), file).choice().rejected[ANA].detail == ""


def test_pause_outlasts_a_restart_of_the_mirror(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.available("ana", Availability.PAUSED)
    story.mirror("ana", MirrorWentOffline(mirror=ANA, reason="stopped"))
    story.online("ana")
    story.inventory("ana", ["a.iso"])
    assert kit.Question(story.view(), file).reason("ana") == "paused"


def test_pause_is_forgotten_with_all_else_that_a_mirror_said_in_a_numbering_that_ended(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.available("ana", Availability.PAUSED)
    story.epochs["mirror/ana"] += 1
    story.online("ana")
    story.inventory("ana", ["a.iso"])
    assert kit.Question(story.view(), file).choice().ranked[0].mirror == ANA


@pytest.mark.parametrize(("silent", "reason"), [(False, "closed"), (True, "silent")])
def test_closed_mirror_that_cannot_be_heard_is_called_silent(
    kit: Kit, story: Story, reason: str, *, silent: bool
) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.available("ana", Availability.CLOSED)
    assert kit.Question(story.view(), file, now_s=11.0 if silent else 0.0).reason("ana") == reason


def test_mirror_that_spares_its_quota_comes_after_all_others_however_near_it_is(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", location=PORTO)
    story.load("ana", sparing=True)
    story.serving("bob", location=OSLO)
    story.serving("cat")
    choice = kit.Question(story.view(), file, place=IN_PORTO).choice()
    assert [candidate.mirror for candidate in choice.ranked] == [BOB, CAT, ANA]
    assert choice.rejected[ANA].reason is RejectReason.SPARING
    assert choice.rejected[ANA].reason.criterion == 5


def test_mirrors_that_spare_their_quota_serve_when_only_they_are_left(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    for name, location in (("ana", PORTO), ("bob", OSLO)):
        story.serving(name, location=location)
        story.load(name, sparing=True)
    choice = kit.Question(story.view(), file, place=IN_PORTO).choice()
    assert [candidate.mirror for candidate in choice.ranked] == [ANA, BOB]
    assert choice.rejected[BOB].reason is RejectReason.FARTHER


def test_mirror_spares_its_quota_no_longer_than_its_reports_say_so(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", location=PORTO)
    story.serving("bob", location=OSLO)
    story.load("ana", sparing=True)
    story.load("ana")
    assert kit.Question(story.view(), file, place=IN_PORTO).choice().ranked[0].mirror == ANA
