"""Consuming a queue: handlers run side by side, bounded by the prefetch; each one's verdict is settled here alone.

Handlers are not cancelled when the connection is lost: they finish, their settlement fails, and the broker delivers
again. The next subscription begins after they have ended, so that no message is handled twice at the same time.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final, NoReturn

import structlog
from aiormq.abc import DeliveredMessage

from broker.backoff import backoff_s
from broker.handling import ask, is_probe, retry_after_s
from broker.port import AccessRefusedError, BrokerError, Handler, Outcome
from broker.rabbitmq.acks import Unsettled
from broker.rabbitmq.session import Session
from broker.rabbitmq.subscription import Subscription, deliveries_of, delivery_of, subscribed, tag_of

RESUBSCRIBE_FIRST_S: Final = 0.1  # after a lost connection the queue is there at once
RESUBSCRIBE_MAX_S: Final = 5.0  # a missing queue comes back when the master provisions it

log = structlog.stdlib.get_logger()


class Consumer:
    """Consumes one queue with one handler until cancelled."""

    def __init__(self, session: Session, queue: str, handler: Handler, *, prefetch: int, rng: random.Random) -> None:
        self._session = session
        self._queue = queue
        self._handler = handler
        self._prefetch = prefetch
        self._rng = rng

    async def run(self) -> NoReturn:
        """Consume; subscribe again after every loss.

        Raises:
            AccessRefusedError: this user may not read there.
        """
        tries = 0
        while True:
            try:
                async with subscribed(self._session, self._queue, prefetch=self._prefetch) as subscription:
                    tries = 0
                    await self._serve(subscription)
            except AccessRefusedError:
                raise
            except BrokerError as error:
                wait_s = backoff_s(tries, first_s=RESUBSCRIBE_FIRST_S, max_s=RESUBSCRIBE_MAX_S, rng=self._rng)
                tries += 1
                log.warning("broker.subscription_lost", queue=self._queue, error=str(error), retry_after_s=wait_s)
                await asyncio.sleep(wait_s)

    async def _serve(self, subscription: Subscription) -> NoReturn:
        settling = _Settling(subscription)
        async with asyncio.TaskGroup() as handlers:
            try:
                while True:
                    for message in await subscription.take(self._prefetch):
                        settling.begin(tag_of(message))
                        handlers.create_task(self._handle(message, subscription, settling))
            except BrokerError as error:
                lost = error  # raised below, once the handlers are done; here it would cancel them
        raise lost

    async def _handle(self, message: DeliveredMessage, subscription: Subscription, settling: _Settling) -> None:
        delivery = delivery_of(message)
        if is_probe(delivery.exchange, delivery.type):
            outcome = Outcome.ACK
        else:
            outcome = await ask(self._handler, delivery, queue=self._queue)
        if outcome is Outcome.RETRY:
            await subscription.pause(retry_after_s(deliveries_of(message)))
        try:
            await settling.settle(tag_of(message), outcome)
        except BrokerError as error:
            log.debug("broker.settled_too_late", queue=self._queue, message_id=delivery.message_id, error=str(error))


class _Settling:
    """Writes settlements; while one is being written the next ones gather, and go out as one."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._unsettled = Unsettled()
        self._writing = False

    def begin(self, tag: int) -> None:
        self._unsettled.add(tag)

    async def settle(self, tag: int, outcome: Outcome) -> None:
        if outcome is Outcome.RETRY:
            await self._subscription.requeue(tag)
            self._unsettled.drop(tag)
            return
        self._unsettled.done(tag)
        if not self._writing:
            self._writing = True
            try:
                await self._write_all()
            finally:
                self._writing = False

    async def _write_all(self) -> None:
        await asyncio.sleep(0)  # let the handlers that end in this turn of the loop join
        while acks := self._unsettled.take_acks():
            if acks.through is not None:
                await self._subscription.ack(acks.through, multiple=True)
            for tag in acks.singles:
                await self._subscription.ack(tag)
