"""What is withdrawn never waits for what is being fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from events.names import ChannelName, Digest, MirrorName
from events.schemas import FileWithdrawn
from events.trace import TraceContext
from mirror.config import MirrorConfig, MirrorCredentials
from mirror.fetching.landing import finished
from mirror.keeping.keeper import Keeper
from mirror.state.plan import Entry

if TYPE_CHECKING:
    from conftest import Ground

ISO = ChannelName("iso")
DEADLINE_S = 20.0


@dataclass
class Silent:
    """A source that says nothing until it is told to ``go_on``."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[Digest] = field(default_factory=list[Digest])
    ended: list[Digest] = field(default_factory=list[Digest])

    @asynccontextmanager
    async def fetched(self, entry: Entry, *, trace: TraceContext | None = None) -> AsyncGenerator[None]:
        del trace
        self.asked.append(entry.sha256)
        try:
            await self.go_on.wait()
            yield
        finally:
            self.ended.append(entry.sha256)


@dataclass
class Scene:
    """A keeper that fetches one content at a time."""

    ground: Ground
    source: Silent
    keeper: Keeper

    async def tell(self, name: str) -> Entry:
        entry = await self.ground.tell(name, name.encode())
        self.keeper.want(entry.sha256, trace=None)
        return entry

    async def withdraw(self, entry: Entry) -> None:
        """Withdraw a file as the channel's next fact."""
        at = self.ground.store.catalogue.positions[ISO] + 1
        fact = FileWithdrawn(
            channel=ISO, channel_sequence=at, path=entry.path, generation=1, sha256=entry.sha256, reason="test"
        )
        await self.ground.store.fold(lambda catalogue, journal: catalogue.apply(fact, journal))
        self.keeper.consider(entry.sha256)

    def is_acknowledged(self) -> bool:
        return self.ground.store.acknowledgements.clear() == [ISO]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the keeper tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture
async def scene(ground: Ground) -> AsyncIterator[Scene]:
    ana = MirrorName("ana")
    config = MirrorConfig(
        name=ana,
        data_folder=ground.folder,
        credentials=MirrorCredentials(
            mirror=ana,
            broker_url="amqp://127.0.0.1/x",
            token="t",
            grant_keys={1: bytes(32)},
            master_url="http://127.0.0.1",
            site_url="http://127.0.0.1",
        ),
        fetches_max=1,
    )
    source, rng = Silent(), Random(1)  # noqa: S311 - jitter
    keeper = Keeper(config, ground.store, ground.disk, source, ground.executor, rng, served=lambda: ())
    running = asyncio.create_task(keeper.run())
    yield Scene(ground, source, keeper)
    running.cancel()
    await asyncio.wait([running])


async def test_what_is_withdrawn_while_it_waits_for_its_turn_is_acknowledged_at_once(scene: Scene) -> None:
    first = await scene.tell("first")
    await until(lambda: scene.source.asked == [first.sha256])
    second = await scene.tell("second")
    await scene.withdraw(second)
    await until(scene.is_acknowledged)
    assert scene.source.ended == [], "the first one is still being fetched"
    scene.source.go_on.set()
    await until(lambda: set(scene.ground.store.replicas) == {first.sha256})
    assert scene.source.asked == [first.sha256]


async def test_a_fetch_of_what_is_withdrawn_ends_though_its_source_says_nothing(scene: Scene) -> None:
    entry = await scene.tell("a")
    await until(lambda: scene.source.asked == [entry.sha256])
    await scene.withdraw(entry)
    await until(scene.is_acknowledged)
    assert scene.source.ended == [entry.sha256]


async def test_what_is_published_again_before_it_was_removed_is_fetched_and_holds_up_no_removal(scene: Scene) -> None:
    first = await scene.tell("first")
    await until(lambda: scene.source.asked == [first.sha256])
    again = await scene.tell("again")
    await scene.withdraw(again)
    await scene.ground.tell("again", b"again")
    scene.keeper.consider(again.sha256)
    gone = await scene.tell("gone")
    await scene.withdraw(gone)
    await until(scene.is_acknowledged)
    assert scene.source.asked == [first.sha256], "nothing is fetched by whoever removes"
    scene.source.go_on.set()
    await until(lambda: set(scene.ground.store.replicas) == {first.sha256, again.sha256})


async def test_a_thread_is_waited_for_however_often_its_caller_is_cancelled() -> None:
    working = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(finished(working))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    working.set_result(None)
    with pytest.raises(asyncio.CancelledError):
        await waiting
