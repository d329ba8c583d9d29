"""Held files at the master: who sees them, what ends a hold, and when the master releases them by itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker.relay import message_of
from events import trace
from events.envelope import Envelope, mirror_source
from events.names import ChannelName, Digest, FilePath, MirrorName, held_path
from events.schemas import Event, FilePublished, FileWithdrawn, Filter, InventoryAnnounced, ReplicaReady
from master import holds
from master.catalogue import Wish
from master.checksums import Checksum
from master.hashing import Fingerprint, Source
from master.heard import LogPosition
from master.holding import Holding
from master.holds import AtLeast, Condition, HoldState, ShareOf
from master.releasing import Releasing
from master.store.catalogue import Channel, Copy
from master.store.store import Store, open_store

if TYPE_CHECKING:
    from conftest import Desk, Theatre

API = "/-/api/v1"
ANA, BOB = MirrorName("ana"), MirrorName("bob")
ISO, DOC = ChannelName("iso"), ChannelName("doc")
SOURCE = Source(location=Path("/a"), fingerprint=Fingerprint(size_bytes=1, mtime_ns=1, inode=1), hashed_at_ns=1)
DEADLINE_S = 30.0
ONE, TWO = Digest(b"1" * 32), Digest(b"2" * 32)


@pytest.fixture
async def store(database_url: str) -> AsyncGenerator[Store]:
    """A store in which ``ana`` follows both channels and ``bob`` the one of images."""
    async with open_store(database_url) as store:
        async with store.changing() as transaction:
            for channel in (ISO, DOC):
                rules = Filter(paths_any=(f"**/*.{channel}",))
                await transaction.catalogue.put_channel(Channel(name=channel, filter=rules, description=""))
                await transaction.fleet.subscribe(ANA, channel)
            await transaction.fleet.subscribe(BOB, ISO)
        yield store


async def hold(store: Store, holding: Holding, condition: Condition | None, **contents: Digest) -> int:
    """Hold files of one byte: ``a_iso`` is ``a.iso``."""
    number = await holding.begin(condition)
    for name, sha256 in contents.items():
        wish = Wish(path=FilePath(name.replace("_", ".")), size_bytes=1, sha256=sha256, media_type="text/plain")
        async with store.changing() as transaction:
            state = await transaction.catalogue.state(wish.path)
            turn = holds.hold(state, wish, await transaction.catalogue.filters(), now_ns=1)
            assert turn.after.held.file is not None
            await transaction.catalogue.put_files([Copy(turn.after.held.file, SOURCE)])
            await transaction.holds.add(held_path(wish.path), number)
            await transaction.journal.record(turn.facts)
    await holding.seal(number)
    return number


_numbers = count(1)


async def fold(store: Store, releasing: Releasing, mirror: MirrorName, *sha256s: Digest) -> int:
    """Let the log say that a mirror holds contents; give how many holds that releases."""
    async with store.changing() as transaction:
        said = [
            ReplicaReady(mirror=mirror, sha256=each, size_bytes=1, path=held_path(FilePath("x")), generation=1)
            for each in sha256s
        ]
        envelopes = [
            Envelope(
                source=mirror_source(mirror), epoch=1, sequence=next(_numbers), time_ns=1, traceparent="", event=event
            )
            for event in said
        ]
        releasing.hear(await transaction.heard.fold(envelopes, LogPosition(1, 1)))
    return await releasing.release_due()


@pytest.mark.parametrize(
    ("condition", "after_ana"),
    [
        pytest.param(AtLeast(1), 1, id="one mirror"),
        pytest.param(AtLeast(2), 0, id="two mirrors"),
        pytest.param(ShareOf(50), 1, id="half of the two that follow"),
        pytest.param(ShareOf(100), 0, id="all that follow"),
    ],
)
async def test_a_hold_is_released_as_soon_as_enough_mirrors_have_it(
    store: Store, condition: Condition, after_ana: int
) -> None:
    holding, releasing = Holding(store, wake=lambda: None), Releasing(store)
    number = await hold(store, holding, condition, a_iso=ONE)
    assert await fold(store, releasing, ANA, TWO) == 0, "another content"
    assert await fold(store, releasing, ANA, ONE) == after_ana
    assert await fold(store, releasing, BOB, ONE) == 1 - after_ana
    assert (await holding.get(number))[0].state is HoldState.RELEASED
    assert await holding.all() == []
    async with store.reading() as transaction:
        standing = await transaction.catalogue.standing(FilePath("a.iso"))
        assert standing.file is not None
        assert (standing.channels, await transaction.catalogue.source(FilePath("a.iso"))) == ({"origin", ISO}, SOURCE)
        assert (await transaction.catalogue.standing(held_path(FilePath("a.iso")))).file is None


async def test_of_a_tree_those_mirrors_count_that_hold_all_that_mirrors_may_have(store: Store) -> None:
    holding, releasing = Holding(store, wake=lambda: None), Releasing(store)
    number = await hold(store, holding, AtLeast(1), a_iso=ONE, b_doc=TWO, c_txt=Digest(b"3" * 32))
    assert await fold(store, releasing, BOB, ONE, TWO) == 0, "it follows one of two channels"
    assert await fold(store, releasing, ANA, ONE) == 0, "half of it"
    _, tally = await holding.get(number)
    assert (tally.followers, tally.complete) == ((ANA,), ())
    assert await fold(store, releasing, ANA, TWO) == 1, "no channel takes the third file, so no mirror can have it"
    async with store.reading() as transaction:
        standings = await transaction.catalogue.standings()
    assert {standing.file.path for standing in standings if standing.file} == {"a.iso", "b.doc", "c.txt"}


async def test_a_mirror_that_follows_later_or_no_more_changes_what_is_waited_for(store: Store) -> None:
    holding, releasing = Holding(store, wake=lambda: None), Releasing(store)
    await hold(store, holding, ShareOf(100), a_iso=ONE)
    assert await fold(store, releasing, ANA, ONE) == 0
    async with store.changing() as transaction:
        await transaction.fleet.unsubscribe(BOB, ISO)
    assert await releasing.release_due() == 1


async def test_a_hold_that_is_not_whole_yet_is_not_released_by_itself(store: Store) -> None:
    holding, releasing = Holding(store, wake=lambda: None), Releasing(store)
    number = await hold(store, holding, AtLeast(1), a_iso=ONE)
    async with store.changing() as transaction:
        again = await transaction.journal.advance("holds", 1)
        await transaction.holds.begin(again, AtLeast(1))
        await transaction.holds.add(held_path(FilePath("a.iso")), again)
    assert await fold(store, releasing, ANA, ONE) == 0
    assert (await holding.get(number))[0].state is HoldState.ENDED, "its only file was held anew"
    assert (await holding.get(again))[0].state is HoldState.OPEN
    await holding.seal(again)
    assert await releasing.release_due() == 1


async def test_a_folder_is_named_as_it_is_written(store: Store) -> None:
    holding = Holding(store, wake=lambda: None)
    await hold(store, holding, None, **{"v1/a_iso": ONE, "V1/a_iso": TWO, "v1x/a_iso": ONE, "v_/a_iso": ONE})
    turns = await holding.release([FilePath("v1")], trace=trace.root(b"t" * 24))
    assert [turn.after.standing.file.path for turn in turns if turn.after.standing.file] == ["v1/a.iso"]


async def say(desk: Desk, mirror: str, *events: Event) -> None:
    """Let a mirror say events, each under a number of its own."""
    for event in events:
        envelope = Envelope(
            source=mirror_source(MirrorName(mirror)),
            epoch=1,
            sequence=next(_numbers),
            time_ns=1,
            traceparent="",
            event=event,
        )
        await desk.broker.publish(message_of(envelope))


async def catalogue_of(desk: Desk) -> dict[str, Any]:
    return {file["path"]: file for file in (await desk.done("GET", f"{API}/files"))["files"]}


def places(desk: Desk) -> list[tuple[str, str]]:
    """Which path entered or left which channel, in the order of the log."""
    kinds: dict[type[Event], str] = {FilePublished: "+", FileWithdrawn: "-"}
    facts = desk.events(FilePublished, FileWithdrawn)
    return [(kinds[type(event)] + event.channel, event.path) for event in facts]


async def test_held_files_are_said_to_mirrors_and_in_no_list_until_they_are_released(
    memory_theatre: Theatre, tmp_path: Path
) -> None:
    (tmp_path / "a.iso").write_bytes(b"new")
    async with memory_theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", {"filter": {"paths_any": ["*.iso"]}})
        token = (await desk.join("ana", "iso"))["token"]
        held, done = await desk.publish(tmp_path / "a.iso", hold=True, access="ticket")
        assert (held["type"], held["path"], held["generation"], held["channels"]) == ("held", "a.iso", 1, ["iso"])
        assert (done["held"], done["hold"]) == (1, 1)
        assert await catalogue_of(desk) == {}
        assert (await desk.done("GET", f"{API}/channels/iso"))["files"] == 0
        assert (await desk.done("GET", f"{API}/status"))["files"] == 0
        tried = await desk.done("POST", f"{API}/channels/iso/test", {})
        assert tried["files"] == []
        snapshot = await desk.done("GET", f"{API}/channels/iso/snapshot", token=token)
        assert [file["path"] for file in snapshot["files"]] == ["-/held/a.iso"]
        sha256 = snapshot["files"][0]["sha256"]
        async with desk.session.get(
            f"{desk.url}/-/origin/{sha256}", headers={"Authorization": f"Bearer {token}"}
        ) as response:
            assert await response.read() == b"new", "a mirror fetches it like any other"
        (listed,) = (await desk.done("GET", f"{API}/holds"))["holds"]
        assert (listed["state"], listed["wait"], listed["followers"]) == ("held", None, ["ana"])
        assert [(file["path"], file["copies"]) for file in listed["files"]] == [("a.iso", 0)]
        (released,) = (await desk.done("POST", f"{API}/releases", {"paths": ["a.iso"]}))["released"]
        assert (released["path"], released["access"], released["channels"]) == ("a.iso", "ticket", ["iso"])
        await desk.until(lambda: len(places(desk)) == 6)
        assert places(desk) == [
            ("+origin", "-/held/a.iso"), ("+iso", "-/held/a.iso"), ("+origin", "a.iso"), ("+iso", "a.iso"),
            ("-iso", "-/held/a.iso"), ("-origin", "-/held/a.iso"),
        ]  # fmt: skip
        assert list(await catalogue_of(desk)) == ["a.iso"]


async def test_what_waits_is_released_by_what_a_mirror_says_also_after_a_restart(
    memory_theatre: Theatre, tmp_path: Path
) -> None:
    (tmp_path / "a.iso").write_bytes(b"new")
    async with memory_theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", {})
        await desk.join("ana", "iso")
        held, done = await desk.publish(tmp_path / "a.iso", wait="all")
        asked = await desk.done("GET", f"{API}/holds/{done['hold']}")
        assert (asked["state"], asked["wait"], asked["needed"], asked["complete"]) == ("held", "all", 1, [])
    async with memory_theatre.desk() as desk:
        page = InventoryAnnounced(
            mirror=ANA, as_of=1000, page=1, pages=1, sha256s=(Digest(bytes.fromhex(held["sha256"])),)
        )
        await say(desk, "ana", page)
        await desk.until(lambda: ("+iso", "a.iso") in places(desk))
        assert (await desk.done("GET", f"{API}/holds/{done['hold']}"))["state"] == "released"


async def test_a_mirror_that_is_removed_is_waited_for_no_longer(memory_theatre: Theatre, tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(b"new")
    async with memory_theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", {})
        for name in ("ana", "bob"):
            await desk.join(name, "iso")
        held, _ = await desk.publish(tmp_path / "a.iso", wait="all")
        sha256 = Digest(bytes.fromhex(held["sha256"]))
        await say(
            desk, "ana",
            ReplicaReady(mirror=ANA, sha256=sha256, size_bytes=3, path=held_path(FilePath("a.iso")), generation=1),
        )  # fmt: skip
        async with asyncio.timeout(DEADLINE_S):
            while (await desk.done("GET", f"{API}/holds/1"))["complete"] != ["ana"]:
                pass
        await desk.done("DELETE", f"{API}/mirrors/bob")
        await desk.until(lambda: ("+iso", "a.iso") in places(desk))


async def test_what_is_published_at_once_is_waited_for_no_longer(memory_theatre: Theatre, tmp_path: Path) -> None:
    tree = tmp_path / "v1"
    tree.mkdir()
    for name in ("a.iso", "b.iso"):
        (tree / name).write_bytes(name.encode())
    async with memory_theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", {})
        await desk.join("ana", "iso")
        _, held, _ = await desk.publish(tree, wait="1")
        sha256 = Digest(bytes.fromhex(held["sha256"]))
        await say(
            desk, "ana",
            ReplicaReady(mirror=ANA, sha256=sha256, size_bytes=5, path=held_path(FilePath("v1/b.iso")), generation=1),
        )  # fmt: skip
        async with asyncio.timeout(DEADLINE_S):
            while [file["copies"] for file in (await desk.done("GET", f"{API}/holds"))["holds"][0]["files"]] != [0, 1]:
                pass
        (tree / "a.iso").write_bytes(b"in a hurry")
        await desk.publish(tree / "a.iso", **{"as": "v1/a.iso"})
        await desk.until(lambda: ("+iso", "v1/b.iso") in places(desk))


async def test_publishing_at_once_and_withdrawing_end_what_is_held(memory_theatre: Theatre, tmp_path: Path) -> None:
    source = tmp_path / "a.iso"
    source.write_bytes(b"new")
    async with memory_theatre.desk() as desk:
        _, first = await desk.publish(source, hold=True)
        status, answer = await desk.ask("DELETE", f"{API}/files?path=a.iso")
        assert (status, answer["error"]["hint"]) == (404, "withdraw what is held: --held")
        gone = await desk.done("DELETE", f"{API}/files?path=a.iso&held=true&reason=mistake")
        assert (gone["withdrawn"]["path"], gone["held"]) == ("a.iso", True)
        assert (await desk.done("GET", f"{API}/holds/{first['hold']}"))["state"] == "ended"
        _, second = await desk.publish(source, hold=True)
        source.write_bytes(b"newer")
        assert (await desk.publish(source))[0]["type"] == "published"
        assert (await desk.done("GET", f"{API}/holds/{second['hold']}"))["state"] == "ended"
        assert (await desk.publish(source, hold=True))[0]["type"] == "unchanged"
        assert (await desk.publish(source, hold=True))[-1]["hold"] is None
        status, answer = await desk.ask("POST", f"{API}/releases", {"paths": ["a.iso"]})
        assert (status, answer["error"]["code"]) == (404, "held_unknown")
        assert (await desk.done("POST", f"{API}/releases", {"all": True}))["released"] == []


async def test_a_dry_run_holds_nothing(memory_theatre: Theatre, tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(b"new")
    async with memory_theatre.desk() as desk:
        held, done = await desk.publish(tmp_path / "a.iso", wait="2", dry_run=True)
        assert (held["type"], done["held"], done["hold"]) == ("held", 1, None)
        assert (await desk.done("GET", f"{API}/holds"))["holds"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/files", {"source": "/a", "wait": "most"}, "wait_invalid"),
        ("POST", "/releases", {}, "release_invalid"),
        ("POST", "/releases", {"paths": ["a"], "all": True}, "release_invalid"),
        ("POST", "/releases", {"paths": ["-/held/a"]}, "path_invalid"),
        ("DELETE", "/files?path=a&held=perhaps", None, "held_invalid"),
        ("GET", "/holds/x", None, "hold_unknown"),
        ("GET", "/holds/9", None, "hold_unknown"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    memory_theatre: Theatre, method: str, path: str, body: object, code: str
) -> None:
    async with memory_theatre.desk() as desk:
        status, answer = await desk.ask(method, API + path, body)
        assert (status in {400, 404}, answer["error"]["code"]) == (True, code)


async def test_further_digests_are_made_where_the_site_wants_them_also_of_what_was_published_before(
    memory_theatre: Theatre, tmp_path: Path
) -> None:
    source = tmp_path / "a.iso"
    source.write_bytes(b"content")
    async with memory_theatre.desk() as desk:
        await desk.publish(source)
        assert (await catalogue_of(desk))["a.iso"]["md5"] == ""
    both = replace(memory_theatre, config=replace(memory_theatre.config, checksums=frozenset(Checksum)))
    async with both.desk() as desk:
        assert [line["type"] for line in await desk.publish(source)] == ["published", "done"]
        assert [line["type"] for line in await desk.publish(source)] == ["unchanged", "done"]
        await desk.until(lambda: any(event.md5 for event in desk.events(FilePublished)))
        said = desk.events(FilePublished)[-1]
        assert (said.generation, said.md5) == (1, hashlib.md5(b"content", usedforsecurity=False).digest())
        assert said.sha1 == hashlib.sha1(b"content", usedforsecurity=False).digest()
        assert (await catalogue_of(desk))["a.iso"]["sha1"] == said.sha1.hex()
