"""What the selector said itself is known when it comes back: those very bytes, once, and no others."""

from __future__ import annotations

import pytest

from broker.port import Delivery, Message
from broker.relay import message_of
from events.envelope import Envelope, selector_source
from events.names import SelectorName
from events.schemas import SelectorCameOnline
from selection.answering import echoes as echoing
from selection.answering.echoes import Echoes

SELECTOR = SelectorName("s")


def said(number: int) -> tuple[Message, Envelope]:
    event = SelectorCameOnline(selector=SELECTOR)
    source = selector_source(SELECTOR)
    envelope = Envelope(source=source, epoch=1, sequence=number, time_ns=0, traceparent="", event=event)
    return message_of(envelope), envelope


def delivered(message: Message, *, body: bytes | None = None) -> Delivery:
    return Delivery(
        exchange=message.exchange,
        routing_key=message.routing_key,
        message_id=message.message_id,
        type=message.type,
        user_id="guest",
        body=bytes(bytearray(message.body)) if body is None else body,
    )


def test_own_words_are_known_once() -> None:
    echoes, (message, envelope) = Echoes(), said(1)
    echoes.expect(message, envelope)
    assert echoes.heard(delivered(message)) is envelope
    assert echoes.heard(delivered(message)) is None


def test_other_words_under_our_id_are_not_ours_and_do_not_hide_ours() -> None:
    echoes, (message, envelope), (other, _) = Echoes(), said(1), said(2)
    echoes.expect(message, envelope)
    assert echoes.heard(delivered(other)) is None
    assert echoes.heard(delivered(message, body=other.body)) is None
    assert echoes.heard(delivered(message)) is envelope


def test_what_never_comes_back_gives_way_to_what_is_said_later(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = [said(number) for number in range(1, 6)]
    monkeypatch.setattr(echoing, "KEPT_BYTES_MAX", sum(len(message.body) for message, _ in spoken[2:]))
    echoes = Echoes()
    for message, envelope in spoken:
        echoes.expect(message, envelope)
    heard = [echoes.heard(delivered(message)) for message, _ in spoken]
    assert heard == [None, None, *(envelope for _, envelope in spoken[2:])]
    for message, envelope in spoken:
        echoes.expect(message, envelope)
    assert echoes.heard(delivered(spoken[2][0])) is spoken[2][1]
