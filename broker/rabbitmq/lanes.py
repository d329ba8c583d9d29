"""The AMQP channels to publish on: one for each exchange, since a shared one loses what is confirmed.

RabbitMQ numbers what an AMQP channel publishes, and anew what of that goes into each stream. A stream with another
leader (the old one died, or the broker booted and its streams came up after our connection) is sent again whatever is
not confirmed yet: before RabbitMQ 4.0 under the first number instead of the second (rabbitmq-server#12236; read in
3.10.8, and reproduced). Where the two differ by n, the stream takes up to n of the next messages for ones that it has,
and confirms them unwritten: a mirror's load reports, published between its events, cost an event so.

On an AMQP channel of one exchange the two agree, for each of its messages goes into the exchange's stream, once. An
unroutable one does not, and ends its lane.

A log generation that is opened while we are connected begins its second numbers anew on a lane that has published. To
lose by that takes a new leader within the lane's life, hence a cluster or a crash inside the broker (a single node that
is started again cuts every connection). So a lane does not live long: after a minute it makes way for a new one, as
soon as nothing is in flight on it, for two lanes of one place at once would change the order of messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, cast

from aio_pika.abc import AbstractChannel
from aiormq.channel import Channel as UnderlayChannel

from broker.port import Message
from broker.rabbitmq.errors import translated
from broker.rabbitmq.gate import LogGate
from broker.rabbitmq.session import Session
from broker.rabbitmq.subscription import close_channel

LANE_AGE_MAX_S: Final = 60.0  # a new one costs some ten milliseconds of asking


class Lane:
    """An AMQP channel with confirms, for what goes to one place."""

    def __init__(self, amqp_channel: AbstractChannel, underlay: UnderlayChannel) -> None:
        self.underlay: Final = underlay
        self._amqp_channel = amqp_channel
        self._opened_at_s = asyncio.get_running_loop().time()
        self._in_flight = 0
        self._is_given_up = False

    @property
    def is_open(self) -> bool:
        """Tell whether more may be published on it."""
        return not self._is_given_up and not self._is_closing

    @property
    def is_due(self) -> bool:
        """Tell whether it is old, and nothing is in flight on it."""
        return not self._in_flight and asyncio.get_running_loop().time() - self._opened_at_s >= LANE_AGE_MAX_S

    def give_up(self) -> None:
        """Publish nothing more on it; what is in flight may still be confirmed."""
        self._is_given_up = True

    @asynccontextmanager
    async def used(self) -> AsyncGenerator[None]:
        """Keep it open while the block is entered; who leaves last closes a lane that was given up."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            if self._is_given_up:
                await self.close()

    async def close(self) -> None:
        """Close it, unless something is in flight; then whoever leaves last does."""
        self.give_up()
        if not self._in_flight and not self._is_closing:
            await close_channel(self._amqp_channel)

    @property
    def _is_closing(self) -> bool:
        """Tell whether RabbitMQ has closed it, the moment that this was read from the connection."""
        channels = self.underlay.connection.channels
        return channels.get(self.underlay.number) is not self.underlay or self.underlay.is_closed


class Lanes:
    """The open lanes, by place."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._log_gate = LogGate(session)
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._opening = asyncio.Lock()

    async def lane_for(self, message: Message) -> Lane:
        """Give the lane of what goes where this message goes; waits for the connection and for the log.

        Raises:
            DisconnectedError: the connection was lost meanwhile, or did not answer in time.
        """
        place = _place_of(message)
        if (lane := self._open_at(place)) is not None:
            return lane
        async with self._opening:
            if (lane := self._open_at(place)) is not None:
                return lane
            await self._log_gate.passed()  # a new connection means new lanes
            former, self._lanes[place] = self._lanes.get(place), (lane := await self._open())
            if former is not None:
                await former.close()
            return lane

    def _open_at(self, place: tuple[str, str]) -> Lane | None:
        lane = self._lanes.get(place)
        return lane if lane is not None and lane.is_open and not lane.is_due else None

    async def _open(self) -> Lane:
        amqp_channel = await self._session.open_channel(confirms=True)
        with translated():
            return Lane(amqp_channel, cast("UnderlayChannel", await amqp_channel.get_underlay_channel()))


def _place_of(message: Message) -> tuple[str, str]:
    """Give the exchange; behind the default one every queue is a place of its own."""
    return message.exchange, "" if message.exchange else message.routing_key
