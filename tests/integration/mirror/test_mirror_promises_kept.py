"""A whole mirror, told by its master and its operator what to give up: files, room, keys and grants."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from msgspec.structs import replace

from events.grants import Grant, derive_key
from events.names import MirrorName
from events.schemas import (
    AvailabilityChanged,
    ChannelFollowed,
    DownloadOutcome,
    GrantsRevoked,
    InventoryAnnounced,
    KeysRotated,
    LossReason,
    MirrorCameOnline,
    ReplicaLost,
    ReplicaReady,
    WithdrawMode,
)
from mirror import app

if TYPE_CHECKING:
    from conftest import Stage

ANA = MirrorName("ana")
LARGE = bytes(24 << 20)  # more than all socket buffers take, so that it is still running when it is cut


async def test_an_announcement_says_availability_channels_and_key_epoch(stage: Stage) -> None:
    async with stage.running():
        await stage.log.until(InventoryAnnounced)
        await stage.publish_ready("a", b"content")
        stage.log.said.clear()
    async with stage.running():
        (followed, *_) = await stage.log.until(ChannelFollowed)
        await stage.log.until(InventoryAnnounced)
        (online,) = stage.log.of(MirrorCameOnline)
    assert (online.key_epoch, followed.channel_sequence, followed.epoch) == (1, 1, stage.master.epoch)
    assert len(stage.log.of(AvailabilityChanged)) == 1


async def test_a_withdrawal_is_acknowledged_when_the_bytes_are_gone(stage: Stage) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", b"content")
        await stage.say(stage.master.withdraw("a"))
        await stage.log.until_true(lambda: any(each.channel_sequence == 2 for each in stage.log.of(ChannelFollowed)))
        assert not stage.object_path(event.sha256).exists()
    lost = next(at for at, each in enumerate(stage.log.said) if isinstance(each, ReplicaLost))
    acked = [at for at, each in enumerate(stage.log.said) if isinstance(each, ChannelFollowed)]
    assert max(acked) > lost


@pytest.mark.parametrize("mode", WithdrawMode)
async def test_a_withdrawal_cuts_running_downloads_where_it_says_so_and_else_lets_them_end(
    stage: Stage, http: aiohttp.ClientSession, mode: WithdrawMode
) -> None:
    async with stage.running():
        event = await stage.publish_ready("large", LARGE)
        grant = stage.grant(event)
        async with http.get(stage.link(grant)) as response:
            assert len(await response.content.readexactly(1000)) == 1000
            await stage.say(stage.master.withdraw("large", mode=mode))
            await stage.log.until_true(
                lambda: any(each.channel_sequence == 2 for each in stage.log.of(ChannelFollowed))
            )
            if mode is WithdrawMode.DRAIN:
                assert len(await response.read()) == len(LARGE) - 1000
            else:
                with pytest.raises(aiohttp.ClientError):
                    await response.read()
                (aborted,) = await stage.log.until_told(DownloadOutcome.ABORTED)
                assert aborted.reason == "the file was withdrawn"
        async with http.get(stage.link(grant), allow_redirects=False) as response:
            assert response.status == 302, "nobody is sent it any more"


async def test_a_withdrawal_is_acknowledged_after_the_mirror_was_away(stage: Stage) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", b"content")
    stage.master.withdraw("a")
    async with stage.running():
        await stage.log.until_true(lambda: any(each.channel_sequence == 2 for each in stage.log.of(ChannelFollowed)))
        assert not stage.object_path(event.sha256).exists()


async def test_new_keys_are_fetched_and_announced_and_retired_ones_open_nothing_at_once(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    new_key = derive_key(b"s" * 32, ANA, 2)
    async with stage.running():
        event = await stage.publish_ready("a", b"content")
        old = stage.link(stage.grant(event))
        stage.master.keys = {2: new_key}
        await stage.say(KeysRotated(mirror=ANA, key_epoch=2, oldest_epoch=2))
        await stage.log.until_true(lambda: any(each.key_epoch == 2 for each in stage.log.of(MirrorCameOnline)))
        async with http.get(old) as response:
            assert response.status == 404
        new = stage.link(epoch_two(stage.grant(event)), key=new_key)
        async with http.get(new) as response:
            assert await response.read() == b"content"
    async with stage.running() as url, http.get(old.replace(old.split("/d/")[0], url)) as response:
        assert response.status == 404, "the credentials still have it"


def epoch_two(grant: Grant) -> Grant:
    return replace(grant, key_epoch=2)


async def test_a_revoked_grant_is_refused_and_still_is_after_a_restart(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", b"content")
        grant = stage.grant(event)
        await stage.say(
            GrantsRevoked(
                revocation=1,
                start_by_s_max=grant.start_by_s,
                until_s=grant.finish_by_s,
                reason="test",
                grant_id=grant.grant_id,
            )
        )

        async def is_refused() -> bool:
            async with http.head(stage.link(grant)) as response:  # asked as often as it takes: it has no budget
                return response.status == 403

        async with asyncio.timeout(20):
            while not await is_refused():  # noqa: ASYNC110 - no event tells that it was taken in
                await asyncio.sleep(0.01)
    async with stage.running():
        assert await is_refused()


class Clock:
    """The time, and more of it than has passed."""

    ahead_s = 0

    def time(self) -> float:
        return time.time() + self.ahead_s

    def time_ns(self) -> int:
        return time.time_ns() + self.ahead_s * 1_000_000_000


async def test_a_full_disk_gives_room_to_what_is_new_and_takes_the_old_back_when_there_is_room(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(app, "time", clock)
    size_bytes = 1 << 20
    stage.reconfigure(disk_bytes_max=int(2.5 * size_bytes), disk_high=1.0, disk_low=0.9)
    async with stage.running():
        first = await stage.publish_ready("first", b"1" * size_bytes)
        clock.ahead_s += 1
        second = await stage.publish_ready("second", b"2" * size_bytes)
        clock.ahead_s += 1
        third = await stage.publish_ready("third", b"3" * size_bytes)
        (lost,) = await stage.log.until(ReplicaLost)
        assert (lost.sha256, lost.reason) == (first.sha256, LossReason.EVICTED)
        await stage.until(lambda: not stage.object_path(first.sha256).exists())
        await stage.say(stage.master.withdraw("third"))
        await stage.log.until_true(
            lambda: [each.sha256 for each in stage.log.of(ReplicaReady)].count(first.sha256) == 2
        )
        assert stage.object_path(second.sha256).exists()
        assert not stage.object_path(third.sha256).exists()
