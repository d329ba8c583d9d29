"""What is declared, asked and proved over AMQP, each on a channel of its own: RabbitMQ closes it on any refusal."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError
from aiormq import spec
from aiormq.abc import AbstractChannel as UnderlayChannel
from aiormq.abc import DeliveredMessage

from broker.handling import PROBE_TYPE
from broker.port import DisconnectedError, TopologyError, UnansweredError
from broker.rabbitmq.errors import InaccessibleError, port_error, translated
from broker.rabbitmq.session import Session
from broker.rabbitmq.subscription import OFFSET_HEADER, close_channel, delivery_of, subscribed, tag_of
from broker.topology import Exchange, Queue
from events.routing import Binding

# A sound queue answers and confirms in milliseconds, and in seconds after a restart of the broker; one whose leader was
# killed right after its declaration never does.
ANSWER_TIMEOUT_S: Final = 10.0
# A quorum queue that is declared again at once leaves the consumers of the deleted one untold, and starving (RabbitMQ
# 3.10.8: after 10 ms they were untold, after 50 ms told).
DELETION_TOLD_S: Final = 0.5
PROBE_EXPIRES_MS: Final = "1"  # a probe is for nobody: an idle queue drops it again
PROBE_PREFETCH: Final = 100
TRANSIENT: Final = 1  # AMQP 0-9-1, delivery-mode
PERSISTENT: Final = 2
ASK_AGAIN_AFTER_S: Final = 0.5  # while the broker comes up


async def exists(session: Session, queue: str) -> bool:
    """Tell whether a queue or stream is there.

    Raises:
        TopologyError: it is there but broken.
    """

    async def ask() -> bool:
        async with _amqp_channel(session) as underlay:
            try:
                await _in_time(session, underlay.queue_declare(queue, passive=True), f"asking for {queue!r}")
            except ChannelNotFoundEntity as error:
                if isinstance(port_error(error), InaccessibleError):
                    raise
                return False
            return True

    return await _patiently(session, ask)


async def declare_exchange(session: Session, exchange: Exchange) -> None:
    """Declare a durable topic exchange.

    Raises:
        TopologyError: it exists with another type.
    """
    async with _amqp_channel(session) as underlay:
        declaring = underlay.exchange_declare(exchange.name, exchange_type="topic", durable=True)
        await _in_time(session, declaring, f"declaring {exchange.name!r}")


async def declare_queue(session: Session, queue: Queue) -> None:
    """Declare a durable queue or stream.

    Raises:
        TopologyError: it exists with other arguments, or the broker cannot bring it up.
    """
    async with _amqp_channel(session) as underlay:
        declaring = underlay.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
        await _in_time(session, declaring, f"declaring {queue.name!r}")


async def bind_queue(session: Session, queue: Queue) -> None:
    """Bind a queue or stream that is there.

    Raises:
        TopologyError: it is not there, or an exchange is not.
    """
    async with _amqp_channel(session) as underlay:
        for bound in queue.bindings:
            await _in_time(
                session, underlay.queue_bind(queue.name, bound.exchange, bound.pattern), f"binding {queue.name!r}"
            )


async def unbind(session: Session, queue: str, binding: Binding) -> None:
    """Take a binding away; one that is not there is gone already."""
    async with _amqp_channel(session) as underlay:
        try:
            await _in_time(
                session, underlay.queue_unbind(queue, binding.exchange, binding.pattern), f"unbinding {queue!r}"
            )
        except ChannelNotFoundEntity:
            return


async def delete_queue(session: Session, queue: str) -> None:
    """Delete a queue, if it is there.

    Raises:
        TopologyError: the broker cannot.
    """
    async with _amqp_channel(session) as underlay:
        try:
            await _in_time(session, underlay.queue_delete(queue), f"deleting {queue!r}")
        except ChannelNotFoundEntity:
            return
        await asyncio.sleep(DELETION_TOLD_S)


async def prove_queue(session: Session, queue: str) -> None:
    """Write a probe to a queue and see it confirmed.

    Raises:
        TopologyError: it was not.
    """
    async with _amqp_channel(session, confirms=True) as underlay:
        await _write_probe(session, underlay, queue, secrets.token_hex(8))


async def prove_stream(session: Session, stream: str) -> int:
    """Write a probe to a stream and read it back; give its offset, which all that was confirmed before is below.

    Raises:
        TopologyError: it did not come back.
    """
    probe_id = secrets.token_hex(8)
    async with (
        subscribed(session, stream, prefetch=PROBE_PREFETCH, arguments={OFFSET_HEADER: "next"}) as subscription,
        _amqp_channel(session, confirms=True) as underlay,
    ):
        await _write_probe(session, underlay, stream, probe_id)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while True:
                    read = await subscription.take(PROBE_PREFETCH)
                    await subscription.ack(tag_of(read[-1]), multiple=True)
                    if (offset := _offset_of(probe_id, read)) is not None:
                        return offset
        except TimeoutError:
            raise UnansweredError(f"{stream!r} does not give back what it took") from None


def _offset_of(probe_id: str, messages: Sequence[DeliveredMessage]) -> int | None:
    for message in messages:
        if message.header.properties.message_id == probe_id:
            return delivery_of(message).offset
    return None


async def _write_probe(session: Session, underlay: UnderlayChannel, queue: str, probe_id: str) -> None:
    properties = spec.Basic.Properties(
        message_id=probe_id, message_type=PROBE_TYPE, delivery_mode=PERSISTENT, expiration=PROBE_EXPIRES_MS
    )
    publishing = underlay.basic_publish(
        probe_id.encode(), exchange="", routing_key=queue, properties=properties, mandatory=True
    )
    try:
        await _in_time(session, publishing, f"a probe of {queue!r}")
    except DeliveryError as error:  # also aio-pika's for an unroutable one: the queue is not there
        raise TopologyError(f"{queue!r} took no probe: {error}") from error


async def _patiently(session: Session, ask: Callable[[], Awaitable[bool]]) -> bool:
    """Ask again while what is inaccessible may be so because the broker is coming up."""
    while True:
        try:
            return await ask()
        except InaccessibleError:
            if not session.is_fresh:
                raise
            await asyncio.sleep(ASK_AGAIN_AFTER_S)


@asynccontextmanager
async def _amqp_channel(session: Session, *, confirms: bool = False) -> AsyncGenerator[UnderlayChannel]:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            amqp_channel = await session.open_channel(confirms=confirms)
    except TimeoutError:
        raise DisconnectedError(f"not connected: {session.health.last_error}") from None
    try:
        with translated():
            yield await amqp_channel.get_underlay_channel()
    finally:
        await close_channel(amqp_channel)


async def _in_time(session: Session, asking: Awaitable[object], what: str) -> None:
    """Wait for an answer; tell a queue that is silent from a whole connection that is."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await asking
    except TimeoutError:
        if session.health.connected and not session.health.blocked:
            raise UnansweredError(f"{what}: no answer within {ANSWER_TIMEOUT_S:.0f} s") from None
        raise DisconnectedError(f"{what}: not connected, or blocked") from None
