"""From a delivery to an envelope that may be believed. Every reader of events goes through here. Pure.

What is checked: the bytes are an event; it was found where it belongs and names the source that may say it
(``events.routing.verify_address``); and the broker user that wrote it may speak for that source.
"""

from __future__ import annotations

from typing import Final

from broker.accounts import mirror_of_user
from broker.port import Delivery
from events.codec import decode
from events.envelope import Envelope, load_source, mirror_source
from events.errors import ForgedEventError
from events.names import MirrorName
from events.routing import FLEET, LOAD, verify_address

MIRRORS_EXCHANGES: Final = frozenset({FLEET, LOAD})
"""Where mirrors may write. Our adapters always say who writes, so nobody writes there unsaid in good faith."""


def read_envelope(delivery: Delivery, *, vhost: str, said: Envelope | None = None) -> Envelope:
    """Decode a delivery and prove who says it.

    A user that is a mirror's speaks for that mirror alone. Any other user that the broker let write is the site's own:
    without RabbitMQ's management API all roles share one. Who knows what these very bytes say, because he wrote them,
    gives it as ``said``: then they are not decoded.

    Raises:
        UnknownEventTypeError: an event of a newer version; count it and skip it.
        UnreadableEventError: no event; report it once.
        ForgedEventError: speaker, place and body do not agree; drop it and report it.
    """
    envelope = decode(delivery.body) if said is None else said
    verify_address(envelope, exchange=delivery.exchange, routing_key=delivery.routing_key)
    _verify_user(envelope, delivery, vhost=vhost)
    return envelope


def _verify_user(envelope: Envelope, delivery: Delivery, *, vhost: str) -> None:
    if not delivery.user_id:
        if delivery.exchange in MIRRORS_EXCHANGES:
            raise ForgedEventError(f"{envelope.id} does not say which broker user wrote it")
        return
    mirror = mirror_of_user(delivery.user_id, vhost=vhost)
    if mirror is not None and not _may_speak(mirror, envelope, delivery.exchange):
        raise ForgedEventError(f"{envelope.id} was written by the broker user {delivery.user_id!r}")


def _may_speak(mirror: MirrorName, envelope: Envelope, exchange: str) -> bool:
    own_sources = (mirror_source(mirror), load_source(mirror))
    return exchange in MIRRORS_EXCHANGES and envelope.source in own_sources
