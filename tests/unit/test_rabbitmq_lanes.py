"""How long an AMQP channel for publishing lives, over a connection that only counts channels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from broker.port import Message
from broker.rabbitmq import lanes as lanes_module
from broker.rabbitmq.lanes import Lanes
from broker.rabbitmq.session import Session


class Connection:
    """Stands for a session: opens AMQP channels, and knows which are open."""

    def __init__(self) -> None:
        self.channels: dict[int, SimpleNamespace] = {}
        self._opened = 0

    async def open_channel(self, *, confirms: bool) -> SimpleNamespace:
        assert confirms
        self._opened = number = self._opened + 1
        underlay = SimpleNamespace(number=number, connection=self, is_closed=False)
        self.channels[number] = underlay

        async def get_underlay_channel() -> SimpleNamespace:
            return underlay

        async def close() -> None:
            del self.channels[number]

        return SimpleNamespace(get_underlay_channel=get_underlay_channel, close=close)


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    class OpenGate:
        def __init__(self, session: Session) -> None: ...

        async def passed(self) -> None: ...

    monkeypatch.setattr(lanes_module, "LogGate", OpenGate)
    return Connection()


def message(exchange: str) -> Message:
    return Message(exchange=exchange, routing_key="a.b", message_id="1", type="t/1", body=b"")


async def test_each_exchange_has_a_lane_that_is_kept(connection: Connection) -> None:
    lanes = Lanes(cast("Session", connection))
    fleet = await lanes.lane_for(message("fleet"))
    assert await lanes.lane_for(message("load")) is not fleet
    assert await lanes.lane_for(message("fleet")) is fleet
    assert len(connection.channels) == 2


async def test_an_old_lane_makes_way_when_nothing_is_in_flight_on_it(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes_module, "LANE_AGE_MAX_S", 0.0)
    lanes = Lanes(cast("Session", connection))
    old = await lanes.lane_for(message("fleet"))
    async with old.used():
        assert await lanes.lane_for(message("fleet")) is old
    new = await lanes.lane_for(message("fleet"))
    assert (new is old, old.is_open, new.is_open) == (False, False, True)
    assert list(connection.channels) == [2]


async def test_a_lane_that_was_given_up_is_closed_by_who_leaves_it_last(connection: Connection) -> None:
    lanes = Lanes(cast("Session", connection))
    lane = await lanes.lane_for(message("fleet"))
    async with lane.used():
        async with lane.used():
            lane.give_up()
        assert await lanes.lane_for(message("fleet")) is not lane
        assert list(connection.channels) == [1, 2]
    assert list(connection.channels) == [2]
