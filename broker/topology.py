"""What exists in the broker, as data. Only the master provisions; everybody else declares nothing.

Pure: ``site_topology`` says what there must be, ``mirror_account`` who may do what; ``provision`` makes it so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from events.names import ChannelName, MirrorName
from events.routing import EXCHANGES, FILES, FLEET, GRANTS, LOAD, LOGGED_EXCHANGES, Binding, mirror_bindings

# A stream's retention works on whole segments: with RabbitMQ's 500 MB a small site's log would never shrink; far
# smaller ones have made RabbitMQ loop.
STREAM_SEGMENT_BYTES: Final = 20_000_000
LOG_AGE_MAX: Final = "30D"  # long enough to notice a dead archiver
LOG_BYTES_MAX: Final = 20_000_000_000
LOAD_AGE_MAX: Final = "1D"
LOAD_BYTES_MAX: Final = 1_000_000_000
LOAD_SEGMENT_BYTES: Final = 10_000_000

MIRROR_QUEUE_EXPIRES_MS: Final = 14 * 24 * 3600 * 1000  # a mirror away for two weeks resyncs from the catalogue
MIRROR_QUEUE_LENGTH_MAX: Final = 100_000  # past that a resync is cheaper than the backlog
# A delivery is counted against this limit each time a connection is lost with it unsettled, so a flaky line must
# not reach it; a poisonous message is never requeued by us.
MIRROR_QUEUE_DELIVERIES_MAX: Final = 1000
MIRROR_CONNECTIONS_MAX: Final = 4  # one in use, one still timing out, and two to spare

_LOG_PREFIX: Final = "log.g"
_LOAD_PREFIX: Final = "load.g"


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
class Topology:
    """What there must be."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]


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


def mirror_queue(mirror: MirrorName) -> str:
    """Name a mirror's queue."""
    return f"mirror.{mirror}"


def site_topology(generation: int) -> Topology:
    """Give what a site needs before any mirror joins."""
    return Topology(
        exchanges=tuple(Exchange(name=name) for name in EXCHANGES),
        queues=(
            Queue(
                name=log_stream(generation),
                arguments=_stream(LOG_AGE_MAX, LOG_BYTES_MAX, STREAM_SEGMENT_BYTES),
                bindings=tuple(Binding(exchange, "#") for exchange in LOGGED_EXCHANGES),
            ),
            Queue(
                name=load_stream(generation),
                arguments=_stream(LOAD_AGE_MAX, LOAD_BYTES_MAX, LOAD_SEGMENT_BYTES),
                bindings=(Binding(LOAD, "#"),),
            ),
        ),
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


def _stream(age_max: str, bytes_max: int, segment_bytes: int) -> dict[str, str | int | bool]:
    return {
        "x-queue-type": "stream",
        "x-max-age": age_max,
        "x-max-length-bytes": bytes_max,
        "x-stream-max-segment-size-bytes": segment_bytes,
    }
