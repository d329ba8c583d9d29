"""Following a stream: every entry once and in order, across lost connections.

It resumes *at* the last entry that it read, not after it: RabbitMQ silently skips entries for a reader that attached
beyond the end, and the entry read again proves that the stream is still the same one.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

import structlog
from aiormq.abc import ArgumentsType, DeliveredMessage

from broker.backoff import backoff_s
from broker.handling import is_probe
from broker.port import (
    LOG_PREFETCH_MAX,
    AccessRefusedError,
    BrokerError,
    Fold,
    From,
    Start,
    TopologyError,
)
from broker.rabbitmq.consumer import RESUBSCRIBE_FIRST_S, RESUBSCRIBE_MAX_S
from broker.rabbitmq.session import Session
from broker.rabbitmq.subscription import OFFSET_HEADER, Subscription, delivery_of, subscribed, tag_of

FOLDS_AT_ONCE: Final = 100  # one acknowledgement and one turn for everybody else after so many
# A broker that has just come up does not know its streams yet and calls them missing.
STREAM_PATIENCE_S: Final = 15.0

log = structlog.stdlib.get_logger()


class Position:
    """How far a stream was read, and where to attach next. Pure."""

    def __init__(self, start: Start, *, now: datetime) -> None:
        self._attach_at = _attachment(start, now=now)
        self._last: int | None = None
        self._last_id = ""

    @property
    def attach_at(self) -> str | int | datetime:
        """The value for RabbitMQ's ``x-stream-offset``."""
        return self._attach_at if self._last is None else self._last

    def attached(self, *, now: datetime) -> None:
        """Note that the broker took the subscription."""
        if self._attach_at == From.NEXT.value:
            self._attach_at = now  # the end will have moved when nothing came until the connection is lost

    def is_news(self, offset: int, message_id: str) -> bool:
        """Note an entry; tell whether it was not read before.

        Raises:
            TopologyError: another entry stands where the last one was read: the stream was made anew.
        """
        if self._last is not None and offset <= self._last:
            if offset == self._last and message_id != self._last_id:
                raise TopologyError(f"offset {offset} holds {message_id!r}, not {self._last_id!r}: another stream")
            return False
        self._last, self._last_id = offset, message_id
        return True


class Follower:
    """Reads one stream into one fold until cancelled."""

    def __init__(self, session: Session, stream: str, fold: Fold, *, start: Start, rng: random.Random) -> None:
        self._session = session
        self._stream = stream
        self._fold = fold
        self._position = Position(start, now=datetime.now(UTC))
        self._rng = rng
        self._attached_on: int | None = None  # which of the session's connections

    async def run(self) -> NoReturn:
        """Read; attach again after every loss.

        Raises:
            AccessRefusedError: this user may not read there.
            TopologyError: the stream is not there (any more), or was made anew.
        """
        tries = 0
        while True:
            try:
                arguments: ArgumentsType = {OFFSET_HEADER: self._position.attach_at}
                async with subscribed(
                    self._session, self._stream, prefetch=LOG_PREFETCH_MAX, arguments=arguments
                ) as subscription:
                    tries = 0
                    self._attached_on = self._session.health.reconnects
                    self._position.attached(now=datetime.now(UTC))
                    await self._read(subscription)
            except BrokerError as error:
                if isinstance(error, AccessRefusedError) or (isinstance(error, TopologyError) and self._is_final()):
                    raise
                wait_s = backoff_s(tries, first_s=RESUBSCRIBE_FIRST_S, max_s=RESUBSCRIBE_MAX_S, rng=self._rng)
                tries += 1
                log.warning("broker.stream_lost", stream=self._stream, error=str(error), retry_after_s=wait_s)
                await asyncio.sleep(wait_s)

    async def _read(self, subscription: Subscription) -> NoReturn:
        while True:
            messages = await subscription.take(FOLDS_AT_ONCE)
            for message in messages:
                self._take(message)
            await subscription.ack(tag_of(messages[-1]), multiple=True)
            await asyncio.sleep(0)

    def _take(self, message: DeliveredMessage) -> None:
        delivery = delivery_of(message)
        if delivery.offset is None:
            raise TopologyError(f"{self._stream!r} is no stream")
        is_news = self._position.is_news(delivery.offset, delivery.message_id)
        if is_news and not is_probe(delivery.exchange, delivery.type):
            self._fold(delivery)

    def _is_final(self) -> bool:
        """Tell whether a missing stream is missing for good, or the broker may be coming up only now."""
        health = self._session.health
        if not health.connected:
            return False
        connected_for_s = asyncio.get_running_loop().time() - health.since_s
        is_reconnected = self._attached_on is not None and self._attached_on != health.reconnects
        return not is_reconnected or connected_for_s > STREAM_PATIENCE_S


def _attachment(start: Start, *, now: datetime) -> str | int | datetime:
    match start:
        case From():
            return start.value
        case timedelta():
            return now - start
        case int():
            return start
