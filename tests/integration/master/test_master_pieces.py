"""Mirrors ask the master for pieces, and get them from it under a lease or from each other with a token."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker.relay import message_of
from events.envelope import Envelope, mirror_source
from events.grants import check, derive_key, read
from events.names import Digest, FilePath, MirrorName, parse_digest
from events.schemas import (
    Event,
    InventoryAnnounced,
    MirrorCameOnline,
    Profile,
    ReplicaReady,
)
from master import following
from master.store.store import open_store

if TYPE_CHECKING:
    from conftest import Desk, Theatre

ANA = MirrorName("ana")
PIECE_BYTES = 4 << 20
PIECES = 3
BYTES = bytes(range(256)) * (PIECES * PIECE_BYTES // 256)
LAST_BYTE = PIECE_BYTES - 1
DEADLINE_S = 30.0
LOOK_EVERY_S = 0.02
PATIENT_S = 20.0  # an answer comes as soon as there is one; this is only how long it may take


@dataclass
class Site:
    """A master that published one file of three pieces, and mirrors that joined."""

    desk: Desk
    sha256: str
    tokens: dict[str, str]
    sequences: Iterator[int]

    async def ask(self, mirror: str, *have: int, want_max: int = 4, wait_s: float = 0.0, **more: object) -> Any:  # noqa: ANN401 - JSON
        bitmap = bytes([sum(0x80 >> piece for piece in have)])
        body = {"sha256": self.sha256, "have": base64.b64encode(bitmap).decode(), "want_max": want_max} | more
        return await self.desk.done(
            "POST", "/-/api/v1/mirrors/self/pieces", body | {"wait_s": wait_s}, token=self.tokens[mirror]
        )

    async def fetch(self, mirror: str, lease: str | None, start: int, last: int) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.tokens[mirror]}", "Range": f"bytes={start}-{last}"}
        if lease is not None:
            headers["Distributary-Lease"] = lease
        path = f"{self.desk.url}/-/origin/{self.sha256}"
        async with self.desk.session.get(path, headers=headers) as response:
            return response.status, await response.read()

    async def fetch_piece(self, mirror: str, lease: dict[str, Any]) -> tuple[int, bytes]:
        start = lease["piece"] * PIECE_BYTES
        return await self.fetch(mirror, lease["lease"], start, start + LAST_BYTE)

    async def say(self, mirror: str, event: Event) -> None:
        envelope = Envelope(
            source=mirror_source(MirrorName(mirror)),
            epoch=1,
            sequence=next(self.sequences),
            time_ns=0,
            traceparent="",
            event=event,
        )
        await self.desk.broker.publish(message_of(envelope))

    async def come_online(self, mirror: str, *, peers: bool = True, key_epoch: int = 1) -> None:
        profile = Profile(url=f"https://{mirror}.example", slots=1, peers=peers)
        await self.say(mirror, MirrorCameOnline(mirror=MirrorName(mirror), profile=profile, key_epoch=key_epoch))

    async def status(self) -> Any:  # noqa: ANN401 - JSON
        return (await self.desk.done("GET", "/-/api/v1/status"))["origin"]

    async def until_peers(self, expected: int) -> None:
        """Wait until the master has read in the log that so many mirrors serve others."""
        await self.until(lambda origin: origin["peers"] == expected)

    async def until(self, reached: Callable[[Any], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                if reached(await self.status()):
                    return
                await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def site_in(
    theatre: Theatre,
    folder: Path,
    *mirrors: str,
    **settings: Any,  # noqa: ANN401 - of any type
) -> AsyncGenerator[Site]:
    source = folder / "a.iso"
    source.write_bytes(BYTES)
    staged = replace(theatre, config=replace(theatre.config, **settings))
    async with staged.desk() as desk:
        await desk.done("PUT", "/-/api/v1/channels/iso", {"filter": {}})
        (published,) = [line for line in await desk.publish(source) if line["type"] == "published"]
        tokens = {mirror: (await desk.join(mirror, "iso"))["token"] for mirror in mirrors}
        yield Site(desk, published["sha256"], tokens, count(1))


async def test_a_piece_leaves_the_master_under_a_lease_and_is_counted(memory_theatre: Theatre, tmp_path: Path) -> None:
    async with site_in(memory_theatre, tmp_path, "ana") as site:
        first, second = (await site.ask("ana"))["leases"]
        assert {first["source"], second["source"]} == {"origin"}
        status, body = await site.fetch_piece("ana", first)
        start = first["piece"] * PIECE_BYTES
        assert (status, body) == (206, BYTES[start : start + PIECE_BYTES])
        assert (await site.status())["sent_bytes"] == PIECE_BYTES
        done = [{"lease": first["lease"], "outcome": "done"}]
        (third,) = (await site.ask("ana", first["piece"], results=done))["leases"]
        assert {first["piece"], second["piece"], third["piece"]} == {0, 1, 2}


@pytest.mark.parametrize(
    ("lease", "start", "last"),
    [
        pytest.param(None, 0, LAST_BYTE, id="without a lease"),
        pytest.param("00" * 16, 0, LAST_BYTE, id="with a made-up lease"),
        pytest.param("no hex", 0, LAST_BYTE, id="with something else than a lease"),
        pytest.param("own", 0, LAST_BYTE - 1, id="for a part that does not end where the piece does"),
        pytest.param("own", 0, LAST_BYTE + 1, id="for more than the piece"),
        pytest.param("other's", 0, LAST_BYTE, id="with another mirror's lease"),
    ],
)
async def test_nothing_large_leaves_the_master_but_what_was_leased(
    lease: str | None, start: int, last: int, memory_theatre: Theatre, tmp_path: Path
) -> None:
    async with site_in(memory_theatre, tmp_path, "ana", "bob") as site:
        owner = "bob" if lease == "other's" else "ana"
        leases = (await site.ask(owner))["leases"]
        leased = next(each for each in leases if each["piece"] < PIECES - 1)  # the file does not end with it
        offset = leased["piece"] * PIECE_BYTES
        shown = leased["lease"] if lease in {"own", "other's"} else lease
        status, body = await site.fetch("ana", shown, offset + start, offset + last)
        assert (status, b"lease_needed" in body) == (409, True)


async def test_a_mirror_may_go_on_inside_its_piece_but_not_take_it_again_and_again(
    memory_theatre: Theatre, tmp_path: Path
) -> None:
    async with site_in(memory_theatre, tmp_path, "ana") as site:
        lease = (await site.ask("ana"))["leases"][0]
        offset = lease["piece"] * PIECE_BYTES
        answers = [
            (await site.fetch("ana", lease["lease"], offset + begin, offset + LAST_BYTE))[0]
            for begin in (0, 1000, 0, PIECE_BYTES - 1000)
        ]
        assert answers == [206, 206, 409, 206]


async def test_short_files_need_no_lease(memory_theatre: Theatre, tmp_path: Path) -> None:
    async with site_in(memory_theatre, tmp_path, "ana") as site:
        short = tmp_path / "short.txt"
        short.write_bytes(b"short")
        (published,) = [line for line in await site.desk.publish(short) if line["type"] == "published"]
        site.sha256 = published["sha256"]
        assert await site.fetch("ana", None, 0, 4) == (206, b"short")


async def test_what_one_mirror_has_the_next_gets_from_it(memory_theatre: Theatre, tmp_path: Path) -> None:
    async with site_in(memory_theatre, tmp_path, "ana", "bob") as site:
        await site.come_online("ana", key_epoch=3)
        await site.until_peers(1)
        await site.ask("ana", 1, want_max=0)
        leases = {lease["piece"]: lease for lease in (await site.ask("bob"))["leases"]}
        assert leases[1]["source"] == "ana"
        assert leases[1]["url"] == "https://ana.example"
        key = derive_key(b"s" * 32, ANA, 3)
        grant = read(leases[1]["token"], mirror=ANA, keys={3: key})
        assert (grant.peer, grant.sha256.hex(), grant.key_epoch) == (True, site.sha256, 3)
        check(grant, address=ip_address("127.0.0.1"), now_s=time.time(), started=False)


async def test_who_does_not_serve_others_is_no_source(memory_theatre: Theatre, tmp_path: Path) -> None:
    async with site_in(memory_theatre, tmp_path, "ana", "bob", "cat") as site:
        await site.come_online("ana", peers=False)
        await site.come_online("cat")
        await site.until_peers(1)
        await site.ask("ana", 1, want_max=0)
        assert {lease["source"] for lease in (await site.ask("bob"))["leases"]} == {"origin"}


async def test_who_waits_is_answered_as_soon_as_somebody_has_something(memory_theatre: Theatre, tmp_path: Path) -> None:
    async with site_in(memory_theatre, tmp_path, "ana", "bob", seeds_max=1, escape_after_s=3600.0) as site:
        await site.come_online("ana")
        await site.until_peers(1)
        spent = [lease for _ in range(2) for lease in (await site.ask("ana"))["leases"]]
        for lease in spent:
            await site.fetch_piece("ana", lease)
        done = [{"lease": lease["lease"], "outcome": "done"} for lease in spent]
        (last,) = (await site.ask("ana", results=done, have=_bitmap(lease["piece"] for lease in spent)))["leases"]
        await site.fetch_piece("ana", last)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(
                site.ask("bob", wait_s=PATIENT_S, have=_bitmap(each["piece"] for each in spent))
            )
            await site.until(lambda origin: origin["waiting"] == 1)
            await site.ask("ana", 0, 1, 2, want_max=0)
        (lease,) = waiting.result()["leases"]
        assert (lease["source"], lease["piece"]) == ("ana", last["piece"])


async def test_nobody_gets_leases_for_what_none_of_his_channels_holds(memory_theatre: Theatre, tmp_path: Path) -> None:
    async with site_in(memory_theatre, tmp_path, "ana") as site:
        await site.desk.done("DELETE", "/-/api/v1/mirrors/ana/subscriptions/iso")
        body = {"sha256": site.sha256}
        path, token = "/-/api/v1/mirrors/self/pieces", site.tokens["ana"]
        assert (await site.desk.ask("POST", path, body, token=token))[0] == 403
        assert (await site.desk.ask("POST", path, {"sha256": "00" * 32}, token=token))[0] == 404
        assert (await site.desk.ask("POST", path, body | {"have": "!"}, token=token))[0] == 400


async def test_the_log_tells_the_tracker_who_is_whole_and_a_restart_does_not_forget_it(
    theatre: Theatre, tmp_path: Path
) -> None:
    async with site_in(theatre, tmp_path, "ana", "bob") as site:
        digest = parse_digest(site.sha256)
        ready = ReplicaReady(mirror=ANA, sha256=digest, size_bytes=len(BYTES), path=FilePath("a.iso"), generation=1)
        await site.say("ana", ready)
        await site.come_online("ana")
        await site.until_peers(1)
        assert {lease["source"] for lease in (await site.ask("bob", 0))["leases"]} == {"ana"}
    async with theatre.desk() as desk:
        site.desk = desk
        assert (await site.status())["peers"] == 1
        assert {lease["source"] for lease in (await site.ask("bob", 0))["leases"]} == {"ana"}
        await site.say("ana", InventoryAnnounced(mirror=ANA, as_of=50, page=1, pages=1, sha256s=()))
        await site.come_online("bob")
        await site.until_peers(2)
        assert "ana" not in {lease["source"] for lease in (await site.ask("bob", 0, want_max=16))["leases"]}


def _bitmap(pieces: Iterable[int]) -> str:
    return base64.b64encode(bytes([sum(0x80 >> piece for piece in pieces)])).decode()


async def test_a_log_faster_than_the_database_is_read_again_from_where_it_was_kept(
    memory_theatre: Theatre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "WAITING_MAX", 2)
    digests = [bytes([number]) * 32 for number in range(50)]
    async with site_in(memory_theatre, tmp_path, "ana") as site:
        for digest in digests:
            ready = ReplicaReady(mirror=ANA, sha256=Digest(digest), size_bytes=1, path=FilePath("b"), generation=1)
            await site.say("ana", ready)
        await site.come_online("ana")
        await site.until_peers(1)
    async with open_store(memory_theatre.config.store_url) as store, store.reading() as transaction:
        assert await transaction.heard.copies() == {ANA: len(digests)}
