"""The outbox relay: what was committed with the state it reports is published, in order, until the broker has it.

A service writes each event in the same database transaction as the state that it reports. The relay reads the
rows in order, publishes a batch, and forgets those that were confirmed. Whatever fails stays and is published again:
at least once, never lost. Readers drop the repetitions by the event's version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from broker.port import AccessRefusedError, Broker, BrokerError, Message, UnroutableError
from events.codec import encode, encode_proven
from events.envelope import Envelope
from events.routing import address_of
from events.schemas import tag_of

BATCH_MAX: Final = 200  # measured: more in flight gains nothing, and all of a failed batch goes out again
RETRY_AFTER_S: Final = 0.5  # a broker restart takes seconds; asking more often only fills the log
RETRY_AFTER_S_MAX: Final = 5.0  # bounds how long a recovered broker waits for our backlog

log = structlog.stdlib.get_logger()


class OutboxError(Exception):
    """The store behind an outbox cannot be used now. Whoever implements ``Outbox`` raises it; the relay tries again."""


@dataclass(frozen=True, slots=True)
class Pending:
    """One row of an outbox. ``position`` rises with the order of commits."""

    position: int
    message: Message


class Outbox(Protocol):
    """Where a service's store keeps what is yet to be published."""

    async def pending(self, limit: int) -> Sequence[Pending]:
        """Give the oldest rows, in order.

        Raises:
            OutboxError: the store cannot be used now.
        """
        ...

    async def forget(self, positions: Sequence[int]) -> None:
        """Delete rows that the broker has taken over.

        Raises:
            OutboxError: the store cannot be used now; all of them may still be there.
        """
        ...


def message_of(envelope: Envelope, *, persistent: bool = True, proven: bool = False) -> Message:
    """Write an envelope as the message that carries it, addressed to where it belongs.

    ``proven``: its every field was validated before (see ``events.codec.encode_proven``).

    Raises:
        UnspeakableEventError: a field holds what it may not, or the whole is too large.
    """
    address = address_of(envelope.event)
    return Message(
        exchange=address.exchange,
        routing_key=address.routing_key,
        message_id=envelope.id,
        type=tag_of(envelope.event),
        body=encode_proven(envelope) if proven else encode(envelope),
        headers={"traceparent": envelope.traceparent} if envelope.traceparent else {},
        persistent=persistent,
    )


class Relay:
    """Publishes an outbox. ``wake`` it after each commit; it also tries again by itself after a failure.

    ``on_unroutable`` is called, after a pause, when nothing takes what is published: whoever can provisions again.
    """

    def __init__(self, outbox: Outbox, broker: Broker, *, on_unroutable: Callable[[], None] = lambda: None) -> None:
        self._outbox = outbox
        self._broker = broker
        self._on_unroutable = on_unroutable
        self._awake = asyncio.Event()
        self._awake.set()
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why the outbox does not empty, for health checks and people; empty while it does."""
        return self._problem

    def wake(self) -> None:
        """Tell that there may be something to publish. Cheap; call it after every commit."""
        self._awake.set()

    async def run(self) -> None:
        """Publish until cancelled.

        What the broker refuses stays in the outbox like everything else: permissions can be put right, and an event
        that was committed with its state must not be lost.
        """
        retry_after_s = RETRY_AFTER_S
        while True:
            await self._awake.wait()
            self._awake.clear()
            try:
                await self.drain()
            except (BrokerError, OutboxError) as error:
                self._problem = str(error)
                refused = isinstance(error, AccessRefusedError)
                report = log.error if refused else log.warning
                report("outbox.refused" if refused else "outbox.stalled", error=str(error), retry_after_s=retry_after_s)
                await asyncio.sleep(retry_after_s)
                retry_after_s = min(retry_after_s * 2, RETRY_AFTER_S_MAX)
                self._awake.set()
                if isinstance(error, UnroutableError):
                    self._on_unroutable()
            else:
                self._problem = ""
                retry_after_s = RETRY_AFTER_S

    async def drain(self) -> int:
        """Publish all that is pending now; return how many.

        Rows that fail do not hold up the ones behind them while any go through.

        Raises:
            BrokerError: some could not be published. They stay, the confirmed ones are forgotten.
            OutboxError: the store cannot be used now; what was published meanwhile is published again.
        """
        published = 0
        while batch := await self._outbox.pending(BATCH_MAX):
            errors = await self._published(batch)
            confirmed = [row.position for row, error in zip(batch, errors, strict=True) if error is None]
            if confirmed:
                await self._outbox.forget(confirmed)
            failed = next((error for error in errors if error is not None), None)
            if failed is not None and (not confirmed or len(batch) < BATCH_MAX):
                raise failed
            published += len(confirmed)
        return published

    async def _published(self, batch: Sequence[Pending]) -> Sequence[BrokerError | None]:
        """Publish rows, and tell what became of each."""
        if len(batch) == 1:  # most are: no task for it
            return [await self._error_of(batch[0].message)]
        return await asyncio.gather(*(self._error_of(row.message) for row in batch))

    async def _error_of(self, message: Message) -> BrokerError | None:
        try:
            await self._broker.publish(message)
        except BrokerError as error:
            return error
        return None
