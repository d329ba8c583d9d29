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
import time
from typing import Final

from aio_pika.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity
from aiormq.exceptions import ChannelAccessRefused

from broker.port import AccessRefusedError, BrokerError, DisconnectedError, Message, UnroutableError
from broker.rabbitmq.confirmations import Confirmations
from broker.rabbitmq.errors import port_error
from broker.rabbitmq.frames import published
from broker.rabbitmq.gate import LogGate
from broker.rabbitmq.session import OpenChannel, Session
from broker.rabbitmq.subscription import close_channel

LANE_AGE_MAX_S: Final = 60.0  # a new one costs some ten milliseconds of asking


class LaneClosedError(Exception):
    """RabbitMQ closed the AMQP channel; ``reply`` says why, where it is known. ``guilty`` is what the culprit gets."""

    def __init__(self, reply: str = "", guilty: type[BrokerError] = DisconnectedError) -> None:
        super().__init__(reply)
        self.reply, self.guilty = reply, guilty


class Lane:
    """An AMQP channel with confirms, for what goes to one place. Enter it for as long as something is in flight."""

    def __init__(self, opened: OpenChannel) -> None:
        self._opened = opened
        self._confirmations = Confirmations()
        self._opened_at_s = asyncio.get_running_loop().time()
        self._in_flight = 0
        self._is_given_up = False
        opened.wire.take(opened.underlay.number, self._confirmations)
        opened.amqp_channel.close_callbacks.add(lambda _, error: self._confirmations.end(_as_end(error)))

    @property
    def is_open(self) -> bool:
        """Tell whether more may be published on it."""
        return not self._is_given_up and not self._is_closing

    @property
    def is_due(self) -> bool:
        """Tell whether it is old, and nothing is in flight on it."""
        return not self._in_flight and asyncio.get_running_loop().time() - self._opened_at_s >= LANE_AGE_MAX_S

    @property
    def is_full(self) -> bool:
        """Tell whether the broker is slow to read: wait ``until_room``."""
        return self._opened.wire.is_full

    async def until_room(self) -> None:
        """Wait until the broker has read most of what was written, or the connection ends."""
        await self._opened.wire.until_room()

    def publish(self, message: Message, *, user: str) -> asyncio.Future[None]:
        """Write a message, now; give what is done when it is confirmed (see ``Confirmations``).

        It raises ``LaneClosedError`` where the lane is closed for this or another message.
        """
        underlay = self._opened.underlay
        frames = published(
            message,
            amqp_channel=underlay.number,
            user=user,
            time_s=int(time.time()),
            body_max=underlay.max_content_size,
        )
        confirmed = self._confirmations.expect(message)
        self._opened.wire.write(frames)
        return confirmed

    def give_up(self) -> None:
        """Publish nothing more on it; what is in flight may still be confirmed."""
        self._is_given_up = True

    async def __aenter__(self) -> None:
        """Keep it open while the block is entered."""
        self._in_flight += 1

    async def __aexit__(self, *_: object) -> None:
        """Leave it; who leaves last closes a lane that was given up."""
        self._in_flight -= 1
        if self._is_given_up:
            await self.close()

    async def close(self) -> None:
        """Close it, unless something is in flight; then whoever leaves last does."""
        self.give_up()
        if not self._in_flight and not self._is_closing:
            await close_channel(self._opened.amqp_channel)

    @property
    def _is_closing(self) -> bool:
        """Tell whether RabbitMQ has closed it, the moment that this was read from the connection."""
        _, underlay, wire = self._opened
        return not wire.is_taken(underlay.number, self._confirmations) or underlay.is_closed


class Lanes:
    """The open lanes, by place."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._log_gate = LogGate(session)
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._opening = asyncio.Lock()

    def open_for(self, message: Message) -> Lane | None:
        """Give the lane of what goes where this message goes, if one is open."""
        return self._open_at(_place_of(message))

    async def lane_for(self, message: Message) -> Lane:
        """Do the same, or open one; waits for the connection and for the log.

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
        return Lane(await self._session.open_channel(confirms=True))


def _place_of(message: Message) -> tuple[str, str]:
    """Give the exchange; behind the default one every queue is a place of its own."""
    return message.exchange, "" if message.exchange else message.routing_key


def _as_end(error: BaseException | None) -> Exception:
    """Tell those in flight why their lane ended."""
    match error:
        case ChannelInvalidStateError():
            return LaneClosedError()
        case ChannelAccessRefused():
            return LaneClosedError(str(error), AccessRefusedError)
        case ChannelNotFoundEntity():
            return LaneClosedError(str(error), UnroutableError)
        case Exception():
            return port_error(error)
        case _:
            return DisconnectedError("the connection was lost")
