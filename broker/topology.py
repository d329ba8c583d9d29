"""What exists in the broker, as data. Only the master provisions; everybody else declares nothing.

Pure: ``site_topology`` says what there must be, ``mirror_account`` who may do what; ``provision`` makes it so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from broker.retention import LOAD_SEGMENT_BYTES, LOG_SEGMENT_BYTES, Retention, Retentions
from events.names import ChannelName, MirrorName
from events.routing import EXCHANGES, FILES, FLEET, GRANTS, LOAD, LOGGED_EXCHANGES, Binding, mirror_bindings

MIRROR_QUEUE_EXPIRES_MS: Final = 14 * 24 * 3600 * 1000  # a mirror away for two weeks resyncs from the catalogue
MIRROR_QUEUE_LENGTH_MAX: Final = 100_000  # past that a resync is cheaper than the backlog
# A delivery is counted against this limit each time a connection is lost with it unsettled, so a flaky line must
# not reach it; a poisonous message is never requeued by us.
MIRROR_QUEUE_DELIVERIES_MAX: Final = 1000
MIRROR_CONNECTIONS_MAX: Final = 4  # one in use, one still timing out, and two to spare

RETENTIONS_DEFAULT: Final = Retentions()

_LOG_PREFIX: Final = "log.g"
_IMPORT_MARK: Final = "log.imported"
_LOAD_PREFIX: Final = "load.g"
_SITE_PREFIX: Final = "site."


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A durable topic exchange."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A durable queue or stream; ``arguments`` as RabbitMQ takes them."""

    name: str
    arguments: dict[str, str | int | bool]
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What RabbitMQ applies to all queues of a pattern, however each was declared; ``definition`` as it has it."""

    name: str
    pattern: str
    definition: dict[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What there must be. The ``policies`` let streams that are there already keep what new ones are declared with."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user of the broker: RabbitMQ permission patterns, and topic permissions for each exchange.

    An exchange without a topic permission is open, so each exchange that ``write`` or ``read`` matches has one.
    ``tags`` are RabbitMQ's, separated by commas: what it may do beyond speaking in its own name.
    """

    configure: str
    write: str
    read: str
    topics_write: dict[str, str] = field(default_factory=dict[str, str])
    topics_read: dict[str, str] = field(default_factory=dict[str, str])
    connections_max: int | None = None
    tags: str = ""


def log_stream(generation: int) -> str:
    """Name the log's stream. A generation's name is never used again: a new stream restarts its offsets."""
    return f"{_LOG_PREFIX}{generation}"


def load_stream(generation: int) -> str:
    """Name the telemetry's stream."""
    return f"{_LOAD_PREFIX}{generation}"


def is_stream(name: str) -> bool:
    """Tell a stream from a queue by its name."""
    return name.startswith((_LOG_PREFIX, _LOAD_PREFIX))


def import_mark() -> Queue:
    """Give the queue that an import leaves beside the log. It holds nothing: that it is there tells the master.

    What is imported ends before the master's last word, and its entries stand in other places than they did. So the
    master begins another generation.
    """
    return Queue(name=_IMPORT_MARK, arguments={}, bindings=())


def site_mark(site: str) -> Queue:
    """Give the queue that tells whose the log of a virtual host is. It holds nothing.

    ``site`` names a site, and does not tell its secret.
    """
    return Queue(name=f"{_SITE_PREFIX}{site}", arguments={}, bindings=())


def mirror_queue(mirror: MirrorName) -> str:
    """Name a mirror's queue."""
    return f"mirror.{mirror}"


def site_topology(generation: int, retentions: Retentions = RETENTIONS_DEFAULT) -> Topology:
    """Give what a site needs before any mirror joins."""
    return Topology(
        exchanges=tuple(Exchange(name=name) for name in EXCHANGES),
        queues=(
            Queue(
                name=log_stream(generation),
                arguments=_stream(retentions.log, LOG_SEGMENT_BYTES),
                bindings=tuple(Binding(exchange, "#") for exchange in LOGGED_EXCHANGES),
            ),
            Queue(
                name=load_stream(generation),
                arguments=_stream(retentions.load, LOAD_SEGMENT_BYTES),
                bindings=(Binding(LOAD, "#"),),
            ),
        ),
        policies=(_policy(_LOG_PREFIX, retentions.log), _policy(_LOAD_PREFIX, retentions.load)),
    )


def mirror_topology(mirror: MirrorName, channels: tuple[ChannelName, ...]) -> Queue:
    """Give a mirror's queue, bound once for each channel that it has leave to follow."""
    return Queue(
        name=mirror_queue(mirror),
        arguments={
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-expires": MIRROR_QUEUE_EXPIRES_MS,
            "x-max-length": MIRROR_QUEUE_LENGTH_MAX,
            "x-overflow": "drop-head",
            "x-delivery-limit": MIRROR_QUEUE_DELIVERIES_MAX,
        },
        bindings=mirror_bindings(mirror, channels),
    )


def mirror_account(mirror: MirrorName) -> Account:
    """Give what a mirror may do: read its own queue, write under its own name, declare nothing."""
    return Account(
        configure="^$",
        write=f"^({FLEET}|{LOAD})$",
        read=rf"^mirror\.{mirror}$",
        topics_write={
            FLEET: rf"^mirror\.{mirror}\.",
            LOAD: rf"^mirror\.{mirror}\.load$",
            FILES: "^$",
            GRANTS: "^$",
        },
        topics_read=dict.fromkeys(EXCHANGES, "^$"),
        connections_max=MIRROR_CONNECTIONS_MAX,
    )


def importer_account() -> Account:
    """Give what may be done while a log is imported: write whatever is logged, in anybody's name."""
    return Account(
        configure="^$",
        write=f"^({'|'.join(LOGGED_EXCHANGES)})$",
        read="^$",
        topics_write=dict.fromkeys(LOGGED_EXCHANGES, ".*"),
        tags="impersonator",
    )


def _stream(retention: Retention, segment_bytes: int) -> dict[str, str | int | bool]:
    limits = _limits(retention)
    return {
        "x-queue-type": "stream",
        **{f"x-{name}": value for name, value in limits.items()},
        "x-stream-max-segment-size-bytes": segment_bytes,
    }


def _policy(prefix: str, retention: Retention) -> Policy:
    """Limit all generations, also those that were declared with other limits: a policy beats a stream's arguments."""
    return Policy(
        name=f"distributary-{prefix.partition('.')[0]}",
        pattern=rf"^{re.escape(prefix)}[0-9]+$",
        definition=_limits(retention),
    )


def _limits(retention: Retention) -> dict[str, str | int]:
    return {"max-age": f"{retention.age_s}s", "max-length-bytes": retention.size_bytes}
