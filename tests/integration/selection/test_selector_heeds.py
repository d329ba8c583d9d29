"""What master and mirrors say of keys, addresses, availability and withdrawals decides the next visitor's link."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from events.envelope import MASTER_SOURCE, mirror_source
from events.errors import ForeignGrantError
from events.grants import Grant, check, derive_key, normalise, read
from events.names import ORIGIN, ChannelName, MirrorName
from events.schemas import (
    AddressPolicy,
    Availability,
    AvailabilityChanged,
    ChannelDefined,
    ChannelFollowed,
    Filter,
    KeysRotated,
    MirrorCameOnline,
    Profile,
)
from selection.policy.policy import Policy

if TYPE_CHECKING:
    from conftest import Said, Selector, Site

SECRET = b"the site's secret, 32 bytes long"
ISO = ChannelName("iso")
ANA = MirrorName("ana")
ANAS_SOURCE = mirror_source(ANA)
MONDAY_AT_SEVEN_S = 1_763_967_600


async def link_of(selector: Selector, mirror: MirrorName, key_epoch: int) -> Grant:
    """Visit, and prove the link with the one key that it ought to be under."""
    answer = await selector.visit("/a.iso", headers={"X-Forwarded-For": "203.0.113.9"})
    token = answer.headers["Location"].split("/")[4]
    return read(token, mirror=mirror, keys={key_epoch: derive_key(SECRET, mirror, key_epoch)})


async def rejected(selector: Selector) -> tuple[str, str]:
    """Give the reason and detail for the one mirror, or nothing."""
    for each in (await selector.where("a.iso"))["rejected"]:
        return each["reason"], each["detail"]
    return "", ""


async def until_rejected(selector: Selector, reason: str, detail: str = "") -> None:
    async def told() -> bool:
        return await rejected(selector) == (reason, detail)

    await selector.until(told)


async def has_key(said: Said, key_epoch: int) -> None:
    profile = Profile(url="http://ana.example", slots=10)
    await said.say(ANAS_SOURCE, MirrorCameOnline(mirror=ANA, profile=profile, key_epoch=key_epoch))
    await said.holding("ana", "a.iso")
    await said.load("ana")


async def test_link_is_under_the_newest_key_that_the_mirror_says_it_has(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        assert (await link_of(selector, ANA, 1)).key_epoch == 1
        await site.said.say(MASTER_SOURCE, KeysRotated(mirror=ANA, key_epoch=2, oldest_epoch=2))
        await until_rejected(selector, "keys_outdated", "it has that of epoch 1, the oldest that holds is of 2")
        await has_key(site.said, 2)
        await selector.until_chosen("a.iso", "ana")
        assert (await link_of(selector, ANA, 2)).key_epoch == 2


async def test_link_is_bound_as_the_channel_wants_it(memory_site: Site) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.serving("ana", "a.iso")
    loosely = ChannelDefined(channel=ISO, filter=Filter(), address_policy=AddressPolicy.PREFIX)
    await memory_site.said.say(MASTER_SOURCE, loosely)
    async with memory_site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        grant = await link_of(selector, ANA, 1)
        await memory_site.said.say(ANAS_SOURCE, AvailabilityChanged(mirror=ANA, availability=Availability.DRAINING))
        await selector.until_chosen("a.iso", None)
        by_the_master = await link_of(selector, ORIGIN, 1)
    for each in (grant, by_the_master):
        check(each, address=normalise("203.0.113.200"), now_s=each.start_by_s, started=False)
        with pytest.raises(ForeignGrantError):
            check(each, address=normalise("203.0.112.9"), now_s=each.start_by_s, started=False)


async def test_paused_mirror_gets_no_visitors_until_it_is_open_again(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")

    async def becomes(availability: Availability, until_s: int = 0) -> None:
        event = AvailabilityChanged(mirror=ANA, availability=availability, until_s=until_s)
        await site.said.say(ANAS_SOURCE, event)

    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        await becomes(Availability.PAUSED, MONDAY_AT_SEVEN_S)
        await until_rejected(selector, "paused", "until 2025-11-24 07:00 UTC")
        (mirror,) = (await selector.ask("/-/api/v1/mirrors"))["mirrors"]
        assert (mirror["state"], mirror["detail"]) == ("paused", "until 2025-11-24 07:00 UTC")
        assert await selector.sent_to("/a.iso", "203.0.113.9") == "master"
        await becomes(Availability.OPEN)
        await selector.until_chosen("a.iso", "ana")


async def test_mirror_is_used_for_a_file_that_came_back_once_it_has_acted_on_the_withdrawal(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        await site.said.withdrawn("a.iso")
        withdrawn = site.said.channel_numbers[ISO]
        await site.said.published("a.iso")
        await until_rejected(selector, "unacknowledged", "from iso")
        await site.said.say(ANAS_SOURCE, ChannelFollowed(mirror=ANA, channel=ISO, channel_sequence=withdrawn, epoch=1))
        await selector.until_chosen("a.iso", "ana")


async def test_mirror_that_spares_its_quota_is_passed_over_and_serves_when_it_is_the_last(memory_site: Site) -> None:
    said = memory_site.said
    await said.published("a.iso")
    await said.serving("ana", "a.iso")
    await said.serving("bob", "a.iso")
    async with memory_site.selector() as selector:
        await said.load("ana", sparing=True)
        await selector.until_chosen("a.iso", "bob")
        await until_rejected(selector, "sparing")
        mirrors: list[dict[str, Any]] = (await selector.ask("/-/api/v1/mirrors"))["mirrors"]
        assert {each["mirror"]: (each["state"], each["sparing"]) for each in mirrors} == {
            "ana": ("ready", True),
            "bob": ("ready", False),
        }
        await said.load("bob", active=10)
        await selector.until_chosen("a.iso", "ana")


async def test_load_report_is_taken_up_when_it_is_heard_and_no_visitor_waits_for_it(
    memory_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: asyncio.Queue[float] = asyncio.Queue()

    def note(_: Policy, now_s: float) -> None:
        heard.put_nowait(now_s)

    monkeypatch.setattr(Policy, "heard", note)
    await memory_site.said.published("a.iso")
    async with memory_site.selector():
        assert heard.empty()
        await memory_site.said.load("ana")
        await heard.get()
