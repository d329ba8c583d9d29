"""One consumer on an AMQP channel of its own, while both live. What arrives waits here to be taken, in order.

The callback only notes what came: aio-pika cancels its callbacks when the AMQP channel closes, and ours must not be
running a handler then. It is registered below aio-pika's message class, which raises on odd properties and then never
settles, so that any writer could starve us.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import AbstractChannel as UnderlayChannel
from aiormq.abc import ArgumentsType, DeliveredMessage

from broker.port import BrokerError, Delivery, DisconnectedError, TopologyError
from broker.rabbitmq.errors import port_error, translated
from broker.rabbitmq.session import CLOSE_TIMEOUT_S, RPC_TIMEOUT_S, Session

# Writing a settlement waits only while the broker reads nothing from us. A lost connection is noticed after 18 s; what
# was queued for it is then waited for in vain.
SETTLE_TIMEOUT_S: Final = 30.0
OFFSET_HEADER: Final = "x-stream-offset"
DELIVERIES_HEADER: Final = "x-delivery-count"

log = structlog.stdlib.get_logger()


class Subscription:
    """A live consumer; made by ``subscribed``."""

    def __init__(self, underlay: UnderlayChannel) -> None:
        self._underlay = underlay
        self._waiting: deque[DeliveredMessage] = deque()
        self._changed = asyncio.Event()
        self._ended: BrokerError | None = None
        self._over = asyncio.Event()

    async def take(self, limit: int) -> list[DeliveredMessage]:
        """Wait for messages and give the oldest, at most ``limit``.

        Raises:
            TopologyError: the broker cancelled the consumer: its queue is gone.
            DisconnectedError: the connection or the AMQP channel was lost.
        """
        while not self._waiting:
            if self._ended is not None:
                raise self._ended
            self._changed.clear()
            await self._changed.wait()
        return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    async def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Settle a message, or all up to it.

        Raises:
            DisconnectedError: too late; it will be delivered again.
        """
        await self._settled(self._underlay.basic_ack(tag, multiple=multiple, wait=False))

    async def requeue(self, tag: int) -> None:
        """Give a message back to its queue. Never to a stream: RabbitMQ closes the connection.

        Raises:
            DisconnectedError: too late; it will be delivered again anyway.
        """
        await self._settled(self._underlay.basic_nack(tag, requeue=True, wait=False))

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until the subscription ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def note(self, message: DeliveredMessage) -> None:
        """Take what was delivered."""
        self._waiting.append(message)
        self._changed.set()

    def end(self, error: BrokerError) -> None:
        """Note that nothing more will come."""
        self._ended = self._ended or error
        self._over.set()
        self._changed.set()

    async def _settled(self, write: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                with translated():
                    await write
        except TimeoutError:
            self.end(DisconnectedError(f"the broker read nothing for {SETTLE_TIMEOUT_S:.0f} s"))
            raise DisconnectedError("not settled in time") from None


@asynccontextmanager
async def subscribed(
    session: Session, queue: str, *, prefetch: int, arguments: ArgumentsType | None = None
) -> AsyncGenerator[Subscription]:
    """Consume from a queue or stream while the block is entered; waits for the connection.

    Raises:
        AccessRefusedError: this user may not read there.
        TopologyError: there is no such queue.
        DisconnectedError: the connection was lost, or the broker did not answer in time.
    """
    amqp_channel = await session.open_channel()
    try:
        underlay = await amqp_channel.get_underlay_channel()
        subscription = Subscription(underlay)
        amqp_channel.close_callbacks.add(lambda _, error: subscription.end(_as_end(error)))
        underlay.on_consumer_cancel_callbacks.add(lambda _: subscription.end(TopologyError(f"{queue!r} is gone")))
        await _start(underlay, subscription, queue, prefetch=prefetch, arguments=arguments)
        yield subscription
    finally:
        await close_channel(amqp_channel)


async def close_channel(amqp_channel: AbstractChannel) -> None:
    """Close an AMQP channel, within ``CLOSE_TIMEOUT_S``; whatever happens, it is out of use."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            with translated():
                await amqp_channel.close()
    except (TimeoutError, BrokerError) as error:
        log.debug("broker.channel_close_failed", error=str(error))


def delivery_of(message: DeliveredMessage) -> Delivery:
    """Write what aio-pika delivered as the port has it."""
    properties = message.header.properties
    headers = properties.headers or {}
    offset = headers.get(OFFSET_HEADER)
    return Delivery(
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
        message_id=properties.message_id or "",
        type=properties.message_type or "",
        user_id=properties.user_id or "",
        body=message.body,
        headers={name: value for name, value in headers.items() if isinstance(value, str)},
        offset=offset if isinstance(offset, int) else None,
        redelivered=bool(message.redelivered),
    )


def deliveries_of(message: DeliveredMessage) -> int:
    """Tell how often a quorum queue delivered this message before; 0 where nobody counts."""
    count = (message.header.properties.headers or {}).get(DELIVERIES_HEADER)
    return count if isinstance(count, int) else 0


def tag_of(message: DeliveredMessage) -> int:
    """Give the tag by which a message is settled."""
    return message.delivery_tag or 0


async def _start(
    underlay: UnderlayChannel,
    subscription: Subscription,
    queue: str,
    *,
    prefetch: int,
    arguments: ArgumentsType | None,
) -> None:
    async def note(message: DeliveredMessage) -> None:
        subscription.note(message)

    try:
        async with asyncio.timeout(RPC_TIMEOUT_S):
            with translated():
                await underlay.basic_qos(prefetch_count=prefetch)
                await underlay.basic_consume(queue, note, arguments=arguments)
    except TimeoutError:
        raise DisconnectedError(f"no subscription to {queue!r} within {RPC_TIMEOUT_S:.0f} s") from None


def _as_end(error: BaseException | None) -> BrokerError:
    if isinstance(error, Exception):
        return port_error(error)
    return DisconnectedError("the AMQP channel was closed")
