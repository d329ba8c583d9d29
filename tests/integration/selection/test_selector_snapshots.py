"""A selector begins where its snapshot ends, with the same view as one that read all; without one it says why."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker.config import BrokerConfig
from broker.provision import provision_site
from broker.rabbitmq import RabbitBroker
from broker.topology import log_stream
from events.envelope import mirror_source, selector_source
from events.names import FilePath, MirrorName, SelectorName
from events.schemas import Download, DownloadOutcome, DownloadsGranted, DownloadsReported, FilePublished, Granted
from selection.following import follower, snapshots

if TYPE_CHECKING:
    from conftest import Selector, Site

SILENT_AFTER_S = 5.0  # from the last report to the end of the selector that heard it, on a slow machine
FILES = tuple(f"{number}.iso" for number in range(6))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait five seconds for a broker that is away."""
    monkeypatch.setattr(follower, "GO_ON_AFTER_S", 0.3)


def download(file: FilePublished, country: str) -> Granted:
    now_s = int(time.time())
    return Granted(
        grant_id=bytes(16),
        path=file.path,
        generation=1,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        address="203.0.113.9",
        country=country,
        granted_at_ns=time.time_ns(),
        start_by_s=now_s - 60,  # over, so that it keeps no place
        finish_by_s=now_s,
    )


async def downloaded(site: Site, file: FilePublished, *countries: str, mirror: str = "ana") -> None:
    """Another selector sent visitors, and a mirror served them."""
    other = SelectorName("other")
    grants = tuple(download(file, country) for country in countries)
    await site.said.say(
        selector_source(other), DownloadsGranted(selector=other, mirror=MirrorName(mirror), grants=grants)
    )
    ended = Download(
        grant_id=bytes(16),
        sha256=file.sha256,
        outcome=DownloadOutcome.FINISHED,
        at_ns=time.time_ns(),
        wanted_bytes=file.size_bytes,
        sent_bytes=file.size_bytes,
    )
    await site.said.say(
        mirror_source(MirrorName(mirror)),
        DownloadsReported(mirror=MirrorName(mirror), downloads=(ended,) * len(grants)),
    )


async def first_life(site: Site) -> None:
    """What is said before the snapshot."""
    published = [await site.said.published(path) for path in FILES[:4]]
    await site.said.serving("ana", *FILES[:4])
    await site.said.serving("bob", *FILES[:2])
    await site.said.withdrawn(FILES[0])
    await downloaded(site, published[1], "PT", "AT", "")
    await downloaded(site, published[2], "PT", mirror="bob")


async def second_life(site: Site) -> None:
    """What is said after it."""
    published = [await site.said.published(path) for path in FILES[4:]]
    await site.said.withdrawn(FILES[1])
    await site.said.serving("cat", *FILES[2:])
    await site.said.holding("bob", *FILES[3:5])
    await downloaded(site, published[0], "PT", mirror="cat")


async def seen_by(selector: Selector, site: Site, *mirrors: str) -> dict[str, Any]:
    """All that a selector shows of its view and its statistics, once it has heard every mirror."""
    told: list[dict[str, Any]] = []

    async def all_heard() -> bool:
        for name in mirrors:  # each time: what was said first may be heard so late that it counts as silence
            await site.said.load(name)
        if not (await status(selector))["log"]["caught_up"]:
            return False
        told[:] = (await selector.ask("/-/api/v1/mirrors"))["mirrors"]
        return {each["mirror"] for each in told if each["state"] in {"ready", "full"}} == set(mirrors)

    await selector.until(all_heard)
    for each in told:
        del each["last_report_s"]
    counted = {by: await selector.ask("/-/api/v1/statistics", by=by) for by in ("file", "mirror", "country")}
    histories = [await selector.ask("/-/api/v1/statistics", by="mirror", key=name) for name in mirrors]
    return {"mirrors": told, **await selector.ask("/-/api/v1/files"), **counted, "histories": histories}


async def status(selector: Selector) -> dict[str, Any]:
    return await selector.ask("/-/api/v1/status")


async def counted(selector: Selector, downloads: int) -> bool:
    return (await selector.ask("/-/api/v1/statistics", by="site"))["total"] == downloads


async def of_one_that_reads_all(site: Site, *mirrors: str) -> dict[str, Any]:
    async with site.selector(name=SelectorName("reads-all")) as selector:
        assert (await status(selector))["snapshot"]["began_at_offset"] is None
        return await seen_by(selector, site, *mirrors)


async def test_snapshot_and_the_rest_of_the_log_give_the_view_that_all_of_the_log_gives(
    site: Site, tmp_path: Path
) -> None:
    await first_life(site)
    async with site.selector(state_dir=tmp_path) as selector:
        before = await seen_by(selector, site, "ana", "bob")
    async with site.selector(state_dir=tmp_path) as selector:
        assert await seen_by(selector, site, "ana", "bob") == before
        began = (await status(selector))["snapshot"]["began_at_offset"]
        assert began is not None
    await second_life(site)
    async with site.selector(state_dir=tmp_path) as selector:
        after = await seen_by(selector, site, "ana", "bob", "cat")
        told = await status(selector)
        assert told["snapshot"]["began_at_offset"] > began
        assert told["log"]["replayed"] == ""
        assert told["missing_events"] == {}
    assert after == await of_one_that_reads_all(site, "ana", "bob", "cat")
    assert {each["key"]: each["downloads"] for each in after["country"]["figures"]} == {"PT": 3, "AT": 1, "": 1}


def nothing(*_: object) -> None:
    """Do nothing, as a killed process."""


def sizes_in(folder: Path) -> set[int]:
    return {file.stat().st_size for file in folder.glob("*.snapshot")}


async def test_snapshot_is_written_from_time_to_time_and_survives_a_selector_that_never_stops_well(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "WRITE_EVERY_S", 0.05)
    await first_life(site)
    async with site.selector(state_dir=tmp_path) as selector:

        async def written() -> bool:
            return (await status(selector))["snapshot"]["offset"] is not None

        await selector.until(written)
        monkeypatch.setattr(snapshots.Snapshots, "write_last", nothing)
        assert (await selector.ask("/-/readyz"))["degraded"] is False
    await second_life(site)
    async with site.selector(state_dir=tmp_path) as selector:
        restored = (await status(selector))["snapshot"]
        assert restored["began_at_offset"] is not None
        assert restored["size_bytes"] in await asyncio.to_thread(sizes_in, tmp_path)
        after = await seen_by(selector, site, "ana", "bob", "cat")
    assert after == await of_one_that_reads_all(site, "ana", "bob", "cat")


async def test_selector_that_cannot_write_its_snapshot_says_so_and_goes_on(
    memory_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "WRITE_EVERY_S", 0.05)

    def fails(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots.SnapshotFile, "write", fails)
    await first_life(memory_site)
    async with memory_site.selector(state_dir=tmp_path) as selector:

        async def told() -> bool:
            health = await selector.ask("/-/readyz")
            return health["ready"] and health["degraded"] and "No space left" in str(health["checks"])

        await selector.until(told)
        assert (await selector.visit(f"/{FILES[2]}")).status == 302


@pytest.mark.usefixtures("impatient")
async def test_selector_without_the_broker_begins_with_its_last_view_says_so_and_catches_up(
    memory_site: Site, tmp_path: Path
) -> None:
    memory, path = memory_site.memory, FILES[2]
    assert memory is not None
    await first_life(memory_site)
    async with memory_site.selector(state_dir=tmp_path) as selector:
        for name in ("ana", "bob"):
            await memory_site.said.load(name)
        await selector.until_chosen(path, "ana")
    await second_life(memory_site)
    with memory.outage():
        async with memory_site.selector(state_dir=tmp_path, silent_after_s=SILENT_AFTER_S) as selector:
            health = await selector.ask("/-/readyz")
            assert (health["ready"], health["degraded"]) == (True, True)
            assert "going on from the last view" in str(health["checks"])
            assert await selector.sent_to(f"/{path}", "203.0.113.9") == "ana"
            assert (await selector.visit(f"/{FILES[4]}")).status == 404
            assert not (await status(selector))["log"]["caught_up"]
            assert memory.up is False
            memory.up = True
            memory.changed.notify()

            async def caught_up() -> bool:
                return (await status(selector))["log"]["caught_up"]

            await selector.until(caught_up)
            await selector.until(lambda: counted(selector, 6))
            after = await seen_by(selector, memory_site, "ana", "bob", "cat")
            assert (await selector.ask("/-/readyz"))["degraded"] is False
    assert after == await of_one_that_reads_all(memory_site, "ana", "bob", "cat")


@pytest.mark.rabbitmq
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("site", ["rabbitmq"], indirect=True)
async def test_selector_that_reaches_no_rabbitmq_begins_with_its_last_view(site: Site, tmp_path: Path) -> None:
    await first_life(site)
    async with site.selector(state_dir=tmp_path) as selector:
        await site.said.load("ana")
        await selector.until_chosen(FILES[2], "ana")
    nowhere = RabbitBroker(BrokerConfig(url="amqp://guest:guest@127.0.0.1:1/nothing"))
    site.connect = lambda: (nowhere, nowhere)
    async with site.selector(state_dir=tmp_path, silent_after_s=SILENT_AFTER_S) as selector:
        health = await selector.ask("/-/readyz")
        assert (health["ready"], health["degraded"]) == (True, True)
        assert re.search(
            r"not connected, going on from the last view, \d+ s old: .*Connect call failed", str(health["checks"])
        )
        assert await selector.sent_to(f"/{FILES[2]}", "203.0.113.9") == "ana"


@pytest.mark.usefixtures("impatient")
async def test_selector_without_broker_and_snapshot_has_no_view_and_sends_nobody_to_a_404(
    memory_site: Site, tmp_path: Path
) -> None:
    memory = memory_site.memory
    assert memory is not None
    with memory.outage():
        async with memory_site.unready_selector(state_dir=tmp_path) as selector:
            health = await selector.ask("/-/readyz")
            assert not health["ready"]
            assert "without a view" in str(health["checks"])
            assert (await selector.visit("/a.iso")).status == 503


async def test_log_of_a_new_generation_is_read_whole_over_the_snapshot(site: Site, tmp_path: Path) -> None:
    await first_life(site)
    async with site.selector(state_dir=tmp_path) as selector:
        before = await seen_by(selector, site, "ana", "bob")
    await provision_site(site.admin, 2)
    since = site.said.next_number
    await site.said.log_opened(2)
    await site.lose_log(1)
    for path in FILES[1:5]:
        await site.said.published(path)
    await site.said.serving("ana", *FILES[1:4])
    await site.said.serving("bob", *FILES[:2])
    await site.said.restated(2, since=since)
    async with site.selector(state_dir=tmp_path) as selector:
        assert "the snapshot is of generation 1" in (await status(selector))["log"]["replayed"]
        after = await seen_by(selector, site, "ana", "bob")
        assert {each["path"] for each in after["files"]} == set(FILES[1:5])
        assert after["country"] == before["country"]  # what the lost log told was counted


async def test_log_whose_beginning_was_cut_past_the_snapshot_is_read_whole(memory_site: Site, tmp_path: Path) -> None:
    memory, said = memory_site.memory, memory_site.said
    assert memory is not None
    await first_life(memory_site)
    async with memory_site.selector(state_dir=tmp_path) as selector:
        before = await seen_by(selector, memory_site, "ana", "bob")
    await said.withdrawn(FILES[2])
    stream = memory.stream(log_stream(1))
    stream.cut(stream.length)
    since = said.next_number
    for path in (FILES[1], FILES[3]):
        await said.published(path)
    for name in ("ana", "bob"):
        await said.serving(name, *FILES[:4])
    await said.restated(1, since=since)
    async with memory_site.selector(state_dir=tmp_path) as selector:
        told = (await status(selector))["log"]["replayed"]
        assert "offset" in told
        after = await seen_by(selector, memory_site, "ana", "bob")
    assert {each["path"] for each in after["files"]} == {FILES[1], FILES[3]}
    everything = await of_one_that_reads_all(memory_site, "ana", "bob")
    assert (after["files"], after["mirrors"]) == (everything["files"], everything["mirrors"])
    assert after["country"] == before["country"]  # the cut log tells less than was counted


def newest(folder: Path) -> Path:
    (found,) = folder.glob("*.snapshot")
    return found


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def begun(data: bytes) -> bytes:
    return data[:10]


def newer(data: bytes) -> bytes:
    return data.replace(b"snapshot 1", b"snapshot 9")


@pytest.mark.parametrize(
    ("harm", "because"),
    [(half, "damaged"), (begun, "damaged"), (newer, "another version")],
    ids=["half written", "hardly begun", "newer"],
)
async def test_unusable_snapshot_is_told_and_all_of_the_log_is_read(
    memory_site: Site, tmp_path: Path, harm: Callable[[bytes], bytes], because: str
) -> None:
    await first_life(memory_site)
    async with memory_site.selector(state_dir=tmp_path):
        pass
    newest(tmp_path).write_bytes(harm(newest(tmp_path).read_bytes()))
    await second_life(memory_site)
    async with memory_site.selector(state_dir=tmp_path) as selector:
        told = await status(selector)
        assert because in told["snapshot"]["problem"]
        assert told["snapshot"]["began_at_offset"] is None
        assert because in str((await selector.ask("/-/readyz"))["checks"])
        after = await seen_by(selector, memory_site, "ana", "bob", "cat")
    assert after == await of_one_that_reads_all(memory_site, "ana", "bob", "cat")
    async with memory_site.selector(state_dir=tmp_path) as selector:
        assert (await status(selector))["snapshot"]["problem"] == ""


async def test_snapshot_before_is_used_where_the_newest_is_damaged(memory_site: Site, tmp_path: Path) -> None:
    await first_life(memory_site)
    async with memory_site.selector(state_dir=tmp_path):
        pass
    await second_life(memory_site)
    async with memory_site.selector(state_dir=tmp_path):
        pass
    data = newest(tmp_path).read_bytes()
    newest(tmp_path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # in the statistics, which stand last
    async with memory_site.selector(state_dir=tmp_path) as selector:
        told = (await status(selector))["snapshot"]
        assert told["began_at_offset"] is not None
        assert "statistics" in told["problem"]
        after = await seen_by(selector, memory_site, "ana", "bob", "cat")
    assert after == await of_one_that_reads_all(memory_site, "ana", "bob", "cat")


async def test_snapshot_of_another_site_is_not_believed(memory_site: Site, tmp_path: Path) -> None:
    await first_life(memory_site)
    async with memory_site.selector(state_dir=tmp_path, secret=b"another site's secret, 32 bytes."):
        pass
    async with memory_site.selector(state_dir=tmp_path) as selector:
        assert "another site" in (await status(selector))["snapshot"]["problem"]
        assert (await selector.visit(f"/{FILES[2]}")).status == 302


async def test_grants_of_one_selector_count_at_the_others_before_any_load_report(site: Site) -> None:
    path = FilePath("a.iso")
    await site.said.published(path)
    await site.said.serving("ana", path, slots=2)
    async with site.selector(name=SelectorName("one")) as one, site.selector(name=SelectorName("two")) as two:
        for selector in (one, two):
            await selector.until_chosen(path, "ana")
        for number in range(2):
            assert await one.sent_to(f"/{path}", f"203.0.113.{number}") == "ana"
        await two.until_chosen(path, None)
        assert await two.reasons(path) == {"ana": "full"}
        await site.said.load("ana", slots=2, active=1, seen={"one": 2**62})
        for selector in (one, two):
            await selector.until_chosen(path, "ana")


async def test_two_selectors_agree_again_after_the_broker_was_away(memory_site: Site, tmp_path: Path) -> None:
    memory = memory_site.memory
    assert memory is not None
    await first_life(memory_site)
    names = SelectorName("one"), SelectorName("two")
    async with (
        memory_site.selector(name=names[0], state_dir=tmp_path) as one,
        memory_site.selector(name=names[1], state_dir=tmp_path) as two,
    ):
        for selector in (one, two):
            for name in ("ana", "bob"):
                await memory_site.said.load(name)
            await selector.until_chosen(FILES[2], "ana")
        with memory.outage():
            for number in range(5):
                for selector, network in ((one, "203.0.113"), (two, "198.51.100")):
                    assert await selector.sent_to(f"/{FILES[2]}", f"{network}.{number}") == "ana"
            assert (await status(one))["notices"]["waiting"] >= 5  # records of decisions wait, too
        await second_life(memory_site)
        seen: list[dict[str, Any]] = []
        for selector in (one, two):
            await selector.until(partial(counted, selector, 15))
            seen.append(await seen_by(selector, memory_site, "ana", "bob", "cat"))
        assert seen[0] == seen[1]
        (ana,) = (each for each in seen[0]["mirrors"] if each["mirror"] == "ana")
        assert ana["free_slots"] == 0
