"""The mirrors of the fleet: the master's word and their own, each about its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.envelope import Version, load_source
from events.names import MirrorName
from events.schemas import (
    MirrorJoined,
    MirrorLeft,
    Profile,
)

if TYPE_CHECKING:
    from conftest import Kit, Story

ANA = MirrorName("ana")


def test_mirrors_own_profile_holds_before_the_masters_whatever_comes_last(kit: Kit, story: Story) -> None:
    story.online("ana", url="http://new.example")
    story.joined("ana")
    for said in (story.said, [*reversed(story.said)]):
        (mirror,) = kit.view_of(said).mirrors()
        assert mirror.profile is not None
        assert mirror.profile.url == "http://new.example"


def test_mirror_that_left_and_joined_again_has_to_be_granted_its_channels_anew(story: Story) -> None:
    story.serving("ana")
    story.master(MirrorLeft(mirror=ANA, reason="moved"))
    story.master(MirrorJoined(mirror=ANA, profile=Profile(url="http://ana.example", slots=1)))
    (mirror,) = story.view().mirrors()
    assert story.view().followed_by(mirror) == ()


def test_load_reports_of_a_restarted_mirror_replace_the_old_ones(kit: Kit, story: Story) -> None:
    story.joined("ana")
    story.load("ana", active=5)
    story.load("ana", active=6)
    story.epochs[load_source(ANA)] += 1
    story.load("ana", active=0)
    for said in (story.said, [*reversed(story.said)]):
        (mirror,) = kit.view_of(said).mirrors()
        assert mirror.load is not None
        assert mirror.load.version == Version(1, 1)
        assert mirror.load.report.active == 0


@pytest.mark.parametrize("repeated", [False, True])
def test_report_that_is_heard_again_does_not_make_a_silent_mirror_loud(story: Story, *, repeated: bool) -> None:
    story.joined("ana")
    story.load("ana")
    view = story.view()
    if repeated:
        view.apply(story.said[-1], heard_s=99.0)
    (mirror,) = view.mirrors()
    assert mirror.load is not None
    assert mirror.load.heard_s == 0.0
