"""Publishing with confirms, mandatory and within a time limit, on an AMQP channel for each exchange (``lanes``).

A refused publish makes RabbitMQ close the channel under all that are in flight on it. The guilty one is told from the
reply; the others are published again here, under the same ``message_id``.
"""

from __future__ import annotations

import asyncio

from broker.config import BrokerConfig
from broker.port import (
    DisconnectedError,
    Message,
    PublishTimeoutError,
    UnroutableError,
)
from broker.rabbitmq.errors import is_blamed
from broker.rabbitmq.lanes import Lane, LaneClosedError, Lanes
from broker.rabbitmq.session import Session


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
        lane = self._lanes.open_for(message) or await self._lanes.lane_for(message)
        try:
            async with lane:
                try:
                    await self._send(lane, message)
                except (LaneClosedError, UnroutableError):
                    lane.give_up()
                    raise
        except LaneClosedError as closed:
            if not is_blamed(message, closed.reply):
                return False
            raise closed.guilty(closed.reply) from closed
        return True

    async def _send(self, lane: Lane, message: Message) -> None:
        """Write and wait for the confirmation.

        A frame that follows aiormq's answer to RabbitMQ's close of the AMQP channel costs the whole connection (504).
        So nothing may come between the look whether it is closing and the write.
        """
        await self._session.until_unblocked()
        if lane.is_full or self._gate.locked():
            await self._until_room(lane)
        if not lane.is_open:
            raise LaneClosedError
        await lane.publish(message, user=self._user)

    async def _until_room(self, lane: Lane) -> None:
        """Wait until the broker reads, in turn."""
        async with self._gate:
            while lane.is_full:
                await lane.until_room()

    def _too_late(self, message: Message) -> DisconnectedError | PublishTimeoutError:
        health = self._session.health
        if not health.connected:
            return DisconnectedError(f"not connected: {health.last_error}")
        state = "blocked by the broker's alarm" if health.blocked else "silent"
        return PublishTimeoutError(
            f"{message.message_id} was not confirmed within {self._timeout_s} s; the broker is {state}"
        )
