"""What both adapters do with a handler: ask it, take an exception as RETRY, and wait longer after each failure."""

from __future__ import annotations

from typing import Final

import structlog

from broker.port import Delivery, Handler, Outcome

RETRY_AFTER_S: Final = 0.2  # long enough not to spin, short enough for a database that was busy for a moment
RETRY_AFTER_S_MAX: Final = 30.0  # a thousand deliveries (topology's limit) then last a night: time to mend a full disk
PROBE_TYPE: Final = "distributary.probe"

log = structlog.stdlib.get_logger()


def retry_after_s(deliveries: int) -> float:
    """Give how long to keep a message that its handler could not take, the n-th time it was delivered (from 0)."""
    doublings = min(deliveries, 16)  # past that the bound holds anyway, and floats stay small
    return min(RETRY_AFTER_S * 2**doublings, RETRY_AFTER_S_MAX)


def is_probe(exchange: str, kind: str) -> bool:
    """Tell whether a message is provisioning's own (``Admin.prove``); it is no event and reaches no reader.

    Mirrors cannot write to the default exchange, so none can hide a message from readers this way.
    """
    return exchange == "" and kind == PROBE_TYPE


async def ask(handler: Handler, delivery: Delivery, *, queue: str) -> Outcome:
    """Give the handler's verdict; an exception is logged and counts as RETRY."""
    try:
        return await handler(delivery)
    except Exception:  # whatever a handler raises must not stop the others
        log.exception("broker.handler_failed", queue=queue, message_id=delivery.message_id, type=delivery.type)
        return Outcome.RETRY
