"""Withdrawals: what runs is drained or cut, and each mirror acknowledges what it has acted on."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from edge.running import Running
from events import trace
from events.envelope import Envelope, mirror_source
from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName
from events.pieces import PIECE_BYTES_MIN
from events.schemas import (
    ChannelFollowed,
    DownloadOutcome,
    Event,
    FileWithdrawn,
    Filter,
    MirrorCameOnline,
    Profile,
    WithdrawMode,
)
from master import catalogue
from master.catalogue import Wish
from master.downloads import Outgoing
from master.hashing import Fingerprint, Source
from master.heard import LogPosition
from master.store.catalogue import Channel, Copy
from master.store.store import Store, open_store
from master.withdrawing import CUT_REASON, Acknowledgement, Withdrawing

if TYPE_CHECKING:
    from conftest import Desk, Link, Theatre

API = "/-/api/v1"
ANA, BOB = MirrorName("ana"), MirrorName("bob")
ISO, PUB = ChannelName("iso"), ChannelName("pub")
WISH = Wish(path=FilePath("a.iso"), size_bytes=1, sha256=Digest(b"1" * 32), media_type="text/plain")
SOURCE = Source(location=Path("/a"), fingerprint=Fingerprint(size_bytes=1, mtime_ns=1, inode=1), hashed_at_ns=1)


async def publish(store: Store) -> None:
    async with store.changing() as transaction:
        for channel in (ISO, PUB):
            await transaction.catalogue.put_channel(Channel(name=channel, filter=Filter(), description=""))
            await transaction.fleet.subscribe(ANA, channel)
        await transaction.fleet.subscribe(BOB, ISO)
        standing = await transaction.catalogue.standing(WISH.path)
        change = catalogue.publish(standing, WISH, await transaction.catalogue.filters(), now_ns=1)
        assert change.standing.file is not None
        await transaction.catalogue.put_files([Copy(change.standing.file, SOURCE)])
        await transaction.journal.record(change.facts)


async def test_a_mirror_acknowledges_in_each_channel_that_it_follows(database_url: str) -> None:
    said = 0

    async def acknowledge(mirror: MirrorName, channel: ChannelName, sequence: int) -> None:
        async with store.reading() as transaction:
            epoch = transaction.journal.epoch
        await hear(mirror, ChannelFollowed(mirror=mirror, channel=channel, channel_sequence=sequence, epoch=epoch))

    async def hear(mirror: MirrorName, event: Event) -> None:
        nonlocal said
        said += 1
        async with store.changing() as transaction:
            source = mirror_source(mirror)
            envelope = Envelope(source=source, epoch=1, sequence=said, time_ns=1, traceparent="", event=event)
            await transaction.heard.fold([envelope], LogPosition(1, said))

    async with open_store(database_url) as store:
        await publish(store)
        withdrawing = Withdrawing(store, Running[Outgoing](), wake=lambda: None)
        await hear(BOB, MirrorCameOnline(mirror=BOB, profile=Profile(url="http://bob", slots=1, external=True)))
        await acknowledge(ANA, ISO, 1)
        withdrawn = await withdrawing.withdraw(WISH.path, reason="", mode=WithdrawMode.CUT, trace=trace.root(b"t" * 24))
        assert withdrawn.facts == {ISO: 2, PUB: 2}, "the catalogue is followed by nobody"
        assert withdrawn.acknowledgements == [
            Acknowledgement(ANA, (ISO, PUB)), Acknowledgement(BOB, (ISO,), external=True),
        ]  # fmt: skip
        await acknowledge(ANA, ISO, 2)
        await acknowledge(BOB, ISO, 2)
        assert await withdrawing.acknowledgements(withdrawn.facts) == [
            Acknowledgement(ANA, (PUB,)), Acknowledgement(BOB, (), external=True),
        ]  # fmt: skip
        async with store.changing() as transaction:
            await transaction.fleet.unsubscribe(ANA, PUB)
        assert await withdrawing.acknowledgements(withdrawn.facts) == [
            Acknowledgement(ANA, ()), Acknowledgement(BOB, (), external=True),
        ]  # fmt: skip


async def withdraw(desk: Desk, path: str, **query: str) -> dict[str, object]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return await desk.done("DELETE", f"{API}/files?path={path}&{asked}")


async def test_a_withdrawal_that_cuts_ends_what_runs_and_says_so(
    memory_theatre: Theatre, large: Path, link: Link
) -> None:
    async with memory_theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", {})
        await desk.join("ana", "iso")
        await desk.publish(large)
        async with desk.slow_download(link) as response:
            answer = await withdraw(desk, "large.iso", mode="cut", reason="why")
            assert (answer["mode"], answer["cut"]) == ("cut", 1)
            assert answer["facts"] == [{"channel": "iso", "channel_sequence": 2}]
            assert answer["mirrors"] == [
                {"mirror": "ana", "acknowledged": False, "missing": ["iso"], "external": False}
            ]
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        await desk.until(lambda: bool(desk.downloads(DownloadOutcome.ABORTED)))
        (aborted,) = desk.downloads(DownloadOutcome.ABORTED)
        assert (aborted.reason, aborted.sent_bytes < link.size_bytes) == (CUT_REASON, True)
        assert [(event.channel, event.mode) for event in desk.events(FileWithdrawn)] == [
            (ISO, WithdrawMode.CUT), (ORIGIN_CHANNEL, WithdrawMode.CUT),
        ]  # fmt: skip
        asked = await desk.done("GET", f"{API}/acknowledgements?fact=iso:1&fact=nowhere:1")
        assert asked["mirrors"] == answer["mirrors"]


async def test_what_mirrors_fetch_of_it_is_cut_too(memory_theatre: Theatre, large: Path, link: Link) -> None:
    slow = replace(memory_theatre, config=replace(memory_theatre.config, mirror_rate=200_000))
    async with slow.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", {})
        token = (await desk.join("ana", "iso"))["token"]
        await desk.publish(large)
        ask = {"sha256": link.sha256.hex(), "have": base64.b64encode(bytes(1)).decode(), "want_max": 1, "wait_s": 20}
        (lease,) = (await desk.done("POST", f"{API}/mirrors/self/pieces", ask, token=token))["leases"]
        start = lease["piece"] * PIECE_BYTES_MIN
        headers = {
            "Authorization": f"Bearer {token}",
            "Distributary-Lease": lease["lease"],
            "Range": f"bytes={start}-{start + PIECE_BYTES_MIN - 1}",
        }
        async with desk.session.get(f"{desk.url}/-/origin/{link.sha256.hex()}", headers=headers) as response:
            await response.content.readexactly(1)
            assert (await withdraw(desk, "large.iso", mode="cut"))["cut"] == 1
            with pytest.raises(aiohttp.ClientError):
                await response.read()


@pytest.mark.parametrize("mode", ["drain", "cut"])
async def test_what_may_end_or_stands_under_another_path_goes_on(
    memory_theatre: Theatre, large: Path, link: Link, mode: str
) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(large)
        if mode == "cut":
            await desk.publish(large, **{"as": "other.iso"})
        async with desk.slow_download(link) as response:
            assert (await withdraw(desk, "large.iso", mode=mode))["cut"] == 0
            assert len(await response.read()) == link.size_bytes - 1


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("DELETE", "/files?path=a&mode=kill", "mode_invalid"),
        ("GET", "/acknowledgements?fact=iso", "fact_invalid"),
        ("GET", "/acknowledgements?fact=iso:99999999999999999999", "fact_invalid"),
        ("GET", "/acknowledgements?fact=no%20channel:1", "channel_invalid"),
    ],
)
async def test_what_cannot_be_meant_is_refused(memory_theatre: Theatre, method: str, path: str, code: str) -> None:
    async with memory_theatre.desk() as desk:
        status, answer = await desk.ask(method, API + path)
        assert (status, answer["error"]["code"]) == (400, code)
