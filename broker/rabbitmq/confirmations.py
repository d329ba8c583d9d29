"""What one AMQP channel has published and RabbitMQ has yet to confirm: it numbers all from 1."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from broker.port import Message, NackedError, UnroutableError
from broker.rabbitmq.frames import (
    BASIC_ACK,
    BASIC_NACK,
    BASIC_RETURN,
    BODY,
    HEADER,
    METHOD,
    Confirm,
    method_id,
    read_confirm,
    read_content,
)

_CONFIRMS: Final = (BASIC_ACK, BASIC_NACK)


class _Unconfirmed(NamedTuple):
    message: Message
    confirmed: asyncio.Future[None]


class Confirmations:
    """Takes confirmations, and what nobody could be given (``wire.Taker``)."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._unconfirmed: dict[int, _Unconfirmed] = {}  # the oldest first
        self._last = 0
        self._is_returning = False

    def expect(self, message: Message) -> asyncio.Future[None]:
        """Give what is done when RabbitMQ has confirmed the message that is written next, now.

        It raises ``UnroutableError``, ``NackedError``, or what ``end`` is told.
        """
        self._last += 1
        confirmed = self._loop.create_future()
        self._unconfirmed[self._last] = _Unconfirmed(message, confirmed)
        return confirmed

    def end(self, error: Exception) -> None:
        """Note that nothing more will be confirmed."""
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for _, confirmed in unconfirmed.values():
            _fail(confirmed, error)

    def take(self, kind: int, data: bytes, at: int, end: int) -> bool:
        """Read a frame; see ``wire.Taker``."""
        if kind == METHOD:
            method = method_id.unpack_from(data, at)
            if method in _CONFIRMS:
                self._confirm(read_confirm(data, at + method_id.size), is_taken=method == BASIC_ACK)
                return True
            self._is_returning = method == BASIC_RETURN
            return self._is_returning
        if not self._is_returning or kind not in (HEADER, BODY):
            return False
        if kind == HEADER:
            self._return(read_content(data, at, end).message_id)
        return True

    def _confirm(self, confirm: Confirm, *, is_taken: bool) -> None:
        numbers = [confirm.tag]
        if confirm.multiple:
            numbers = [number for number in self._unconfirmed if number <= confirm.tag]
        for number in numbers:
            found = self._unconfirmed.pop(number, None)
            if found is None:
                continue
            if is_taken:
                _done(found.confirmed)
            else:
                _fail(found.confirmed, NackedError(f"the broker could not take {found.message.message_id}"))

    def _return(self, message_id: str) -> None:
        """Note that a message went nowhere; RabbitMQ confirms it all the same, right after."""
        for message, confirmed in self._unconfirmed.values():
            if message.message_id == message_id and not confirmed.done():
                _fail(confirmed, UnroutableError(f"no queue takes {message.routing_key!r} from {message.exchange!r}"))
                return


def _done(confirmed: asyncio.Future[None]) -> None:
    if not confirmed.done():  # whoever waited may have lost his patience
        confirmed.set_result(None)


def _fail(confirmed: asyncio.Future[None], error: Exception) -> None:
    if not confirmed.done():
        confirmed.set_exception(error)
