"""The in-memory twin of RabbitMQ: same port, same conformance suite, no process and no network.

A ``MemorySite`` is the broker; each ``MemoryBroker`` is one user's connection to it, ``MemoryAdmin`` its provisioning.
For unit tests and simulation. It keeps RabbitMQ's rules: topics, confirms, unroutable messages, permissions, single
active consumers, redelivery, and stream offsets with holes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from broker.handling import ask, retry_after_s
from broker.memory_queues import Delivered, MemoryQueue, MemoryStream, Signal
from broker.port import (
    PREFETCH_MAX,
    PUBLISH_TIMEOUT_S,
    AccessRefusedError,
    After,
    Delivery,
    DisconnectedError,
    Fold,
    From,
    Handler,
    Health,
    Message,
    Outcome,
    Span,
    Start,
    TopologyError,
    UnroutableError,
)
from broker.topics import matches
from broker.topology import Account, Exchange, Policy, Queue, is_stream
from events.routing import Binding

SITE_USER: Final = "site"
FOLDS_AT_ONCE: Final = 100  # then others get their turn


@dataclass
class MemorySite:
    """One broker with one virtual host, shared by the brokers and admins that are made over it."""

    vhost: str = "memory"
    exchanges: set[str] = field(default_factory=set[str])
    bindings: dict[str, set[Binding]] = field(default_factory=dict[str, set[Binding]])
    queues: dict[str, MemoryQueue | MemoryStream] = field(default_factory=dict[str, MemoryQueue | MemoryStream])
    accounts: dict[str, Account] = field(default_factory=dict[str, Account])
    policies: dict[str, Policy] = field(default_factory=dict[str, Policy])
    broken: set[str] = field(default_factory=set[str])
    """Queues and streams that a kill right after their declaration ruined."""
    up: bool = True
    changed: Signal = field(default_factory=Signal)
    on_connected: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    @contextmanager
    def outage(self) -> Generator[None]:
        """Be unreachable while the block is entered; then all brokers connect again."""
        self.up = False
        self._tell_all()
        try:
            yield
        finally:
            self.up = True
            self._tell_all()
            for callback in tuple(self.on_connected):
                callback()

    def stream(self, name: str) -> MemoryStream:
        """Find a working stream.

        Raises:
            TopologyError: it is not there, broken, or a queue.
        """
        found = self.queues.get(name)
        if not isinstance(found, MemoryStream) or name in self.broken:
            raise TopologyError(f"no stream {name!r}")
        return found

    def queue(self, name: str) -> MemoryQueue | None:
        """Find a working queue, or None."""
        found = self.queues.get(name)
        return found if isinstance(found, MemoryQueue) and name not in self.broken else None

    def routed(self, exchange: str, routing_key: str) -> list[MemoryQueue | MemoryStream]:
        """Give all that take a copy of a message, each once."""
        return [
            self.queues[name]
            for name, bindings in self.bindings.items()
            if any(bound.exchange == exchange and matches(bound.pattern, routing_key) for bound in bindings)
        ]

    def _tell_all(self) -> None:
        self.changed.notify()
        for queue in self.queues.values():
            queue.changed.notify()


class MemoryBroker:
    """One user's connection to a ``MemorySite``; implements ``broker.port.Broker``.

    A user that has an account is held to it; any other may do everything.
    """

    def __init__(
        self, site: MemorySite, *, user: str = SITE_USER, publish_timeout_s: float = PUBLISH_TIMEOUT_S
    ) -> None:
        self._site = site
        self._user = user
        self._publish_timeout_s = publish_timeout_s

    @property
    def health(self) -> Health:
        """Tell how the connection fares now."""
        return Health(connected=self._site.up, blocked=False, since_s=0.0, reconnects=0, last_error="")

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._until_up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect; there is nothing to let go of."""

    async def publish(self, message: Message) -> None:
        """Put a message into every queue and stream that it is routed to."""
        try:
            async with asyncio.timeout(self._publish_timeout_s):
                await self._until_up()
        except TimeoutError:
            raise DisconnectedError("not connected") from None
        self._check_write(message)
        takers = self._site.routed(message.exchange, message.routing_key)
        if not takers:
            raise UnroutableError(f"no queue takes {message.routing_key!r} from {message.exchange!r}")
        delivery = Delivery(
            exchange=message.exchange,
            routing_key=message.routing_key,
            message_id=message.message_id,
            type=message.type,
            user_id=self._user,
            body=message.body,
            headers=dict(message.headers),
        )
        for taker in takers:
            taker.put(delivery)
        await asyncio.sleep(0)  # a confirmation takes its time, and others get their turn

    async def consume(self, queue: str, handler: Handler, *, prefetch: int = PREFETCH_MAX) -> None:
        """Hand the messages of a queue to the handler, until cancelled."""
        self._check_read(queue)
        while True:
            await self._until_up()
            if (box := self._site.queue(queue)) is None:
                await self._site.changed.wait()
                continue
            with box.consumer() as consumer:
                async with asyncio.TaskGroup() as handlers:
                    slots = asyncio.Semaphore(prefetch)
                    while delivered := await self._next(box, consumer, slots):
                        handlers.create_task(self._handle(box, delivered, handler, slots, queue=queue))

    async def follow(self, stream: str, fold: Fold, *, start: Start = From.FIRST) -> None:
        """Hand the entries of a stream to ``fold``, in order, until cancelled."""
        self._check_read(stream)
        place = _place(self._site.stream(stream), start)
        while True:
            await self._until_up()
            entries = self._site.stream(stream)
            place = max(place, entries.first)
            for delivery in entries.after(place, limit=FOLDS_AT_ONCE):
                fold(delivery)
                place += 1
            await (asyncio.sleep(0) if place < entries.length else entries.changed.wait())

    async def span(self, stream: str) -> Span:
        """Tell where the entries of a stream lie now."""
        self._check_read(stream)
        await self._until_up()
        return self._site.stream(stream).span()

    async def read(self, stream: str, *, end: int, start: Start = From.FIRST) -> AsyncGenerator[Sequence[Delivery]]:
        """Give the entries of a stream up to ``end``, some at a time."""
        self._check_read(stream)
        place = _place(self._site.stream(stream), start)
        while True:
            await self._until_up()
            entries = self._site.stream(stream)
            place = max(place, entries.first)
            last = min(entries.place_of_offset(end), place + FOLDS_AT_ONCE)
            if last <= place:
                return
            yield entries.after(place, limit=last - place)
            place = last
            await asyncio.sleep(0)

    async def exists(self, queue: str) -> bool:
        """Tell whether a queue or stream is there.

        Raises:
            TopologyError: it is there but broken.
        """
        return _exists(self._site, queue)

    @asynccontextmanager
    async def on_connected(self, callback: Callable[[], None]) -> AsyncGenerator[None]:
        """Call back after each reconnection, while the block is entered."""
        self._site.on_connected.append(callback)
        try:
            yield
        finally:
            self._site.on_connected.remove(callback)

    async def _until_up(self) -> None:
        while not self._site.up:
            await self._site.changed.wait()

    async def _next(self, box: MemoryQueue, consumer: object, slots: asyncio.Semaphore) -> Delivered | None:
        """Wait for a message and a free slot; None when the queue or the connection is gone."""
        await slots.acquire()
        while self._site.up and not box.deleted:
            if delivered := box.take(consumer):
                return delivered
            await box.changed.wait()
        return None

    async def _handle(
        self, box: MemoryQueue, delivered: Delivered, handler: Handler, slots: asyncio.Semaphore, *, queue: str
    ) -> None:
        outcome = Outcome.RETRY
        try:
            outcome = await ask(handler, delivered.delivery, queue=queue)
            if outcome is Outcome.RETRY:
                await asyncio.sleep(retry_after_s(delivered.deliveries))
        finally:
            slots.release()
            if outcome is Outcome.RETRY:
                box.put_back(delivered)

    def _check_write(self, message: Message) -> None:
        if message.exchange not in self._site.exchanges:
            raise UnroutableError(f"no exchange {message.exchange!r}")
        account = self._site.accounts.get(self._user)
        if account is None:
            return
        topic = account.topics_write.get(message.exchange, ".*")
        if not re.search(account.write, message.exchange) or not re.search(topic, message.routing_key):
            raise AccessRefusedError(
                f"access to topic {message.routing_key!r} in exchange {message.exchange!r} refused for {self._user!r}"
            )

    def _check_read(self, queue: str) -> None:
        account = self._site.accounts.get(self._user)
        if account is not None and not re.search(account.read, queue):
            raise AccessRefusedError(f"access to queue {queue!r} refused for {self._user!r}")


class MemoryAdmin:
    """Provisioning of a ``MemorySite``; implements ``broker.port.Admin``."""

    def __init__(self, site: MemorySite, *, keeps_accounts: bool = True) -> None:
        self._site = site
        self._keeps_accounts = keeps_accounts

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return self._site.vhost

    @property
    def keeps_accounts(self) -> bool:
        """Tell whether users can be managed."""
        return self._keeps_accounts

    async def ensure_exchange(self, exchange: Exchange) -> None:
        """Declare an exchange."""
        self._site.exchanges.add(exchange.name)

    async def ensure_queue(self, queue: Queue) -> bool:
        """Declare a queue or stream with its bindings; tell whether it is new.

        Raises:
            TopologyError: it exists with other arguments, it is broken, or a binding's exchange is missing.
        """
        is_new = not await self.exists(queue.name)
        if is_new:
            self._site.queues[queue.name] = _made(queue)
        elif not is_stream(queue.name) and not await self.is_declared_so(queue):
            raise TopologyError(f"{queue.name!r} exists with other arguments")
        for binding in queue.bindings:
            if binding.exchange not in self._site.exchanges:
                raise TopologyError(f"no exchange {binding.exchange!r}")
        self._site.bindings.setdefault(queue.name, set()).update(queue.bindings)
        self._site.changed.notify()
        return is_new

    async def is_declared_so(self, queue: Queue) -> bool:
        """Tell whether a queue or stream that is there was declared with just these arguments."""
        return self._site.queues[queue.name].arguments == queue.arguments

    async def ensure_policy(self, policy: Policy) -> bool:
        """Keep a policy where accounts are kept; the twin's streams forget nothing anyway."""
        if self._keeps_accounts:
            self._site.policies[policy.name] = policy
        return self._keeps_accounts

    async def unbind(self, queue: str, binding: Binding) -> None:
        """Take a binding away."""
        self._site.bindings.get(queue, set()).discard(binding)

    async def exists(self, queue: str) -> bool:
        """Tell whether a queue or stream is there.

        Raises:
            TopologyError: it is there but broken.
        """
        return _exists(self._site, queue)

    async def prove(self, queue: str) -> None:
        """See whether a queue or stream works.

        Raises:
            TopologyError: it does not, or it is not there.
        """
        if not await self.exists(queue):
            raise TopologyError(f"no queue {queue!r}")

    async def delete_queue(self, queue: str) -> None:
        """Delete a queue, if it is there."""
        self._site.broken.discard(queue)
        self._site.bindings.pop(queue, None)
        if gone := self._site.queues.pop(queue, None):
            gone.deleted = True
            gone.changed.notify()

    async def ensure_account(self, user: str, password: str, account: Account) -> None:
        """Create or change a user; the twin asks nobody for a password."""
        del password
        self._site.accounts[user] = account

    async def remove_account(self, user: str) -> None:
        """Delete a user."""
        self._site.accounts.pop(user, None)


def _made(queue: Queue) -> MemoryQueue | MemoryStream:
    if queue.arguments.get("x-queue-type") == "stream":
        return MemoryStream(queue.arguments)
    return MemoryQueue(queue.arguments)


def _exists(site: MemorySite, queue: str) -> bool:
    if queue in site.broken:
        raise TopologyError(f"{queue!r} is broken")
    return queue in site.queues


def _place(stream: MemoryStream, start: Start) -> int:
    match start:
        case From.FIRST:
            return stream.first
        case From.NEXT:
            return stream.length
        case timedelta():
            return stream.place_of_age(start)
        case After():
            return stream.place_after(start)
        case int():
            return stream.place_of_offset(start)
