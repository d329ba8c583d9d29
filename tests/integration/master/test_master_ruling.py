"""What the site rules for a mirror: changed, said, kept, restated, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from events.names import MirrorName
from events.schemas import MirrorJoined, MirrorLeft, MirrorRuled, Reach
from master.restating import restate
from master.store.store import open_store

if TYPE_CHECKING:
    from conftest import Desk, Theatre

API = "/-/api/v1"
ANA = MirrorName("ana")
RULED = MirrorRuled(mirror=ANA, enabled=False, weight_percent=50, reach=Reach(countries_only=("DE", "AT")))


async def rule(desk: Desk, **body: object) -> dict[str, Any]:
    return (await desk.done("PATCH", f"{API}/mirrors/ana", body))["rule"]


async def test_a_rule_is_said_whole_and_shown_and_what_is_not_named_stays(theatre: Theatre) -> None:
    async with theatre.desk() as desk:
        await desk.join("ana")
        await rule(desk, enabled=False, reach={"countries_only": ["DE", "AT"]})
        told = await rule(desk, weight_percent=50)
        assert (told["enabled"], told["weight_percent"], told["reach"]["countries_only"]) == (False, 50, ["DE", "AT"])
        await rule(desk, weight_percent=50)
        await desk.until(lambda: RULED in desk.events(MirrorRuled))
        assert len(desk.events(MirrorRuled)) == 2, "what changes nothing is not said"
        (shown,) = (await desk.done("GET", f"{API}/mirrors"))["mirrors"]
        assert shown["rule"] == told
        assert (await rule(desk, reach={"countries_only": []}))["reach"]["countries_only"] == []


async def test_a_rule_outlives_a_restart_and_stands_in_every_restatement(theatre: Theatre) -> None:
    async with theatre.desk() as desk:
        await desk.join("ana")
        await rule(desk, enabled=False, weight_percent=50, reach={"countries_only": ["DE", "AT"]})
    async with open_store(theatre.config.store_url) as store, store.changing() as transaction:
        await restate(transaction, await transaction.log_generation())
    async with theatre.desk() as desk:
        await desk.until(lambda: desk.events(MirrorRuled).count(RULED) == 2)
        (shown,) = (await desk.done("GET", f"{API}/mirrors"))["mirrors"]
        assert shown["rule"]["enabled"] is False


async def test_a_rule_is_said_again_when_the_mirror_joins_again_and_ends_when_it_leaves(
    memory_theatre: Theatre,
) -> None:
    async with memory_theatre.desk() as desk:
        await desk.join("ana")
        await rule(desk, enabled=False)
        await desk.join("ana")
        await desk.done("DELETE", f"{API}/mirrors/ana")
        await desk.join("ana")
        await desk.until(lambda: len(desk.events(MirrorJoined)) == 3)
        said = desk.events(MirrorJoined, MirrorRuled, MirrorLeft)
        assert [(type(event), getattr(event, "enabled", None)) for event in said] == [
            (MirrorJoined, None), (MirrorRuled, False), (MirrorJoined, None), (MirrorRuled, False),
            (MirrorRuled, True), (MirrorLeft, None), (MirrorJoined, None),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"weight_percent": 0}, "body_invalid"),
        ({"share_percent_max": 101}, "body_invalid"),
        ({"reach": {"countries_only": ["de"]}}, "body_invalid"),
        ({"reach": {"continents_only": ["XX"]}}, "body_invalid"),
        ({"reach": {"networks_only": ["192.0.2.1/24"]}}, "network_invalid"),
        ({"colour": "red"}, "body_invalid"),
    ],
)
async def test_a_rule_that_cannot_be_meant_is_refused(
    memory_theatre: Theatre, body: dict[str, object], code: str
) -> None:
    async with memory_theatre.desk() as desk:
        await desk.join("ana")
        status, answer = await desk.ask("PATCH", f"{API}/mirrors/ana", body)
        assert (status, answer["error"]["code"]) == (400, code)


async def test_nobody_is_ruled_who_is_not_in_the_fleet(memory_theatre: Theatre) -> None:
    async with memory_theatre.desk() as desk:
        status, answer = await desk.ask("PATCH", f"{API}/mirrors/ana", {"enabled": False})
        assert (status, answer["error"]["code"]) == (404, "mirror_unknown")
