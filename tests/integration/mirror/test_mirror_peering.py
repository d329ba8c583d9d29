"""What a mirror gives other mirrors: verified pieces for a peer's token, and nothing else to nobody else."""

from __future__ import annotations

import asyncio
import random
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from events.grants import Grant, bind, derive_key, mint
from events.names import Digest, MirrorName
from events.schemas import FilePublished, ReplicaReady
from events.trace import TraceContext
from mirror.state.store import Store

if TYPE_CHECKING:
    import aiohttp
    from conftest import Stage

ANA = MirrorName("ana")
KEY = derive_key(b"s" * 32, ANA, 1)  # as conftest.py has it
PIECE_BYTES = 300_000
CONTENT = random.Random(1).randbytes(1_000_000)  # noqa: S311 - any bytes will do


def token(
    event: FilePublished,
    *,
    address: str = "127.0.0.1",
    peer: bool = True,
    start_in_s: int = 60,
    sha256: bytes | None = None,
    mirror: MirrorName = ANA,
) -> str:
    bound, prefix_bits = bind(ip_address(address))
    now_s = int(time.time())
    grant = Grant(
        grant_id=random.randbytes(16),  # noqa: S311 - any will do
        sha256=event.sha256 if sha256 is None else event.sha256.__class__(sha256),
        size_bytes=event.size_bytes,
        start_by_s=now_s + start_in_s,
        finish_by_s=now_s + start_in_s + 60,
        address=bound,
        prefix_bits=prefix_bits,
        peer=peer,
    )
    return mint(grant, mirror=mirror, key=KEY)


async def ask(
    stage: Stage,
    http: aiohttp.ClientSession,
    event: FilePublished,
    asked: str | None,
    *,
    leave: str | None = None,
    forwarded_for: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    fields = {"Authorization": f"Bearer {leave or token(event)}"}
    if asked is not None:
        fields["Range"] = asked
    if forwarded_for is not None:
        fields["X-Forwarded-For"] = forwarded_for
    async with http.get(f"{stage.url}/-/peer/{event.sha256.hex()}", headers=fields) as response:
        return response.status, dict(response.headers), await response.read()


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        pytest.param(0, 300_000, id="the first piece"),
        pytest.param(300_000, 600_000, id="a piece in the middle"),
        pytest.param(900_000, 1_000_000, id="the last, shorter one"),
        pytest.param(450_000, 600_000, id="the end of a piece"),
    ],
)
async def test_a_piece_of_what_is_held_is_given(
    stage: Stage, http: aiohttp.ClientSession, start: int, stop: int
) -> None:
    async with stage.running():
        event = await stage.publish("a", CONTENT, piece_bytes=PIECE_BYTES)
        await stage.log.until(ReplicaReady)
        status, fields, body = await ask(stage, http, event, f"bytes={start}-{stop - 1}")
        assert (status, body) == (206, CONTENT[start:stop])
        assert fields["Content-Range"] == f"bytes {start}-{stop - 1}/1000000"
        assert "Content-Encoding" not in fields
        assert (await stage.status(http))["serves"]["sent_bytes"] == stop - start


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(None, id="all"),
        pytest.param("bytes=0-299998", id="less than a piece"),
        pytest.param("bytes=0-599999", id="two pieces"),
        pytest.param("bytes=299999-599999", id="one piece and a byte"),
        pytest.param("bytes=900000-", id="an open end"),
        pytest.param("bytes=-100000", id="the last bytes"),
        pytest.param("bytes=0-299999,300000-599999", id="two ranges"),
        pytest.param("bytes=1000000-1000000", id="past the end"),
        pytest.param("bytes=600000-599999", id="backwards"),
    ],
)
async def test_what_is_not_one_piece_is_refused(stage: Stage, http: aiohttp.ClientSession, asked: str | None) -> None:
    async with stage.running():
        event = await stage.publish("a", CONTENT, piece_bytes=PIECE_BYTES)
        await stage.log.until(ReplicaReady)
        status, fields, body = await ask(stage, http, event, asked)
        assert status == 416
        assert fields["Content-Range"] == "bytes */1000000"
        assert b"not_a_piece" in body


async def test_verified_pieces_are_given_while_the_rest_is_on_its_way(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    content = random.Random(2).randbytes(3_000_000)  # noqa: S311 - any bytes will do
    go_on = asyncio.Event()
    asked: list[str] = []

    async def answers(request: web.Request, content: bytes) -> web.StreamResponse:
        asked.append(request.headers["Range"])
        if len(asked) > 1:
            await go_on.wait()
        start, stop = request.http_range.start or 0, request.http_range.stop or len(content)
        fields = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        return web.Response(status=206, body=content[start:stop], headers=fields)

    stage.reconfigure(limits=stage.config.limits.__class__(stall_after_s=30))
    stage.master.answers += [answers] * 3
    async with stage.running():
        event = await stage.publish("a", content, piece_bytes=1_000_000)
        await stage.until(lambda: len(asked) > 1)
        status, _, body = await ask(stage, http, event, asked[0])
        start = int(asked[0].removeprefix("bytes=").partition("-")[0])
        assert (status, body) == (206, content[start : start + 1_000_000])
        assert (await ask(stage, http, event, asked[1]))[0] == 416, "not verified yet"
        go_on.set()
        await stage.log.until(ReplicaReady)
        assert (await ask(stage, http, event, asked[1]))[0] == 206


async def test_a_content_is_given_while_its_row_is_being_written(
    stage: Stage, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[tuple[int, bytes]] = []
    event = stage.master.publish("a", CONTENT)
    add_replica = Store.add_replica

    async def asked_meanwhile(store: Store, sha256: Digest, size_bytes: int, *, trace: TraceContext | None) -> bool:
        status, _, body = await ask(stage, http, event, "bytes=0-999999")
        answers.append((status, body))
        return await add_replica(store, sha256, size_bytes, trace=trace)

    monkeypatch.setattr(Store, "add_replica", asked_meanwhile)
    async with stage.running():
        await stage.log.until(ReplicaReady)
    assert answers == [(206, CONTENT)]


async def test_only_a_peers_token_for_this_mirror_content_and_address_opens(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        wrong = {
            "a visitor's": token(event, peer=False),
            "another mirror's": token(event, mirror=MirrorName("bob")),
            "another content's": token(event, sha256=b"x" * 32),
            "another address's": token(event, address="192.0.2.1"),
            "an old one": token(event, start_in_s=-60),
            "an altered one": "A" + token(event)[1:],
        }
        for whose, leave in wrong.items():
            status, _, body = await ask(stage, http, event, "bytes=0-999999", leave=leave)
            assert (status, b"token_wrong" in body) == (403, True), whose
        async with http.get(f"{stage.url}/-/peer/{event.sha256.hex()}") as response:
            assert response.status == 401


async def test_a_peers_token_opens_nothing_to_visitors(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        async with http.get(f"{stage.url}/d/{token(event)}/a") as response:
            assert response.status == 404


async def test_an_address_of_the_other_family_may_claim_a_lease_once(stage: Stage, http: aiohttp.ClientSession) -> None:
    stage.reconfigure(trusted_proxies=("127.0.0.0/8", "::1/128"))
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        leave = token(event, address="2001:db8::1")
        came_from = ["2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8:1::1"]
        statuses = [
            (await ask(stage, http, event, "bytes=0-999999", leave=leave, forwarded_for=address))[0]
            for address in came_from
        ]
        assert statuses == [206, 206, 403, 206, 403]


async def test_a_mirror_that_serves_no_others_has_nothing_for_them(stage: Stage, http: aiohttp.ClientSession) -> None:
    stage.reconfigure(peers=False)
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        assert (await ask(stage, http, event, "bytes=0-999999"))[0] == 404
        assert (await ask(stage, http, event, None, leave="no token"))[0] == 404


async def test_what_is_not_here_or_withdrawn_is_not_found(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        other = await stage.publish_ready("b", b"another")
        await stage.say(stage.master.withdraw("a"))
        await stage.until(lambda: not stage.object_path(event.sha256).exists())
        assert (await ask(stage, http, event, "bytes=0-999999"))[0] == 404
        assert (await ask(stage, http, other, "bytes=0-6"))[2] == b"another"
        async with http.get(f"{stage.url}/-/peer/%2e%2e%2fstate.db", headers={"Authorization": "Bearer x"}) as response:
            assert response.status == 404


async def test_a_mirror_without_a_place_for_others_says_when_to_come_back(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    stage.reconfigure(peer_slots=0)
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        status, fields, _ = await ask(stage, http, event, "bytes=0-999999")
        assert status == 429
        assert int(fields["Retry-After"]) > 0


async def test_other_mirrors_get_their_share_of_the_bytes_and_no_more(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    stage.reconfigure(monthly_bytes=20_000_000, peer_share=0.1)
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        statuses = [(await ask(stage, http, event, "bytes=0-999999"))[0] for _ in range(3)]
        assert statuses == [206, 206, 429]
        async with http.get(stage.link(stage.grant(event))) as response:
            assert await response.read() == CONTENT, "visitors have theirs"
