"""Publishing with confirms, mandatory and within a time limit, on an AMQP channel of its own.

A refused publish makes RabbitMQ close the channel under all that are in flight on it. The guilty one is told from the
reply; the others are published again here, under the same ``message_id``.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq import spec
from aiormq.exceptions import ChannelAccessRefused

from broker.config import BrokerConfig
from broker.port import (
    AccessRefusedError,
    DisconnectedError,
    Message,
    NackedError,
    PublishTimeoutError,
    UnroutableError,
)
from broker.rabbitmq.errors import is_blamed, translated
from broker.rabbitmq.session import Session
from events.codec import CONTENT_TYPE

TRANSIENT: Final = 1  # AMQP 0-9-1, delivery-mode
PERSISTENT: Final = 2
_CHANNEL_CLOSED: Final = (ChannelAccessRefused, ChannelNotFoundEntity)


class Publisher:
    """Publishes for one user; ``user_id`` is set on every message, so that readers know who wrote it."""

    def __init__(self, session: Session, config: BrokerConfig) -> None:
        self._session = session
        self._user = config.user
        self._timeout_s = config.publish_timeout_s
        self._amqp_channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()

    async def publish(self, message: Message) -> None:
        """Publish and wait for the confirmation; see ``broker.port.Broker.publish``."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while not await self._is_confirmed(message):
                    pass
        except TimeoutError:
            raise self._too_late(message) from None

    async def _is_confirmed(self, message: Message) -> bool:
        """Try once. False when the AMQP channel was closed by somebody else's fault: try again on a new one."""
        amqp_channel = await self._channel()
        try:
            with translated():
                try:
                    await self._send(amqp_channel, message)
                except PublishError as error:
                    raise UnroutableError(
                        f"no queue takes {message.routing_key!r} from {message.exchange!r}"
                    ) from error
                except DeliveryError as error:
                    raise NackedError(f"the broker could not take {message.message_id}") from error
                except ChannelInvalidStateError:
                    return False
                except _CHANNEL_CLOSED as error:
                    if not is_blamed(message, str(error)):
                        return False
                    if isinstance(error, ChannelNotFoundEntity):
                        raise UnroutableError(str(error)) from error
                    raise AccessRefusedError(str(error)) from error
        finally:
            if amqp_channel.is_closed and self._amqp_channel is amqp_channel:
                self._amqp_channel = None
        return True

    async def _send(self, amqp_channel: AbstractChannel, message: Message) -> None:
        underlay = await amqp_channel.get_underlay_channel()
        await underlay.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=_properties(message, self._user),
            mandatory=True,
        )

    async def _channel(self) -> AbstractChannel:
        if (amqp_channel := self._usable()) is not None:
            return amqp_channel
        async with self._opening:
            if (amqp_channel := self._usable()) is not None:
                return amqp_channel
            self._amqp_channel = await self._session.open_channel(confirms=True)
            return self._amqp_channel

    def _usable(self) -> AbstractChannel | None:
        amqp_channel = self._amqp_channel
        return None if amqp_channel is None or amqp_channel.is_closed else amqp_channel

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
