"""Following a stream: every entry once and in order, across lost connections.

It resumes *at* the last entry that it read, not after it: RabbitMQ silently skips entries for a reader that attached
beyond the end, and the entry read again proves that the stream is still the same one.

RabbitMQ stores what aio-pika cannot decode (a property that is not UTF-8), and one such entry ends the connection of
every reader, each time. Any mirror can write one. A reader whose connection ended so goes on alone, on a connection of
its own and entry by entry; what ends that one, too, is passed over.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Final, NoReturn

import structlog
from aiormq.abc import ArgumentsType, DeliveredMessage

from broker.backoff import backoff_s
from broker.config import BrokerConfig
from broker.handling import is_probe
from broker.port import (
    AccessRefusedError,
    BrokerError,
    DisconnectedError,
    Fold,
    PositionLostError,
    Start,
    TopologyError,
)
from broker.rabbitmq.consumer import RESUBSCRIBE_FIRST_S, RESUBSCRIBE_MAX_S
from broker.rabbitmq.errors import InaccessibleError, UnreadableFrameError
from broker.rabbitmq.position import Position
from broker.rabbitmq.session import Session
from broker.rabbitmq.subscription import OFFSET_HEADER, Subscription, delivery_of, subscribed, tag_of

# A reader that attached beyond the end waits for ever. A broker that comes up answers in less; else it costs a replay.
PROOF_TIMEOUT_S: Final = 60.0
FOLDS_AT_ONCE: Final = 100  # one acknowledgement and one turn for everybody else after so many

log = structlog.stdlib.get_logger()


class Follower:
    """Reads one stream into one fold until cancelled."""

    def __init__(
        self, session: Session, config: BrokerConfig, stream: str, fold: Fold, *, start: Start, rng: random.Random
    ) -> None:
        self._session = session
        self._config = config
        self._stream = stream
        self._fold = fold
        self._position = Position(start, now=datetime.now(UTC))
        self._rng = rng
        self._attachments = 0

    async def run(self) -> NoReturn:
        """Read; attach again after every loss.

        Raises:
            AccessRefusedError: this user may not read there.
            PositionLostError: the entry that was read last is not there.
            TopologyError: the stream is not there (any more).
        """
        tries = 0
        while True:
            attachments = self._attachments
            try:
                await self._read_on()
            except (AccessRefusedError, TopologyError):
                raise
            except BrokerError as error:
                tries = 0 if self._attachments > attachments else tries + 1
                wait_s = backoff_s(tries, first_s=RESUBSCRIBE_FIRST_S, max_s=RESUBSCRIBE_MAX_S, rng=self._rng)
                log.warning("broker.stream_lost", stream=self._stream, error=str(error), retry_after_s=wait_s)
                await asyncio.sleep(wait_s)

    async def _read_on(self) -> None:
        if not self._position.is_careful:
            try:
                await self._attach(self._session)
            except UnreadableFrameError:
                self._position.be_careful()
                raise
            return
        async with Session(self._config, rng=self._rng) as own_session:
            try:
                await self._attach(own_session)
            except UnreadableFrameError as error:
                if (passed := self._position.pass_over(now=datetime.now(UTC))) is not None:
                    # Without a traceback: it is aio-pika's and says nothing more.
                    log.error("broker.entry_unreadable", stream=self._stream, passed=str(passed), error=str(error))  # noqa: TRY400
                raise

    async def _attach(self, session: Session) -> None:
        arguments: ArgumentsType = {OFFSET_HEADER: self._position.attach_at}
        try:
            async with subscribed(
                session, self._stream, prefetch=self._position.prefetch, arguments=arguments
            ) as subscription:
                self._attachments += 1
                self._position.attached(now=datetime.now(UTC))
                await self._read(subscription)
        except InaccessibleError as error:
            if not session.is_fresh:
                raise
            raise DisconnectedError(f"the broker is coming up: {error}") from error

    async def _read(self, subscription: Subscription) -> None:
        """Read until the subscription ends, or careful reading has done its work."""
        was_careful = self._position.is_careful
        while self._position.is_careful is was_careful:
            messages = await self._taken(subscription)
            for message in messages:
                self._take(message)
            await subscription.ack(tag_of(messages[-1]), multiple=True)
            await asyncio.sleep(0)

    async def _taken(self, subscription: Subscription) -> list[DeliveredMessage]:
        """Take what came; the entry that proves the position comes at once, if it is there."""
        try:
            async with asyncio.timeout(None if self._position.is_proved else PROOF_TIMEOUT_S):
                return await subscription.take(FOLDS_AT_ONCE)
        except TimeoutError:
            where = f"{self._stream!r} gives nothing at offset {self._position.attach_at}"
            raise PositionLostError(f"{where}, where an entry was read: it ends before, or is another one") from None

    def _take(self, message: DeliveredMessage) -> None:
        delivery = delivery_of(message)
        if delivery.offset is None:
            raise TopologyError(f"{self._stream!r} is no stream")
        is_news = self._position.is_news(delivery.offset, delivery.message_id)
        if is_news and not is_probe(delivery.exchange, delivery.type):
            self._fold(delivery)
