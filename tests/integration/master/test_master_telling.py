"""What the master says of channels, mirrors and files beyond their names: address policies, key epochs, pieces."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from events.grants import KEY_EPOCH_MAX, derive_key
from events.names import ORIGIN_CHANNEL, ChannelName, MirrorName
from events.pieces import PIECE_BYTES_MIN
from events.schemas import (
    AddressPolicy,
    CatalogueRestated,
    ChannelDefined,
    FilePublished,
    Filter,
    KeysRotated,
    MirrorJoined,
)
from master.mirrors import FIRST_KEY, KeyEpochs
from master.store.store import open_store
from master.store.tables import FileRow

if TYPE_CHECKING:
    from conftest import Desk, Link, Theatre

API = "/-/api/v1"
SECRET = b"s" * 32
ANA = MirrorName("ana")


async def rotate(desk: Desk, **body: object) -> tuple[int, int]:
    answer = await desk.done("POST", f"{API}/mirrors/ana/keys", body)
    return answer["key_epoch"], answer["oldest_epoch"]


async def keys(desk: Desk, credentials: dict[str, Any]) -> dict[str, str]:
    return (await desk.done("GET", f"{API}/mirrors/self/keys", token=credentials["token"]))["grant_keys"]


def derived(*epochs: int) -> dict[str, str]:
    return {str(epoch): derive_key(SECRET, ANA, epoch).hex() for epoch in epochs}


async def test_a_rotated_key_holds_beside_the_one_before_until_it_is_cut(theatre: Theatre) -> None:
    async with theatre.desk() as desk:
        credentials = await desk.join("ana")
        assert await keys(desk, credentials) == credentials["grant_keys"] == derived(1)
        assert await rotate(desk) == (2, 1)
        assert await keys(desk, credentials) == derived(1, 2)
        assert await rotate(desk) == (3, 2)
        assert await rotate(desk, cut=True) == (4, 4)
        assert await keys(desk, credentials) == derived(4)
        (shown,) = (await desk.done("GET", f"{API}/mirrors"))["mirrors"]
        assert (shown["key_epoch"], shown["oldest_epoch"]) == (4, 4)
        await desk.until(lambda: len(desk.events(KeysRotated)) == 3)
        assert desk.events(KeysRotated) == [
            KeysRotated(mirror=ANA, key_epoch=newest, oldest_epoch=oldest)
            for newest, oldest in ((2, 1), (3, 2), (4, 4))
        ]


async def test_a_mirror_that_joins_again_goes_on_with_its_epochs(memory_theatre: Theatre) -> None:
    async with memory_theatre.desk() as desk:
        await desk.join("ana")
        await rotate(desk)
        await desk.done("DELETE", f"{API}/mirrors/ana?reason=bye")
        assert (await desk.ask("POST", f"{API}/mirrors/ana/keys"))[0] == 404
        assert (await desk.join("ana"))["grant_keys"] == derived(1, 2)
        await desk.until(lambda: len(desk.events(KeysRotated)) == 2)
        assert [type(event) for event in desk.events(MirrorJoined, KeysRotated)] == [
            MirrorJoined, KeysRotated, MirrorJoined, KeysRotated,
        ]  # fmt: skip


def test_the_last_epoch_is_the_last() -> None:
    last = KeyEpochs(KEY_EPOCH_MAX - 1, KEY_EPOCH_MAX)
    assert FIRST_KEY.rotated(cut=True) == KeyEpochs(2, 2)
    assert KeyEpochs(1, KEY_EPOCH_MAX - 1).rotated(cut=False) == last
    assert last.rotated(cut=True) is None


async def test_a_mirror_whose_epochs_are_used_up_is_told_what_to_do(memory_theatre: Theatre) -> None:
    async with memory_theatre.desk() as desk:
        await desk.join("ana")
        for _ in range(KEY_EPOCH_MAX - 1):
            await rotate(desk, cut=True)
        status, answer = await desk.ask("POST", f"{API}/mirrors/ana/keys", {})
        assert (status, answer["error"]["code"]) == (409, "key_epochs_used_up")
        assert "another name" in answer["error"]["hint"]


async def test_address_policies_and_epochs_are_said_shown_and_restated(memory_theatre: Theatre) -> None:
    async with memory_theatre.desk() as desk:
        put = await desk.done("PUT", f"{API}/channels/iso", {"address_policy": "prefix"})
        assert put["address_policy"] == (await desk.done("GET", f"{API}/channels/iso"))["address_policy"] == "prefix"
        await desk.done("PUT", f"{API}/channels/pub", {})
        assert (await desk.ask("PUT", f"{API}/channels/x", {"address_policy": "lax"}))[0] == 400
        await desk.join("ana")
        await rotate(desk)
    async with open_store(memory_theatre.config.store_url) as store, store.changing() as transaction:
        await transaction.set_restated_at_ns(0)
    async with memory_theatre.desk() as desk:
        await desk.until(lambda: len(desk.events(CatalogueRestated)) == 2)
        iso = ChannelDefined(channel=ChannelName("iso"), filter=Filter(), address_policy=AddressPolicy.PREFIX)
        pub = ChannelDefined(channel=ChannelName("pub"), filter=Filter())
        assert desk.events(ChannelDefined) == [iso, pub, iso, pub]
        joined, rotated = desk.events(MirrorJoined, KeysRotated)[-2:]
        assert isinstance(joined, MirrorJoined)
        assert rotated == KeysRotated(mirror=ANA, key_epoch=2, oldest_epoch=1)


async def test_the_pieces_of_a_file_are_said_in_all_channels_and_snapshots_once(
    memory_theatre: Theatre, large: Path, link: Link
) -> None:
    digests = hashlib.sha256(bytes(PIECE_BYTES_MIN)).digest() * (link.size_bytes // PIECE_BYTES_MIN)
    async with memory_theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", {})
        token = (await desk.join("ana", "iso"))["token"]
        assert [report["type"] for report in await desk.publish(large)][-2:] == ["published", "done"]
        assert [report["type"] for report in await desk.publish(large)][-2:] == ["unchanged", "done"]
        (shown,) = (await desk.done("GET", f"{API}/channels/iso/snapshot", token=token))["files"]
        assert shown["piece_bytes"] == PIECE_BYTES_MIN
        assert base64.b64decode(shown["piece_digests"]) == digests
        await desk.until(lambda: len(desk.events(FilePublished)) == 2)
        said = desk.events(FilePublished)
        assert {event.channel for event in said} == {ORIGIN_CHANNEL, "iso"}
        assert {(event.piece_bytes, event.piece_digests) for event in said} == {(PIECE_BYTES_MIN, digests)}


async def test_a_file_from_before_there_were_pieces_gets_them_when_it_is_published_again(
    memory_theatre: Theatre, large: Path
) -> None:
    async with memory_theatre.desk() as desk:
        os.utime(large, ns=(1, 1))
        await desk.publish(large)
        async with open_store(memory_theatre.config.store_url) as store, store.changing() as transaction:
            await transaction.session.execute(update(FileRow).values(piece_bytes=0, piece_digests=b""))
        assert [report["type"] for report in await desk.publish(large)][-2:] == ["published", "done"]
        assert [report["type"] for report in await desk.publish(large)] == ["unchanged", "done"]
