"""How closely a link is bound: as the strictest of the channels asks that the file is served for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.envelope import MASTER_SOURCE
from events.grants import Binding
from events.names import ORIGIN, ChannelName, FilePath, MirrorName
from events.schemas import AddressPolicy, CatalogueRestated, ChannelRemoved, FilePublished

if TYPE_CHECKING:
    from conftest import Story

ANA = MirrorName("ana")
STRICT, PREFIX, OFF = AddressPolicy.STRICT, AddressPolicy.PREFIX, AddressPolicy.OFF


def in_two_channels(story: Story, one: AddressPolicy, two: AddressPolicy) -> FilePublished:
    story.defined("one", one)
    story.defined("two", two)
    return story.published("a.iso", channels=["one", "two"])


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
    alone, undefined = story.published("a.iso", channels=[]), story.published("b.iso")
    assert story.view().binding(alone, ORIGIN) is Binding.STRICT
    assert story.view().binding(undefined, ANA) is Binding.STRICT


def test_channel_that_still_holds_the_old_generation_has_no_say(story: Story) -> None:
    in_two_channels(story, OFF, STRICT)
    file = story.published("a.iso", channels=["one"], generation=2, body="new")
    assert story.view().binding(file, ORIGIN) is Binding.OFF


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
    file = story.published("a.iso", channels=["one"])
    assert story.view().binding(file, ORIGIN) is Binding.OFF
    other = story.published("b.iso", channels=["two"])
    story.master(CatalogueRestated(generation=1, since=since))
    view = story.view()
    assert view.file(FilePath("a.iso")) is not None
    assert (view.binding(file, ORIGIN), view.binding(other, ORIGIN)) == (Binding.OFF, Binding.STRICT)
