"""What a service may ask of the broker, and what it may rely on.

Delivery is at least once. ``publish`` returns only when the broker has taken the message over into every queue and
stream that it is routed to; until then the caller owns it, and repeats it after any ``PublishError``. A consumer's
handler returns its verdict as an ``Outcome``; the adapter alone settles.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from broker.topology import Account, Exchange, Policy, Queue
from events.routing import Binding

PUBLISH_TIMEOUT_S: Final = 5.0  # a healthy broker confirms in milliseconds; a blocked one would hold us for ever
PREFETCH_MAX: Final = 200  # two seconds of a busy channel; past that the broker keeps the backlog, not we
LOG_PREFETCH_MAX: Final = 1000  # measured: replay at 100 runs a quarter slower


class BrokerError(Exception):
    """Something between us and the broker. See the subclass for what may be done."""


class PublishError(BrokerError):
    """The message may or may not have arrived. Publish it again, with the same ``message_id``."""


class UnroutableError(PublishError):
    """No queue or stream takes this key: the topology is missing. Provision it, then publish again."""


class NackedError(PublishError):
    """The broker could not take the message over. Publish it again after a while."""


class PublishTimeoutError(PublishError):
    """No confirmation in time: the broker is blocked or gone. The message may still arrive. Publish it again."""


class DisconnectedError(PublishError):
    """The connection was lost, or there is none yet. The adapter reconnects by itself; publish again."""


class AccessRefusedError(BrokerError):
    """The broker does not let this user do that. Trying again cannot help; the message says what was refused."""


class ManagementRefusedError(AccessRefusedError):
    """RabbitMQ's management API does not let us in, or not do that."""


class ForeignLogError(AccessRefusedError):
    """The virtual host has another site's log."""


class TopologyError(BrokerError):
    """A queue, exchange or stream is missing, or is not what the topology says. The master's provisioning mends it."""


class PositionLostError(TopologyError):
    """What a reader wanted to go on after does not stand in the stream (any more). Read the stream from its first."""


class UnansweredError(TopologyError):
    """A queue or stream did not answer in time, though the connection is alive: it is slow, coming up, or broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is to be published. ``message_id`` must be unique among the messages that are under way."""

    exchange: str
    routing_key: str
    message_id: str
    type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    persistent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What arrived. ``user_id`` is who wrote it, proved by the broker; empty where nobody said.

    ``offset`` is the place in a stream and rises, but with holes: never use it as a sequence. None from a queue.
    """

    exchange: str
    routing_key: str
    message_id: str
    type: str
    user_id: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    offset: int | None = None
    redelivered: bool = False


class Outcome(Enum):
    """A handler's verdict on a delivery from a queue."""

    ACK = "done; forget it"
    RETRY = "could not do it now; deliver it again"
    DISCARD = "nobody will ever be able to; forget it (say why in an event)"


class From(Enum):
    """Where to begin to read a stream."""

    FIRST = "first"
    NEXT = "next"


@dataclass(frozen=True, slots=True)
class After:
    """Right after an entry that was read before. It must still stand at its offset, or something was missed."""

    offset: int
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where the entries of a stream lie that were there when it was asked: ``first <= offset < end``.

    ``first`` is the first entry's offset, None where there is no entry. Offsets have holes: an entry need not stand at
    ``end - 1``.
    """

    first: int | None
    end: int


Start: TypeAlias = From | After | int | timedelta
"""``From.FIRST``, ``From.NEXT`` (only what comes now), after an entry, an offset (inclusive), or how long ago."""

Handler: TypeAlias = Callable[[Delivery], Awaitable[Outcome]]
"""Short: decode, write to the inbox in one transaction, return. An exception counts as RETRY and is logged."""

Fold: TypeAlias = Callable[[Delivery], None]
"""Takes one delivery of a stream, in order. It must not raise; if it does, reading ends with that error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the connection fares. ``since_s`` is on the event loop's clock."""

    connected: bool
    blocked: bool
    since_s: float
    reconnects: int
    last_error: str


class Broker(Protocol):
    """The port. Use it inside ``async with``: entering connects, leaving closes.

    Entering waits for the first connection and raises ``AccessRefusedError`` for a wrong password; an unreachable
    broker is retried until it is there. Afterwards every loss of the connection is mended by the adapter.
    """

    @property
    def health(self) -> Health:
        """Tell how the connection fares now."""
        ...

    async def publish(self, message: Message) -> None:
        """Hand a message over; return once it is safe with the broker.

        Raises:
            PublishError: see the subclass; the caller still owns the message. Within ``PUBLISH_TIMEOUT_S``.
            AccessRefusedError: this user may not write there.
        """
        ...

    async def consume(self, queue: str, handler: Handler, *, prefetch: int = PREFETCH_MAX) -> None:
        """Hand the messages of a queue to the handler, several at once, until cancelled.

        Goes on by itself after a lost connection, a broker restart, or the queue's loss and return.

        Raises:
            AccessRefusedError: this user may not read there.
        """
        ...

    async def follow(self, stream: str, fold: Fold, *, start: Start = From.FIRST) -> None:
        """Hand the entries of a stream to ``fold``, in order, each once in this call, until cancelled.

        After a lost connection it goes on at the next offset.

        Raises:
            AccessRefusedError: this user may not read there.
            PositionLostError: what it is to go on after is not there; entries may be missing in between.
            TopologyError: the stream is not there (any more).
        """
        ...

    async def span(self, stream: str) -> Span:
        """Tell where the entries of a stream lie now. It writes a probe to find the end; no reader is given it.

        Raises:
            AccessRefusedError: this user may not read or write there.
            DisconnectedError: nobody answered in time, or the broker takes nothing now.
            TopologyError: the stream is not there, or broken.
        """
        ...

    def read(self, stream: str, *, end: int, start: Start = From.FIRST) -> AsyncGenerator[Sequence[Delivery]]:
        """Give the entries of a stream from ``start`` up to (not with) ``end``, which ``span`` told; some at a time.

        No more is taken from the broker than the caller takes from here. After a lost connection it goes on at the
        next offset. Close the generator (``contextlib.aclosing``) where it is left early.

        Raises:
            AccessRefusedError: this user may not read there.
            PositionLostError: what it is to go on after is not there; entries may be missing in between.
            TopologyError: the stream is not there (any more).
        """
        ...

    async def exists(self, queue: str) -> bool:
        """Tell whether a queue or stream is there. Anybody may ask.

        Raises:
            TopologyError: it is there but broken.
            DisconnectedError: nobody answered in time.
        """
        ...

    def on_connected(self, callback: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Call back after each (re)connection but the first, while the block is entered."""
        ...


class Admin(Protocol):
    """What provisioning may ask of the broker, beside ``Broker``. The master alone uses it. All of it is idempotent.

    Each call has a time limit and raises ``DisconnectedError`` when nobody answered in it; call again.
    """

    @property
    def vhost(self) -> str:
        """The virtual host that is provisioned; part of each mirror's user name."""
        ...

    @property
    def keeps_accounts(self) -> bool:
        """Tell whether users can be managed; without RabbitMQ's management API they cannot."""
        ...

    async def ensure_exchange(self, exchange: Exchange) -> None:
        """Declare an exchange.

        Raises:
            TopologyError: it exists with another type.
        """
        ...

    async def ensure_queue(self, queue: Queue) -> bool:
        """Declare a queue or stream with its bindings; tell whether it is new.

        A stream that is there keeps the arguments it was declared with: see ``ensure_policy``.

        Raises:
            TopologyError: a queue exists with other arguments, or the broker cannot bring it up.
        """
        ...

    async def is_declared_so(self, queue: Queue) -> bool:
        """Tell whether a queue or stream that is there was declared with just these arguments."""
        ...

    async def ensure_policy(self, policy: Policy) -> bool:
        """Let queues and streams be as a policy says; False where the broker cannot be told: see ``keeps_accounts``.

        Raises:
            AccessRefusedError: the management API does not let us.
        """
        ...

    async def unbind(self, queue: str, binding: Binding) -> None:
        """Take a binding away."""
        ...

    async def exists(self, queue: str) -> bool:
        """Tell whether a queue or stream is there, whether or not it works.

        Raises:
            TopologyError: it is there but broken.
        """
        ...

    async def prove(self, queue: str) -> None:
        """Write a probe to a queue or stream and see it confirmed (and, from a stream, read it back).

        RabbitMQ 3.10 does not bring back a quorum queue or stream that was killed right after its declaration.

        Raises:
            TopologyError: it does not work. Delete a queue and declare it again; give a stream a new generation.
        """
        ...

    async def delete_queue(self, queue: str) -> None:
        """Delete a queue, if it is there."""
        ...

    async def ensure_account(self, user: str, password: str, account: Account) -> None:
        """Create or change a user.

        Raises:
            AccessRefusedError: the management API does not let us.
        """
        ...

    async def remove_account(self, user: str) -> None:
        """Delete a user; its connections are closed at once."""
        ...
