"""``RabbitBroker``: the port, put together from session, publisher, consumer and follower."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from types import TracebackType
from typing import Final, Self

from broker.config import BrokerConfig
from broker.port import PREFETCH_MAX, Delivery, Fold, From, Handler, Health, Message, Span, Start
from broker.rabbitmq.consumer import Consumer
from broker.rabbitmq.declarations import exists, prove_stream
from broker.rabbitmq.follower import Follower
from broker.rabbitmq.publisher import Publisher
from broker.rabbitmq.session import Session

READ_AT_ONCE: Final = 500  # entries come by twos and threes, and each batch goes through several hands


class RabbitBroker:
    """One user's connection to RabbitMQ; implements ``broker.port.Broker``. ``async with RabbitBroker(config)``."""

    def __init__(self, config: BrokerConfig, *, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self._config = config
        self._session = Session(config, rng=self._rng)
        self._publisher = Publisher(self._session, config)

    @property
    def health(self) -> Health:
        """Tell how the connection fares now."""
        return self._session.health

    async def __aenter__(self) -> Self:
        """Connect; try until the broker is there.

        Raises:
            AccessRefusedError: wrong user, password or virtual host.
        """
        await self._session.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect, within a few seconds even from a broker that does not answer."""
        await self._session.close()

    async def publish(self, message: Message) -> None:
        """Hand a message over; return once it is safe with the broker. See ``broker.port.Broker.publish``."""
        await self._publisher.publish(message)

    async def consume(self, queue: str, handler: Handler, *, prefetch: int = PREFETCH_MAX) -> None:
        """Hand the messages of a queue to the handler, until cancelled. See ``broker.port.Broker.consume``."""
        await Consumer(self._session, queue, handler, prefetch=prefetch, rng=self._rng).run()

    async def follow(self, stream: str, fold: Fold, *, start: Start = From.FIRST) -> None:
        """Hand the entries of a stream to ``fold``, until cancelled. See ``broker.port.Broker.follow``."""
        follower = Follower(self._session, self._config, stream, start=start, rng=self._rng)
        async with aclosing(follower.batches()) as batches:
            async for batch in batches:
                for delivery in batch:
                    fold(delivery)

    async def span(self, stream: str) -> Span:
        """Tell where the entries of a stream lie now. See ``broker.port.Broker.span``."""
        end = await prove_stream(self._session, stream)
        async with aclosing(self.read(stream, end=end)) as batches:
            async for batch in batches:
                return Span(first=batch[0].offset, end=end)
        return Span(first=None, end=end)

    async def read(self, stream: str, *, end: int, start: Start = From.FIRST) -> AsyncGenerator[Sequence[Delivery]]:
        """Give the entries of a stream up to ``end``. See ``broker.port.Broker.read``."""
        if isinstance(start, int) and start >= end:
            return  # RabbitMQ would have us wait there for what is not asked for
        follower = Follower(self._session, self._config, stream, start=start, rng=self._rng)
        read: list[Delivery] = []
        async with aclosing(follower.batches()) as batches:
            async for batch in batches:
                read += [delivery for delivery in batch if delivery.offset is None or delivery.offset < end]
                is_over = follower.last_offset >= end - 1
                if read and (is_over or len(read) >= READ_AT_ONCE):
                    yield read
                    read = []
                if is_over:
                    return

    async def exists(self, queue: str) -> bool:
        """Tell whether a queue or stream is there. See ``broker.port.Broker.exists``."""
        return await exists(self._session, queue)

    def on_connected(self, callback: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Call back after each (re)connection but the first, while the block is entered."""
        return self._session.on_connected(callback)
