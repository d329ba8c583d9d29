"""A release day at this machine's rate: a real selector on a real broker, a crowd within a second, mirrors that leave.

The mirrors are played: each has a mirror's own slots, hears the notices from the log, and reports by a mirror's rule.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import pytest

from bench.releaseday import report_of
from bench.selector import READY, SECRET, Order
from broker.port import Delivery
from broker.ports import draw_ports
from broker.reading import read_envelope
from broker.topology import log_stream
from events.envelope import load_source, mirror_source
from events.grants import Grant, derive_key, normalise, read
from events.names import MirrorName, SelectorName
from events.schemas import DownloadsGranted, LoadReported, MirrorWentOffline
from mirror.serving.load import GAP_S_MIN, worth_telling
from mirror.serving.slots import Slots

if TYPE_CHECKING:
    from conftest import Site

MIRRORS = 20
SLOTS = 20
DOWNLOAD_S = 3.0  # on the average
PEAK_PER_S = 100.0  # three quarters of what the mirrors can serve, and nine tenths when three have left
LASTS_S = 20.0
SILENT_AFTER_S = 4.0
HEARTBEAT_S = 1.0
LEAVING = {3.0: True, 5.0: False, 8.0: False}  # when; and whether it says goodbye
RETURN_S = 0.5  # a person sees that nothing comes, and clicks again
REFUSED_PERCENT_MAX = 5.0  # none, by what a selector counts; some, where messages overtake each other
SIZE_BYTES = 1000
DEADLINE_S = 240.0  # some thirty seconds are usual; the crowd itself takes twenty

pytestmark = [pytest.mark.rabbitmq, pytest.mark.faults, pytest.mark.timeout(2 * DEADLINE_S)]


@dataclass
class PlayedMirror:
    """A mirror, as far as visitors and selectors meet it."""

    name: MirrorName
    slots: Slots = field(default_factory=lambda: Slots(SLOTS, connections_per_address=SLOTS))
    grants_seen: dict[SelectorName, int] = field(default_factory=dict[SelectorName, int])
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    most_active: int = 0
    served: int = 0
    refused: int = 0

    def report(self, now_s: float) -> LoadReported:
        return report_of(self.name, self.slots, self.grants_seen, now_s)

    async def serve(self, token: str, address: str) -> bool:
        """Let a visitor download; tell whether he got all of it."""
        loop, key = asyncio.get_running_loop(), derive_key(SECRET, self.name, 1)
        grant = read(token, mirror=self.name, keys={1: key})
        if self.slots.enter(grant, asked_bytes=SIZE_BYTES, address=normalise(address), now_s=loop.time()) is not None:
            self.refused += 1
            return False
        self.served += 1
        self.most_active = max(self.most_active, self.slots.visits.active)
        with suppress(TimeoutError):
            async with asyncio.timeout(random.expovariate(1 / DOWNLOAD_S)):
                await self.gone.wait()
        self._let_go(grant, address, now_s=loop.time())
        return not self.gone.is_set()

    def _let_go(self, grant: Grant, address: str, *, now_s: float) -> None:
        self.slots.visits.count(grant.grant_id, SIZE_BYTES)
        self.slots.leave(grant.grant_id, unsent_bytes=0, address=normalise(address), now_s=now_s)


@dataclass
class ReleaseDay:
    """All who take part."""

    site: Site
    port: int
    mirrors: dict[MirrorName, PlayedMirror]
    answers: Counter[str] = field(default_factory=Counter[str])

    async def visit(self, number: int) -> None:
        """Be a visitor: ask the site until a mirror gave all of the file, or the master is to.

        A full mirror's way back names all who sent him back. Who finds nobody, or is cut off, begins anew by himself.
        """
        address = f"203.0.{number // 250}.{number % 250 + 1}"
        detours: list[MirrorName] = []
        while True:
            url = urlsplit(await self._ask(address, detours))
            mirror = self.mirrors.get(MirrorName((url.hostname or "").partition(".")[0]))
            if mirror is None:
                self.answers["by the master"] += 1
                return
            if not mirror.gone.is_set() and await mirror.serve(url.path.split("/")[2], address):
                self.answers["by a mirror"] += 1
                return
            if mirror.gone.is_set():
                detours = []
                await asyncio.sleep(RETURN_S)
            else:
                detours.append(mirror.name)

    async def _ask(self, address: str, avoided: list[MirrorName]) -> str:
        query = "&".join(f"not={name}" for name in avoided)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            asked = f"GET /a.iso?{query} HTTP/1.1\r\nHost: dl.example.org\r\nX-Forwarded-For: {address}\r\n\r\n"
            writer.write(asked.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        finally:
            writer.close()
            await writer.wait_closed()
        status, *lines = head.split("\r\n")
        assert status.startswith("HTTP/1.1 302 "), head
        return next(line.partition(": ")[2] for line in lines if line.lower().startswith("location:"))

    async def report(self, mirror: PlayedMirror) -> None:
        """Report a mirror's load for as long as it is there."""
        loop = asyncio.get_running_loop()
        said, said_s = mirror.report(loop.time()), float("-inf")
        while not mirror.gone.is_set():
            now_s = loop.time()
            report = mirror.report(now_s)
            if now_s - said_s >= HEARTBEAT_S or worth_telling(said, report):
                said, said_s = report, now_s
                await self.site.said.say(load_source(mirror.name), report, persistent=False)
            with suppress(TimeoutError):
                async with asyncio.timeout(GAP_S_MIN):
                    await mirror.gone.wait()

    def hear(self, delivery: Delivery) -> None:
        """Let a mirror hear of those who were sent to it."""
        envelope = read_envelope(delivery, vhost="")
        if not isinstance(envelope.event, DownloadsGranted) or envelope.event.mirror not in self.mirrors:
            return
        mirror, now_s = self.mirrors[envelope.event.mirror], asyncio.get_running_loop().time()
        for granted in envelope.event.grants:
            mirror.slots.expect(granted.grant_id, start_by_s=now_s + 60, now_s=now_s)
        mirror.grants_seen[envelope.event.selector] = envelope.sequence

    async def leave(self, mirror: PlayedMirror, after_s: float, *, says_goodbye: bool) -> None:
        await asyncio.sleep(after_s)
        mirror.gone.set()
        if says_goodbye:
            await self.site.said.say(
                mirror_source(mirror.name), MirrorWentOffline(mirror=mirror.name, reason="stopped")
            )


@asynccontextmanager
async def selecting(site: Site) -> AsyncGenerator[int]:
    """Run a selector as a process of its own while the block is entered; give its port."""
    (port,) = draw_ports(1)
    order = Order(name=site.config.name, amqp_url=site.config.broker.url, port=port, silent_after_s=SILENT_AFTER_S)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.selector", stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(order))
        process.stdin.write_eof()
        while READY not in (line := await process.stdout.readline()).decode():
            assert line, "it ended by itself"
        yield port
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


@pytest.mark.parametrize("site", ["rabbitmq"], indirect=True)
async def test_a_crowd_within_a_second_is_served_while_three_of_twenty_mirrors_leave(site: Site) -> None:
    await site.said.published("a.iso", size_bytes=SIZE_BYTES)
    mirrors = {name: PlayedMirror(name) for name in (MirrorName(f"m{number}") for number in range(MIRRORS))}
    for name in mirrors:
        await site.said.serving(name, "a.iso", slots=SLOTS)
    async with asyncio.timeout(DEADLINE_S), selecting(site) as port:
        day = ReleaseDay(site, port, mirrors)
        visitors = await lived(day)
    stayed = [mirror for mirror in mirrors.values() if not mirror.gone.is_set()]
    assert len(stayed) == MIRRORS - len(LEAVING)
    assert day.answers.total() == visitors  # within the deadline: each comes until he is answered
    assert max(mirror.most_active for mirror in stayed) <= SLOTS
    assert sum(mirror.refused for mirror in stayed) < visitors * REFUSED_PERCENT_MAX / 100
    assert min(mirror.served for mirror in stayed) > 0


async def lived(day: ReleaseDay) -> int:
    """Let the crowd come and wait until each has his file; give how many came."""
    rng, moment_s, visitors = random.Random(1), 0.0, 0  # noqa: S311 - the same crowd each time
    mirrors, loop = list(day.mirrors.values()), asyncio.get_running_loop()
    began_s = loop.time()
    async with asyncio.TaskGroup() as going_on:
        background = [going_on.create_task(day.site.broker.follow(log_stream(1), day.hear))]
        background += [going_on.create_task(day.report(mirror)) for mirror in mirrors]
        async with asyncio.TaskGroup() as crowd:
            for mirror, (after_s, says_goodbye) in zip(mirrors, LEAVING.items(), strict=False):
                crowd.create_task(day.leave(mirror, after_s, says_goodbye=says_goodbye))
            while moment_s < LASTS_S:
                moment_s += rng.expovariate(PEAK_PER_S * min(1.0, 0.05 + moment_s))  # to the peak within a second
                await asyncio.sleep(max(0.0, began_s + moment_s - loop.time()))
                crowd.create_task(day.visit(visitors))
                visitors += 1
        for task in background:
            task.cancel()
    return visitors
