"""What was read from the master counts once it is written down."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import aiohttp
import pytest

from events.names import ChannelName
from mirror.config import FetchLimits
from mirror.fetching.origin import Origin
from mirror.following.sync import Sync
from mirror.state.authority import Authority
from mirror.state.database import StoreError
from mirror.state.plan import Action
from mirror.state.store import Change, Store

if TYPE_CHECKING:
    from conftest import Ground

DEADLINE_S = 20.0


class Unsubscribed(Origin):
    """A master that lets the mirror follow nothing any more."""

    async def heal_queue(self) -> bool:
        return False

    async def keys(self) -> dict[int, bytes]:
        return {}

    async def subscriptions(self) -> frozenset[ChannelName]:
        return frozenset()


async def test_subscriptions_that_a_full_disk_did_not_take_are_read_again(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold, failures = Store.fold, [StoreError("disk full")]

    async def fails_once(store: Store, change: Change) -> list[Action]:
        if failures:
            raise failures.pop()
        return await fold(store, change)

    monkeypatch.setattr(Store, "fold", fails_once)
    async with aiohttp.ClientSession() as session:
        sync = Sync(
            Unsubscribed(session, "http://127.0.0.1", "t"),
            ground.store,
            Authority(ground.store.database),
            lambda _: None,
            lambda _: None,
            keys_changed=lambda: None,
            limits=FetchLimits(retry_first_s=0.01, retry_max_s=0.01),
            rng=Random(1),  # noqa: S311 - jitter
        )
        running = asyncio.create_task(sync.run())
        async with asyncio.timeout(DEADLINE_S):
            while ground.store.catalogue.positions:  # noqa: ASYNC110 - the catalogue tells nobody
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
