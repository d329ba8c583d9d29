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
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import structlog
from aiormq.abc import ArgumentsType, DeliveredMessage

from broker.backoff import backoff_s
from broker.config import BrokerConfig
from broker.handling import is_probe
from broker.port import (
    LOG_PREFETCH_MAX,
    AccessRefusedError,
    BrokerError,
    Delivery,
    DisconnectedError,
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
BATCH_MAX: Final = 100  # then everybody else gets a turn
# A stream takes an acknowledgement for leave to send more, and nothing else. Entries come by twos and threes, and to
# acknowledge those costs more than to read them; a quarter of what may be under way keeps the broker busy.
SETTLE_EVERY: Final = LOG_PREFETCH_MAX // 4

log = structlog.stdlib.get_logger()


class Follower:
    """Reads one stream, a batch at a time, for as long as somebody takes them."""

    def __init__(
        self, session: Session, config: BrokerConfig, stream: str, *, start: Start, rng: random.Random
    ) -> None:
        self._session = session
        self._config = config
        self._stream = stream
        self._position = Position(start, now=datetime.now(UTC))
        self._rng = rng
        self._attachments = 0

    @property
    def last_offset(self) -> int:
        """How far it has read; -1 before anything was. What is not given out, probes, is read all the same."""
        return self._position.last_offset

    async def batches(self) -> AsyncGenerator[Sequence[Delivery]]:
        """Give what is read, without an end; an empty batch where only probes were. Attach again after every loss.

        Raises:
            AccessRefusedError: this user may not read there.
            PositionLostError: the entry that was read last is not there.
            TopologyError: the stream is not there (any more).
        """
        tries = 0
        while True:
            attachments = self._attachments
            try:
                async with self._attached() as subscription:
                    was_careful, unsettled = self._position.is_careful, 0
                    while self._position.is_careful is was_careful:  # careful reading ends with its work
                        messages = await self._taken(subscription)
                        yield self._news(messages)
                        unsettled += len(messages)
                        if was_careful or unsettled >= SETTLE_EVERY:
                            await subscription.ack(tag_of(messages[-1]), multiple=True)
                            unsettled = 0
                        if len(messages) == BATCH_MAX:
                            await asyncio.sleep(0)  # more may be waiting: others get their turn
            except (AccessRefusedError, TopologyError):
                raise
            except BrokerError as error:
                tries = 0 if self._attachments > attachments else tries + 1
                wait_s = backoff_s(tries, first_s=RESUBSCRIBE_FIRST_S, max_s=RESUBSCRIBE_MAX_S, rng=self._rng)
                log.warning("broker.stream_lost", stream=self._stream, error=str(error), retry_after_s=wait_s)
                await asyncio.sleep(wait_s)

    @asynccontextmanager
    async def _attached(self) -> AsyncGenerator[Subscription]:
        """Attach where it was left: on the shared connection, or, while careful, on one of its own."""
        if not self._position.is_careful:
            try:
                async with self._attached_over(self._session) as subscription:
                    yield subscription
            except UnreadableFrameError:
                self._position.be_careful()
                raise
            return
        async with Session(self._config, rng=self._rng) as own_session:
            try:
                async with self._attached_over(own_session) as subscription:
                    yield subscription
            except UnreadableFrameError as error:
                if (passed := self._position.pass_over(now=datetime.now(UTC))) is not None:
                    # Without a traceback: it is aio-pika's and says nothing more.
                    log.error("broker.entry_unreadable", stream=self._stream, passed=str(passed), error=str(error))  # noqa: TRY400
                raise

    @asynccontextmanager
    async def _attached_over(self, session: Session) -> AsyncGenerator[Subscription]:
        arguments: ArgumentsType = {OFFSET_HEADER: self._position.attach_at}
        try:
            async with subscribed(
                session, self._stream, prefetch=self._position.prefetch, arguments=arguments
            ) as subscription:
                self._attachments += 1
                self._position.attached(now=datetime.now(UTC))
                yield subscription
        except InaccessibleError as error:
            if not session.is_fresh:
                raise
            raise DisconnectedError(f"the broker is coming up: {error}") from error

    async def _taken(self, subscription: Subscription) -> list[DeliveredMessage]:
        """Take what came; the entry that proves the position comes at once, if it is there."""
        if self._position.is_proved:
            return await subscription.take(BATCH_MAX)
        try:
            async with asyncio.timeout(PROOF_TIMEOUT_S):
                return await subscription.take(BATCH_MAX)
        except TimeoutError:
            where = f"{self._stream!r} gives nothing at offset {self._position.attach_at}"
            raise PositionLostError(f"{where}, where an entry was read: it ends before, or is another one") from None

    def _news(self, messages: Sequence[DeliveredMessage]) -> list[Delivery]:
        """Give what was not read before."""
        news: list[Delivery] = []
        for delivery in map(delivery_of, messages):
            if delivery.offset is None:
                raise TopologyError(f"{self._stream!r} is no stream")
            is_news = self._position.is_news(delivery.offset, delivery.message_id)
            if is_news and not is_probe(delivery.exchange, delivery.type):
                news.append(delivery)
        return news
