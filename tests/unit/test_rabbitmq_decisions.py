"""The pure decisions inside the RabbitMQ adapter: acknowledgements, positions, blame, waits."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from aio_pika.exceptions import (
    AMQPConnectionError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused
from hypothesis import given
from hypothesis import strategies as st

from broker.backoff import backoff_s
from broker.handling import RETRY_AFTER_S, RETRY_AFTER_S_MAX, retry_after_s
from broker.port import (
    LOG_PREFETCH_MAX,
    AccessRefusedError,
    After,
    BrokerError,
    DisconnectedError,
    From,
    Message,
    PositionLostError,
    Start,
    TopologyError,
)
from broker.rabbitmq.acks import Acks, Unsettled
from broker.rabbitmq.errors import InaccessibleError, is_blamed, port_error, translated
from broker.rabbitmq.position import Position

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def unsettled(*tags: int, done: tuple[int, ...]) -> Unsettled:
    found = Unsettled()
    for tag in tags:
        found.add(tag)
    for tag in done:
        found.done(tag)
    return found


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        pytest.param((), None, id="nothing is done"),
        pytest.param((1, 2, 3, 4), Acks(4, ()), id="all are done"),
        pytest.param((2, 1), Acks(2, ()), id="done in another order"),
        pytest.param((2, 4), Acks(None, (2, 4)), id="the first is still at work"),
        pytest.param((1, 2, 4), Acks(2, (4,)), id="one in between is still at work"),
    ],
)
def test_one_acknowledgement_covers_all_before_the_first_gap(done: tuple[int, ...], expected: Acks | None) -> None:
    assert unsettled(1, 2, 3, 4, done=done).take_acks() == expected


def test_what_was_acknowledged_is_not_acknowledged_again() -> None:
    open_ones = unsettled(1, 2, 3, done=(1,))
    open_ones.take_acks()
    open_ones.done(2)
    assert open_ones.take_acks() == Acks(2, ())


def test_an_acknowledgement_reaches_beyond_a_requeued_message_only_after_it_was_given_back() -> None:
    open_ones = unsettled(1, 2, done=(2,))
    assert open_ones.take_acks() == Acks(None, (2,))
    open_ones.add(3)
    open_ones.done(3)
    open_ones.drop(1)
    assert open_ones.take_acks() == Acks(3, ())


@given(st.permutations(range(1, 9)), st.lists(st.integers(0, 8), max_size=8))
def test_each_delivery_is_acknowledged_exactly_once(order: list[int], pauses: list[int]) -> None:
    open_ones = unsettled(*range(1, 9), done=())
    at_the_broker = set(range(1, 9))
    finished: set[int] = set()
    for index, tag in enumerate(order):
        open_ones.done(tag)
        finished.add(tag)
        if index in pauses or index == len(order) - 1:
            acks = open_ones.take_acks()
            assert acks is not None
            covered = {tag for tag in at_the_broker if acks.through is not None and tag <= acks.through}
            assert covered.isdisjoint(acks.singles)
            assert covered | set(acks.singles) <= finished
            at_the_broker -= covered | set(acks.singles)
    assert at_the_broker == set()


@pytest.mark.parametrize(
    ("start", "attach_at"),
    [
        pytest.param(From.FIRST, "first", id="from the first"),
        pytest.param(From.NEXT, "next", id="from the next"),
        pytest.param(17, 17, id="from an offset"),
        pytest.param(timedelta(hours=1), NOW - timedelta(hours=1), id="from an hour ago"),
    ],
)
def test_a_position_begins_where_it_was_told(start: Start, attach_at: object) -> None:
    assert Position(start, now=NOW).attach_at == attach_at


def test_a_position_resumes_at_the_last_entry_and_does_not_read_it_again() -> None:
    position = Position(From.FIRST, now=NOW)
    assert position.is_news(4, "a")
    assert position.is_news(7, "b")
    assert position.attach_at == 7
    assert not position.is_news(7, "b")
    assert position.is_news(8, "c")


def test_a_position_that_read_nothing_resumes_when_it_attached_and_not_at_the_new_end() -> None:
    position = Position(From.NEXT, now=NOW)
    position.attached(now=NOW + timedelta(seconds=1))
    position.attached(now=NOW + timedelta(seconds=9))
    assert position.attach_at == NOW + timedelta(seconds=1)


def test_a_stream_that_holds_something_else_at_the_last_offset_is_another_one() -> None:
    position = Position(From.FIRST, now=NOW)
    position.is_news(4, "a")
    with pytest.raises(TopologyError):
        position.is_news(4, "z")


@pytest.mark.parametrize("start", [From.FIRST, After(4, "a")], ids=["read before", "told to go on after it"])
def test_a_position_goes_on_only_if_the_last_entry_still_stands_there(start: Start) -> None:
    def attached() -> Position:
        position = Position(start, now=NOW)
        if start is From.FIRST:
            position.is_news(4, "a")
        assert position.attach_at == 4
        position.attached(now=NOW)
        assert not position.is_proved
        return position

    whole = attached()
    assert not whole.is_news(4, "a")
    assert whole.is_proved
    assert whole.is_news(9, "b")
    with pytest.raises(PositionLostError, match="is gone; the next is 5"):
        attached().is_news(5, "b")
    with pytest.raises(PositionLostError, match="another stream"):
        attached().is_news(4, "z")


def test_a_position_that_passed_an_entry_over_has_nothing_to_prove() -> None:
    position = Position(From.FIRST, now=NOW)
    position.is_news(4, "a")
    position.be_careful()
    position.attached(now=NOW)
    position.is_news(4, "a")
    position.pass_over(now=NOW)
    position.attached(now=NOW)
    assert position.is_proved
    assert position.is_news(8, "b")


def test_a_position_passes_over_what_ends_every_connection_even_behind_a_hole_in_the_offsets() -> None:
    position = Position(From.FIRST, now=NOW)
    position.is_news(4, "a")
    position.be_careful()
    assert position.prefetch == 1
    for passed in (5, 6, 7):
        position.attached(now=NOW)
        assert not position.is_news(4, "a")
        assert position.pass_over(now=NOW) == passed
        assert position.attach_at == passed + 1
    position.attached(now=NOW)
    assert position.is_news(8, "b")
    assert position.attach_at == 8


def test_a_position_passes_nothing_over_while_entries_still_come_before_the_unreadable_one() -> None:
    position = Position(From.FIRST, now=NOW)
    position.is_news(4, "a")
    position.be_careful()
    position.attached(now=NOW)
    position.is_news(4, "a")
    position.is_news(5, "b")
    assert position.pass_over(now=NOW) is None
    assert position.attach_at == 5


@pytest.mark.parametrize(
    ("start", "attach_at"),
    [
        pytest.param(From.FIRST, 1, id="from the first"),
        pytest.param(9, 10, id="from an offset"),
        pytest.param(timedelta(hours=1), NOW, id="from an hour ago"),
    ],
)
def test_a_position_passes_over_an_unreadable_entry_before_any_other(start: Start, attach_at: object) -> None:
    position = Position(start, now=NOW)
    position.be_careful()
    position.attached(now=NOW)
    position.pass_over(now=NOW)
    assert position.attach_at == attach_at


def test_a_careful_position_is_at_ease_again_once_the_suspects_are_read() -> None:
    position = Position(From.FIRST, now=NOW)
    position.be_careful()
    for offset in range(LOG_PREFETCH_MAX):
        assert position.is_careful
        position.is_news(offset, str(offset))
    assert not position.is_careful
    assert position.prefetch == LOG_PREFETCH_MAX


TOPIC_REPLY = (
    "ACCESS_REFUSED - access to topic 'mirror.bob.ready' in exchange 'fleet' in vhost '/' refused for user 'u'"
)
EXCHANGE_REPLY = "ACCESS_REFUSED - access to exchange 'files' in vhost '/' refused for user 'u'"


@pytest.mark.parametrize(
    ("exchange", "routing_key", "reply", "blamed"),
    [
        pytest.param("fleet", "mirror.bob.ready", TOPIC_REPLY, True, id="the refused topic"),
        pytest.param("fleet", "mirror.ana.ready", TOPIC_REPLY, False, id="another topic"),
        pytest.param("files", "mirror.bob.ready", TOPIC_REPLY, False, id="another exchange"),
        pytest.param("files", "any.key", EXCHANGE_REPLY, True, id="the refused exchange"),
        pytest.param("fleet", "any.key", EXCHANGE_REPLY, False, id="not the refused exchange"),
        pytest.param("nope", "k", "NOT_FOUND - no exchange 'nope' in vhost '/'", True, id="the missing exchange"),
    ],
)
def test_only_the_refused_message_is_blamed_for_a_closed_amqp_channel(
    exchange: str, routing_key: str, reply: str, blamed: bool
) -> None:
    message = Message(exchange=exchange, routing_key=routing_key, message_id="1", type="t", body=b"")
    assert is_blamed(message, reply) is blamed


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        (ChannelAccessRefused("no"), AccessRefusedError),
        (ProbableAuthenticationError("no"), AccessRefusedError),
        (ChannelNotFoundEntity("NOT_FOUND - no queue 'q' in vhost 'v'"), TopologyError),
        (ChannelPreconditionFailed("PRECONDITION_FAILED - inequivalent arg 'x'"), TopologyError),
        (ChannelNotFoundEntity("NOT_FOUND - home node 'n' of durable queue 'q' is down"), InaccessibleError),
        (ChannelPreconditionFailed("PRECONDITION_FAILED - 'q' does not have a replica"), InaccessibleError),
        (AMQPConnectionError("gone"), DisconnectedError),
        (OSError("gone"), DisconnectedError),
        (RuntimeError("closed"), DisconnectedError),
    ],
)
async def test_each_foreign_error_becomes_one_of_ours(foreign: Exception, ours: type[BrokerError]) -> None:
    with pytest.raises(ours, match=str(foreign)), translated():
        raise foreign
    assert type(port_error(foreign)) is ours


async def test_a_cancellation_that_nobody_asked_for_means_that_the_connection_was_lost() -> None:
    with pytest.raises(DisconnectedError), translated():
        raise asyncio.CancelledError


async def test_a_true_cancellation_stays_one() -> None:
    async def work() -> None:
        with translated():
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_limit_stays_one() -> None:
    async def work() -> None:
        async with asyncio.timeout(0):
            with translated():
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await work()


@given(st.integers(0, 10_000), st.integers())
def test_waits_grow_to_their_bound_with_chance_in_them(tries: int, seed: int) -> None:
    wait_s = backoff_s(tries, first_s=0.1, max_s=5.0, rng=Random(seed))  # noqa: S311 - jitter
    full_s = min(0.1 * 2 ** min(tries, 32), 5.0)
    assert full_s / 2 <= wait_s <= full_s


def test_a_failing_message_is_kept_longer_each_time() -> None:
    waits_s = [retry_after_s(deliveries) for deliveries in range(50)]
    assert waits_s == sorted(waits_s)
    assert (waits_s[0], waits_s[-1]) == (RETRY_AFTER_S, RETRY_AFTER_S_MAX)
