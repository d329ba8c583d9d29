"""Messages that RabbitMQ delivers on one AMQP channel, put together from their frames. Pure.

Who cannot read one hands it to aiormq, and all that follow it with it: deliveries must not pass each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from broker.port import Delivery
from broker.rabbitmq.frames import (
    BASIC_DELIVER,
    BODY,
    HEAD_BYTES,
    HEADER,
    METHOD,
    Content,
    Deliver,
    NotUnderstoodError,
    method_id,
    read_content,
    read_deliver,
)


class Arrival(NamedTuple):
    """A delivery, the tag by which it is settled, and how often a quorum queue delivered it before."""

    tag: int
    deliveries: int
    delivery: Delivery


class Arrivals:
    """Takes what is delivered (``wire.Taker``) and gives it to ``note``; ``pass_on`` (the wire) is for aiormq."""

    def __init__(self, note: Callable[[Arrival], None], pass_on: Callable[[bytes], None]) -> None:
        self._note = note
        self._pass_on = pass_on
        self._begun = b""  # the frame with which a delivery began, as it came
        self._deliver: Deliver | None = None
        self._content: Content | None = None
        self._body: list[bytes] = []
        self._missing_bytes = 0
        self._is_refused = False

    def take(self, kind: int, data: bytes, at: int, end: int) -> bool:
        """Read a frame; see ``wire.Taker``."""
        if self._is_refused:
            return False
        try:
            return self._is_read(kind, data, at, end)
        except NotUnderstoodError:
            self._is_refused = True
            if self._deliver is not None:
                self._pass_on(self._begun)
            return False

    def _is_read(self, kind: int, data: bytes, at: int, end: int) -> bool:
        if kind == BODY and self._content is not None:
            self._body.append(data[at:end])
            self._missing_bytes -= end - at
        elif kind == HEADER and self._deliver is not None:
            self._content = read_content(data, at, end)
            self._missing_bytes = self._content.body_size
        elif kind == METHOD and method_id.unpack_from(data, at) == BASIC_DELIVER:
            self._deliver = read_deliver(data, at + method_id.size, end)
            self._begun = data[at - HEAD_BYTES : end + 1]
            return True
        else:
            return False
        if not self._missing_bytes:
            self._end()
        return True

    def _end(self) -> None:
        deliver, content = self._deliver, self._content
        if deliver is None or content is None:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._deliver, self._content, self._body = None, None, []
        delivery = Delivery(
            exchange=deliver.exchange,
            routing_key=deliver.routing_key,
            message_id=content.message_id,
            type=content.type,
            user_id=content.user_id,
            body=body,
            headers=content.headers,
            offset=content.offset,
            redelivered=deliver.redelivered,
        )
        self._note(Arrival(deliver.tag, content.deliveries, delivery))
