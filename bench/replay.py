"""How fast the log is replayed: from RabbitMQ, against a bare consumer on the same client library in the same run.

And from the archive: ``bench.replay_archive``.

Our reading is the whole of ``events replay``: the source finds the log and its end, and each entry is decoded, proved
and folded into the view. The bare consumer counts messages and settles them a hundred at a time. Both in turn, on the
same log, so that what else the machine does falls on both; the middle round of each counts.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bench.made_log import GENERATION, YEAR_EVENTS, MadeLog
from bench.replay_archive import measure_archive
from bench.verdict import Verdict
from broker.config import BrokerConfig
from broker.port import LOG_PREFETCH_MAX
from broker.provision import provision_site
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.relay import message_of
from broker.topology import log_stream
from distributary.fleet.broker import open_broker
from history.replay.replayer import replay
from history.sources.broker_log import BrokerLog

EVENTS: Final = 25_000  # ten seconds of reading: what connecting takes hardly counts
ROUNDS: Final = 3
UNCONFIRMED_MAX: Final = 500
SETTLED_AT_ONCE: Final = 100  # as our follower does
SHARE_GOAL: Final = 0.8  # of what a bare consumer reads
PER_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Pace:
    """One reading of the whole log."""

    wall_s: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Give the events per second."""
        return EVENTS / self.wall_s

    def line(self, who: str) -> str:
        """Say it."""
        return f"{who:<14} {self.rate:>8,.0f} events/s  {1e6 * self.cpu_s / EVENTS:>6.1f} us CPU an event"


async def measure() -> tuple[Verdict, ...]:
    """Measure replay; give what was found."""
    with tempfile.TemporaryDirectory() as folder, open_broker(os.environ, Path(folder) / "broker") as broker:
        config = BrokerConfig(url=broker.amqp_url)
        await _fill(config)
        print(f"{EVENTS} events of a fleet at work, {ROUNDS} rounds in turn")
        bare, ours = await _in_turn(config)
    rate = _middle(ours).rate
    hours = YEAR_EVENTS / rate / PER_HOUR
    print(f"a year's log of a fleet of 50 mirrors ({YEAR_EVENTS:,} events) would take {hours:.1f} h from RabbitMQ")
    return (
        Verdict(
            name="replay from RabbitMQ",
            figure=_middle(bare).rate / rate,
            goal=1 / SHARE_GOAL,
            unit="times what a bare consumer takes",
        ),
        *await measure_archive(),
    )


async def _in_turn(config: BrokerConfig) -> tuple[list[Pace], list[Pace]]:
    bare: list[Pace] = []
    ours: list[Pace] = []
    for _ in range(ROUNDS):
        for who, read, paces in (("bare consumer", _read_bare, bare), ("our replay", _replay, ours)):
            paces.append(await _timed(lambda read=read: read(config)))
            print(paces[-1].line(who))
    return bare, ours


async def _timed(read: Callable[[], Awaitable[int]]) -> Pace:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    count = await read()
    pace = Pace(time.perf_counter() - wall_s, time.process_time() - cpu_s)
    if count != EVENTS:
        raise RuntimeError(f"{count} of {EVENTS} events were read")
    return pace


async def _read_bare(config: BrokerConfig) -> int:
    """Count what the stream holds, with nothing of ours."""
    done = asyncio.Event()
    count = 0

    async def take(message: AbstractIncomingMessage) -> None:
        nonlocal count
        if message.type != "distributary.probe":
            count += 1
        if count % SETTLED_AT_ONCE == 0:
            await message.channel.basic_ack(message.delivery_tag or 0, multiple=True, wait=False)
        if count == EVENTS:
            done.set()

    async with await aio_pika.connect(config.url) as connection:
        amqp_channel = await connection.channel()
        await amqp_channel.set_qos(prefetch_count=LOG_PREFETCH_MAX)
        queue = await amqp_channel.get_queue(log_stream(GENERATION), ensure=False)
        await queue.consume(take, arguments={"x-stream-offset": "first"})
        await done.wait()
    return count


async def _replay(config: BrokerConfig) -> int:
    async with RabbitBroker(config) as broker:
        source = BrokerLog(broker, vhost=config.vhost, name=config.safe_url, clock_s=time.time)
        return (await replay(source)).entries


async def _fill(config: BrokerConfig) -> None:
    async with RabbitAdmin(config) as admin, RabbitBroker(config) as broker:
        await provision_site(admin, GENERATION)
        envelopes = list(MadeLog().envelopes(EVENTS))
        for at in range(0, EVENTS, UNCONFIRMED_MAX):
            some = envelopes[at : at + UNCONFIRMED_MAX]
            await asyncio.gather(*(broker.publish(message_of(each, persistent=True)) for each in some))


def _middle(paces: list[Pace]) -> Pace:
    return sorted(paces, key=lambda pace: pace.wall_s)[len(paces) // 2]
