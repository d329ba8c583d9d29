"""Grants that are taken back: said, kept over restarts, and honoured by the master itself at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from broker.topology import mirror_queue
from events.names import ORIGIN, MirrorName
from events.schemas import CatalogueRestated, DownloadOutcome, GrantsRevoked, KeysRotated
from events.terms import FINISH_WITHIN_S
from master import revoking
from master.revoking import CUT_REASON
from master.store.store import open_store

if TYPE_CHECKING:
    from conftest import Desk, Link, Theatre

API = "/-/api/v1"


async def revoke(desk: Desk, **criteria: object) -> dict[str, Any]:
    return await desk.done("POST", f"{API}/revocations", criteria)


async def fetch(desk: Desk, path: str, *, method: str = "HEAD") -> tuple[int, bytes]:
    async with desk.session.request(method, desk.url + path, allow_redirects=False) as response:
        return response.status, await response.read()


async def test_a_revoked_download_is_cut_refused_from_then_on_and_gives_its_slot_back(
    memory_theatre: Theatre, large: Path, link: Link
) -> None:
    one_slot = replace(memory_theatre, config=replace(memory_theatre.config, slots=1))
    async with one_slot.desk() as desk:
        await desk.publish(large)
        async with desk.slow_download(link) as response:
            answer = await revoke(desk, grant_id=link.grant_id.hex(), reason="leaked")
            assert answer["cut"] == 1
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        status, body = await fetch(desk, link.path, method="GET")
        assert (status, b'"revoked"' in body) == (403, True)
        await desk.until(lambda: bool(desk.downloads(DownloadOutcome.ABORTED)))
        assert [event.reason for event in desk.downloads(DownloadOutcome.ABORTED)] == [CUT_REASON]
        async with desk.slow_download(replace(link, number=2)):
            pass


async def test_a_revocation_names_what_it_is_about_and_is_said_to_all(
    theatre: Theatre, large: Path, link: Link
) -> None:
    async with theatre.desk() as desk:
        await desk.publish(large)
        await desk.join("ana")
        criteria = {"path": "large.iso", "network": "203.0.113.0/24", "mirror": "ana"}
        told = (await revoke(desk, **criteria, reason="why"))["revocation"]
        assert (told["revocation"], told["sha256"], told["network"], told["mirror"], told["grant_id"]) == (
            1, link.sha256.hex(), "203.0.113.0/24", "ana", None,
        )  # fmt: skip
        assert told["until_s"] == told["start_by_s_max"] + FINISH_WITHIN_S + link.size_bytes // 50_000
        await desk.until(lambda: bool(desk.events(GrantsRevoked)))
        (said,) = desk.events(GrantsRevoked)
        assert (said.sha256, said.network, said.mirror, said.reason) == (
            link.sha256, "203.0.113.0/24", "ana", "why",
        )  # fmt: skip
        assert (await desk.done("GET", f"{API}/revocations"))["revocations"] == [told]
        assert await desk.broker.exists(mirror_queue(MirrorName("ana")))


@pytest.mark.parametrize(
    ("criteria", "status"),
    [
        pytest.param({"path": "large.iso"}, 403, id="its file"),
        pytest.param({"network": "127.0.0.0/8"}, 403, id="its visitor"),
        pytest.param({"network": "203.0.113.0/24"}, 200, id="other visitors"),
        pytest.param({"mirror": ORIGIN}, 403, id="the master's"),
        pytest.param({"mirror": "ana"}, 200, id="a mirror's"),
        pytest.param({"mirror": "ana", "path": "large.iso"}, 200, id="a mirror's of its file"),
    ],
)
async def test_only_what_agrees_with_all_that_is_named_is_refused(
    memory_theatre: Theatre, large: Path, link: Link, criteria: dict[str, object], status: int
) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(large)
        await desk.join("ana")
        await revoke(desk, **criteria)
        assert (await fetch(desk, link.path))[0] == status


async def test_revocations_hold_over_a_restart_and_are_restated(
    memory_theatre: Theatre, large: Path, link: Link
) -> None:
    path = link.path
    async with memory_theatre.desk() as desk:
        await desk.publish(large)
        await revoke(desk, path="large.iso")
    async with open_store(memory_theatre.config.store_url) as store, store.changing() as transaction:
        await transaction.set_restated_at_ns(0)
    async with memory_theatre.desk() as desk:
        assert (await fetch(desk, path))[0] == 403
        await desk.until(lambda: len(desk.events(CatalogueRestated)) == 2)
        first, again = desk.events(GrantsRevoked)
        assert first == again
        assert (await revoke(desk, path="large.iso"))["revocation"]["revocation"] == 2


@pytest.mark.parametrize(
    ("criteria", "status", "code"),
    [
        ({}, 400, "revocation_empty"),
        ({"path": "never.iso"}, 404, "file_unknown"),
        ({"path": "../x"}, 400, "path_invalid"),
        ({"mirror": "nobody"}, 404, "mirror_unknown"),
        ({"grant_id": "00"}, 400, "grant_invalid"),
        ({"grant_id": "x" * 32}, 400, "grant_invalid"),
        ({"network": "203.0.113.9/24"}, 400, "network_invalid"),
        ({"network": "::/0", "reason": "x" * 501}, 400, "reason_too_long"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    memory_theatre: Theatre, criteria: dict[str, object], status: int, code: str
) -> None:
    async with memory_theatre.desk() as desk:
        found, answer = await desk.ask("POST", f"{API}/revocations", criteria)
        assert (found, answer["error"]["code"]) == (status, code)


async def test_revocations_are_limited(memory_theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoking, "REVOCATIONS_MAX", 3)
    async with memory_theatre.desk() as desk:
        one = {"network": "203.0.113.9/32"}
        answers = await asyncio.gather(*(desk.ask("POST", f"{API}/revocations", one) for _ in range(5)))
        assert sorted(status for status, _ in answers) == [200, 200, 200, 409, 409]


@pytest.mark.parametrize("is_restarted", [False, True], ids=["at the mirror's word", "at the next start"])
async def test_what_a_lost_queue_may_have_held_of_revocations_and_keys_is_said_again(
    is_restarted: bool, memory_theatre: Theatre
) -> None:
    async with memory_theatre.desk() as desk:
        token = (await desk.join("ana"))["token"]
        await desk.done("POST", f"{API}/mirrors/ana/keys", {"cut": True})
        await revoke(desk, mirror="ana")
        await desk.until(lambda: bool(desk.events(GrantsRevoked)))
        await desk.done("POST", f"{API}/mirrors/self/queue", token=token)
        assert len(desk.events(GrantsRevoked)) == 1, "nothing was lost"
        async with memory_theatre.open_broker(memory_theatre.config.broker) as (_, admin):
            await admin.delete_queue(mirror_queue(MirrorName("ana")))
        if not is_restarted:
            healed = await desk.done("POST", f"{API}/mirrors/self/queue", token=token)
            assert healed["healed"]
            await desk.until(lambda: len(desk.events(GrantsRevoked)) == len(desk.events(KeysRotated)) == 2)
    if is_restarted:
        async with memory_theatre.desk() as desk:
            await desk.until(lambda: len(desk.events(GrantsRevoked)) == len(desk.events(KeysRotated)) == 2)
