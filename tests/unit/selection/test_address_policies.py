"""How closely a link is bound: as the strictest of the channels asks that the file is served for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.envelope import MASTER_SOURCE
from events.grants import Binding
from events.names import ORIGIN, ChannelName, MirrorName
from events.schemas import AddressPolicy, CatalogueRestated, ChannelRemoved
from selection.view.file import PublishedFile

if TYPE_CHECKING:
    from conftest import Story

ANA = MirrorName("ana")
STRICT, PREFIX, OFF = AddressPolicy.STRICT, AddressPolicy.PREFIX, AddressPolicy.OFF


def in_two_channels(story: Story, one: AddressPolicy, two: AddressPolicy) -> PublishedFile:
    story.defined("one", one)
    story.defined("two", two)
    story.published("a.iso", channels=["one", "two"])
    return story.file()


@pytest.mark.parametrize(
    ("one", "two", "binding"),
    [
        (OFF, OFF, Binding.OFF),
        (OFF, PREFIX, Binding.PREFIX),
        (STRICT, PREFIX, Binding.STRICT),
        (OFF, STRICT, Binding.STRICT),
    ],
)
def test_strictest_channel_decides(story: Story, one: AddressPolicy, two: AddressPolicy, binding: Binding) -> None:
    file = in_two_channels(story, one, two)
    story.joined("ana", channels=["one", "two"])
    assert story.view().binding(file, ANA) is binding
    assert story.view().binding(file, ORIGIN) is binding


def test_channel_that_the_mirror_does_not_follow_has_no_say(story: Story) -> None:
    file = in_two_channels(story, OFF, STRICT)
    story.joined("ana", channels=["one"])
    assert story.view().binding(file, ANA) is Binding.OFF
    assert story.view().binding(file, ORIGIN) is Binding.STRICT


def test_file_in_no_channel_and_channel_that_nobody_defined_are_strict(story: Story) -> None:
    story.joined("ana")
    story.published("a.iso", channels=[])
    story.published("b.iso")
    alone, undefined = story.file("a.iso"), story.file("b.iso")
    assert story.view().binding(alone, ORIGIN) is Binding.STRICT
    assert story.view().binding(undefined, ANA) is Binding.STRICT


def test_channel_that_still_holds_the_old_generation_has_no_say(story: Story) -> None:
    in_two_channels(story, OFF, STRICT)
    story.published("a.iso", channels=["one"], generation=2, body="new")
    assert story.view().binding(story.file(), ORIGIN) is Binding.OFF


def test_policy_can_be_changed_and_ends_with_its_channel(story: Story) -> None:
    file = in_two_channels(story, OFF, OFF)
    story.defined("two", PREFIX)
    assert story.view().binding(file, ORIGIN) is Binding.PREFIX
    story.master(ChannelRemoved(channel=ChannelName("one")))
    assert story.view().binding(file, ORIGIN) is Binding.STRICT


def test_policy_that_the_master_does_not_say_again_holds_no_longer(story: Story) -> None:
    in_two_channels(story, OFF, OFF)
    since = story.numbers[MASTER_SOURCE, 0] + 1
    story.defined("one", OFF)
    story.published("a.iso", channels=["one"])
    story.published("b.iso", channels=["two"])
    other = story.file("b.iso")
    assert story.view().binding(story.file(), ORIGIN) is Binding.OFF
    story.master(CatalogueRestated(generation=1, since=since))
    file, view = story.file("a.iso"), story.view()
    assert (view.binding(file, ORIGIN), view.binding(other, ORIGIN)) == (Binding.OFF, Binding.STRICT)
