"""The frames that go past aiormq: they say and understand what pamqp does, or leave it to aiormq."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp import frame as pamqp_frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from broker.port import Delivery, Message, NackedError, UnroutableError
from broker.rabbitmq.arrivals import Arrival, Arrivals
from broker.rabbitmq.confirmations import Confirmations
from broker.rabbitmq.frames import HEARTBEAT, NotUnderstoodError, published, read_content, read_deliver
from broker.rabbitmq.wire import UNSENT_BYTES_MAX, Wire

CHANNEL = 7
OTHER = 8
short_text = st.text(st.characters(codec="utf-8"), max_size=60)
texts = st.dictionaries(short_text.filter(bool), st.text(st.characters(codec="utf-8"), max_size=300), max_size=3)


def written(*frames: object, channel: int = CHANNEL) -> bytes:
    return b"".join(pamqp_frame.marshal(each, channel) for each in frames)  # pyright: ignore[reportArgumentType] - any frame


def delivered(
    tag: int, body: bytes, properties: spec.Basic.Properties, *, key: str = "a.b", body_max: int = 1000
) -> bytes:
    """Write a delivery as RabbitMQ does."""
    deliver = spec.Basic.Deliver("ctag", tag, redelivered=True, exchange="fleet", routing_key=key)
    parts = [ContentBody(body[at : at + body_max]) for at in range(0, len(body), body_max)]
    return written(deliver, ContentHeader(0, len(body), properties), *parts)


def frames_of(data: bytes) -> list[object]:
    """Read frames as pamqp does."""
    found: list[object] = []
    while data:
        size, channel, each = pamqp_frame.unmarshal(data)
        assert channel == CHANNEL
        found.append(each)
        data = data[size:]
    return found


class Line:
    """A wire without a connection: what a taker took, and what is left to aiormq."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(loop=loop)
        self.wire = Wire(self._reader, loop)
        self.arrived: list[Arrival] = []
        self.wire.take(CHANNEL, Arrivals(self.arrived.append, self.wire.pass_on))

    async def left(self) -> bytes:
        """Give what is left to aiormq, heartbeats apart."""
        return (await self.told()).replace(HEARTBEAT, b"")

    async def told(self) -> bytes:
        """Give all that aiormq is told."""
        self._reader.feed_eof()
        return await self._reader.read()

    def arrive(self, data: bytes, cuts: Sequence[int] = ()) -> None:
        """Let bytes arrive, in pieces."""
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        for begin, end in pairwise(places):
            self.wire.data_received(data[begin:end])


@given(short_text, short_text, short_text, texts, st.booleans(), st.binary(max_size=300))
def test_a_publish_says_to_pamqp_what_was_meant(
    key: str, message_id: str, kind: str, headers: dict[str, str], persistent: bool, body: bytes
) -> None:
    message = Message(
        exchange="grants", routing_key=key, message_id=message_id, type=kind, body=body, headers=headers,
        persistent=persistent,
    )  # fmt: skip
    method, header, *bodies = frames_of(published(message, amqp_channel=CHANNEL, user="me", time_s=77, body_max=100))
    assert isinstance(method, spec.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory, method.immediate) == ("grants", key, True, False)
    assert isinstance(header, ContentHeader)
    said = header.properties
    assert (said.message_id, said.message_type, said.user_id) == (message_id, kind, "me")
    assert (said.delivery_mode, said.timestamp) == (2 if persistent else 1, datetime.fromtimestamp(77, UTC))
    assert (said.headers or {}, header.body_size) == (headers, len(body))
    assert b"".join(each.value for each in bodies if isinstance(each, ContentBody)) == body
    assert all(isinstance(each, ContentBody) and len(each.value) <= 100 for each in bodies)


def test_a_name_that_amqp_has_no_room_for_is_an_error() -> None:
    message = Message(exchange="grants", routing_key="k" * 256, message_id="1", type="t", body=b"")
    with pytest.raises(ValueError, match="256 bytes"):
        published(message, amqp_channel=CHANNEL, user="me", time_s=0, body_max=100)


@given(
    st.tuples(short_text, short_text, short_text, short_text), texts, st.integers(0, 2**62), st.integers(0, 2**31 - 1),
    st.binary(max_size=4000), st.lists(st.integers(0, 10_000), max_size=6),
)  # fmt: skip
async def test_what_pamqp_writes_arrives_however_it_is_cut(
    names: tuple[str, str, str, str], headers: dict[str, str], offset: int, count: int, body: bytes, cuts: list[int]
) -> None:
    key, message_id, kind, user = names
    properties = spec.Basic.Properties(
        content_type="a/b",
        headers={**headers, "x-stream-offset": offset, "x-delivery-count": count},
        delivery_mode=2,
        correlation_id="c",
        expiration="1",
        message_id=message_id,
        timestamp=datetime(2026, 11, 23, tzinfo=UTC),
        message_type=kind,
        user_id=user,
        app_id="app",
    )
    line, foreign = Line(), written(spec.Basic.Ack(1), channel=OTHER)
    line.arrive(foreign + delivered(9, body, properties, key=key) + foreign, cuts)
    delivery = Delivery(
        exchange="fleet", routing_key=key, message_id=message_id, type=kind, user_id=user, body=body, headers=headers,
        offset=offset, redelivered=True,
    )  # fmt: skip
    assert line.arrived == [Arrival(9, count, delivery)]
    assert await line.left() == 2 * foreign


async def test_a_message_without_a_body_or_properties_arrives() -> None:
    line = Line()
    line.arrive(delivered(1, b"", spec.Basic.Properties()))
    [(tag, deliveries, delivery)] = line.arrived
    assert (tag, deliveries, delivery.body, delivery.message_id, delivery.offset) == (1, 0, b"", "", None)


@pytest.mark.parametrize("cuts", [(), range(2000)], ids=["at once", "byte by byte"])
async def test_who_cannot_read_one_delivery_leaves_it_and_all_behind_it_to_aiormq(cuts: Sequence[int]) -> None:
    odd = spec.Basic.Properties(headers={"x-death": [{"count": 1}]}, message_id="odd")
    plain = spec.Basic.Properties(message_id="plain")
    first, rest = delivered(1, b"1", plain), delivered(2, b"2", odd) + delivered(3, b"3", plain)
    line = Line()
    line.arrive(first + rest, cuts)
    assert [each.tag for each in line.arrived] == [1]
    assert await line.left() == rest


async def test_a_channel_that_rabbitmq_closed_is_free_for_the_next_taker_at_once() -> None:
    line, close = Line(), written(spec.Channel.Close(404, "gone", 0, 0))
    taker = Arrivals(line.arrived.append, line.wire.pass_on)
    line.wire.take(CHANNEL, taker)
    assert line.wire.is_taken(CHANNEL, taker)
    line.arrive(close)
    assert not line.wire.is_taken(CHANNEL, taker)
    assert await line.left() == close


@pytest.mark.parametrize("odd", [b"AMQP\0\0\x09\1", b"\1\0\7\0\0\0\1xx"], ids=["another version", "no end"])
async def test_what_is_no_frame_is_aiormqs_to_judge(odd: bytes) -> None:
    line, plain = Line(), delivered(1, b"", spec.Basic.Properties())
    line.arrive(odd + plain)
    line.arrive(plain)
    assert (line.arrived, await line.left()) == ([], odd + 2 * plain)


async def test_aiormq_hears_a_heartbeat_while_all_that_arrives_is_taken() -> None:
    line = Line()
    line.arrive(delivered(1, b"", spec.Basic.Properties()))
    assert await line.told() == HEARTBEAT


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0\x3c\0\0" + b"\0" * 8 + b"\0\1", id="more flags"),
        pytest.param(b"\0\x3c\0\0" + b"\0" * 8 + b"\x80\0\2\xff\xff", id="no UTF-8"),
        pytest.param(b"\0\x3c\0\0" + b"\0" * 8 + b"\x80\0\xff", id="cut"),
        pytest.param(b"\0\x3c\0\0" + b"\0" * 8 + b"\0\0x", id="too long"),
    ],
)
def test_an_odd_header_is_not_understood(data: bytes) -> None:
    with pytest.raises(NotUnderstoodError):
        read_content(data, 0, len(data))


def test_an_odd_delivery_is_not_understood() -> None:
    with pytest.raises(NotUnderstoodError):
        read_deliver(b"\0", 0, 1)


class Out:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_extra_info(self, name: str) -> None:
        """Know nothing (asyncio asks for TLS)."""


async def test_what_is_written_in_one_turn_leaves_together_and_much_leaves_at_once() -> None:
    out, wire = Out(), Wire(asyncio.StreamReader(), asyncio.get_running_loop())
    wire.connection_made(cast("asyncio.Transport", out))
    wire.write(b"one")
    wire.write(b"two")
    assert out.writes == []
    await asyncio.sleep(0)
    assert out.writes == [b"onetwo"]
    wire.write(bytes(UNSENT_BYTES_MAX))
    assert out.writes == [b"onetwo", bytes(UNSENT_BYTES_MAX)]
    wire.write(b"three")
    await asyncio.sleep(0)
    assert out.writes[2:] == [b"three"]


def message(message_id: str) -> Message:
    return Message(exchange="grants", routing_key="a.b", message_id=message_id, type="t/1", body=b"body")


class Published:
    """Four messages that were published, and what RabbitMQ says of them."""

    def __init__(self) -> None:
        self._wire = Wire(asyncio.StreamReader(), asyncio.get_running_loop())
        self.confirmations = Confirmations()
        self._wire.take(CHANNEL, self.confirmations)
        self.confirmed = [self.confirmations.expect(message(f"m{number}")) for number in range(1, 5)]

    def hear(self, *frames: object) -> list[object]:
        """Let RabbitMQ say something; give what is known of each message then."""
        self._wire.data_received(written(*frames))
        return [
            None if not each.done() else (each.exception() and type(each.exception())) or "confirmed"
            for each in self.confirmed
        ]


async def test_confirmations_reach_those_that_they_mean() -> None:
    published_ones = Published()
    assert published_ones.hear(spec.Basic.Ack(3)) == [None, None, "confirmed", None]
    assert published_ones.hear(spec.Basic.Ack(2, multiple=True)) == ["confirmed", "confirmed", "confirmed", None]
    assert published_ones.hear(spec.Basic.Ack(4)) == ["confirmed"] * 4


async def test_a_refused_message_and_all_before_it_are_told_so() -> None:
    published_ones = Published()
    assert published_ones.hear(spec.Basic.Nack(2, multiple=True)) == [NackedError, NackedError, None, None]


async def test_a_message_that_came_back_is_unroutable_though_it_is_confirmed_right_after() -> None:
    published_ones = Published()
    header = ContentHeader(0, 4, spec.Basic.Properties(message_id="m2"))
    returned = spec.Basic.Return(312, "NO_ROUTE", "grants", "a.b")
    heard = published_ones.hear(returned, header, ContentBody(b"body"), spec.Basic.Ack(2, multiple=True))
    assert heard == ["confirmed", UnroutableError, None, None]


async def test_what_is_not_confirmed_when_the_channel_ends_fails_with_its_reason() -> None:
    published_ones = Published()
    published_ones.hear(spec.Basic.Ack(1))
    published_ones.confirmed[1].cancel()  # whoever waited for it lost his patience
    published_ones.confirmations.end(ConnectionResetError("lost"))
    assert published_ones.confirmed[0].exception() is None
    assert [type(each.exception()) for each in published_ones.confirmed[2:]] == [ConnectionResetError] * 2
