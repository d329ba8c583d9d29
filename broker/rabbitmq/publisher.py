"""Publishing with confirms, mandatory and within a time limit, on an AMQP channel for each exchange (``lanes``).

A refused publish makes RabbitMQ close the channel under all that are in flight on it. The guilty one is told from the
reply; the others are published again here, under the same ``message_id``.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import cast

from aio_pika.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq import spec
from aiormq.channel import Channel as UnderlayChannel
from aiormq.exceptions import ChannelAccessRefused

from broker.config import BrokerConfig
from broker.port import (
    AccessRefusedError,
    BrokerError,
    DisconnectedError,
    Message,
    NackedError,
    PublishTimeoutError,
    UnroutableError,
)
from broker.rabbitmq.declarations import PERSISTENT, TRANSIENT
from broker.rabbitmq.errors import is_blamed, translated
from broker.rabbitmq.lanes import Lane, Lanes
from broker.rabbitmq.session import Session
from events.codec import CONTENT_TYPE


class _ChannelClosingError(Exception):
    """RabbitMQ closed the AMQP channel; ``reply`` says why, where it is known. ``guilty`` is what the culprit gets."""

    def __init__(self, reply: str = "", guilty: type[BrokerError] = DisconnectedError) -> None:
        super().__init__(reply)
        self.reply, self.guilty = reply, guilty


class Publisher:
    """Publishes for one user; ``user_id`` is set on every message, so that readers know who wrote it."""

    def __init__(self, session: Session, config: BrokerConfig) -> None:
        self._session = session
        self._user = config.user
        self._timeout_s = config.publish_timeout_s
        self._lanes = Lanes(session)
        self._gate = asyncio.Lock()

    async def publish(self, message: Message) -> None:
        """Publish and wait for the confirmation; see ``broker.port.Broker.publish``."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while not await self._is_confirmed(message):
                    pass
        except TimeoutError:
            raise self._too_late(message) from None
        except DisconnectedError:
            # A connection that ended in this turn of the loop fails at once. Who tries again without a pause would
            # else keep the session from ever noticing.
            await asyncio.sleep(0)
            raise

    async def _is_confirmed(self, message: Message) -> bool:
        """Try once. False when the AMQP channel was closed by somebody else's fault: try again on a new one."""
        lane = await self._lanes.lane_for(message)
        try:
            async with lane.used():
                with translated():
                    await self._send(lane, message)
        except _ChannelClosingError as closing:
            lane.give_up()
            if not is_blamed(message, closing.reply):
                return False
            raise closing.guilty(closing.reply) from closing
        return True

    async def _send(self, lane: Lane, message: Message) -> None:
        """Write and wait for the confirmation.

        A frame that follows aiormq's answer to RabbitMQ's close of the AMQP channel costs the whole connection (504).
        So nothing may come between the look whether it is closing and the write: there is room in the queue of frames,
        nobody waits for it to drain (``wait=False``), hence aiormq's own lock is free.
        """
        await self._session.until_unblocked()
        await self._until_room(lane.underlay)
        if not lane.is_open:
            raise _ChannelClosingError
        try:
            await lane.underlay.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                properties=_properties(message, self._user),
                mandatory=True,
                wait=False,
            )
        except PublishError as error:
            lane.give_up()
            raise UnroutableError(f"no queue takes {message.routing_key!r} from {message.exchange!r}") from error
        except DeliveryError as error:
            raise NackedError(f"the broker could not take {message.message_id}") from error
        except ChannelInvalidStateError as error:
            raise _ChannelClosingError from error
        except (ChannelAccessRefused, ChannelNotFoundEntity) as error:
            raise _ChannelClosingError(
                str(error), AccessRefusedError if isinstance(error, ChannelAccessRefused) else UnroutableError
            ) from error

    async def _until_room(self, underlay: UnderlayChannel) -> None:
        """Wait for room in the connection's queue of frames, in turn."""
        frames = cast("asyncio.Queue[object]", underlay.connection.write_queue)
        async with self._gate:
            while frames.full():  # noqa: ASYNC110 - aiormq's writer tells nobody; it empties the queue in one turn
                await asyncio.sleep(0)

    def _too_late(self, message: Message) -> DisconnectedError | PublishTimeoutError:
        health = self._session.health
        if not health.connected:
            return DisconnectedError(f"not connected: {health.last_error}")
        state = "blocked by the broker's alarm" if health.blocked else "silent"
        return PublishTimeoutError(
            f"{message.message_id} was not confirmed within {self._timeout_s} s; the broker is {state}"
        )


def _properties(message: Message, user: str) -> spec.Basic.Properties:
    # Not through aio_pika.Message, which loses the content type (10.2.1).
    return spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        headers=dict(message.headers),
        delivery_mode=PERSISTENT if message.persistent else TRANSIENT,
        message_id=message.message_id,
        timestamp=datetime.now(UTC),
        message_type=message.type,
        user_id=user,
    )
