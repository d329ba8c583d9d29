"""From an event to a verified copy, whatever the source and the disk do."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from events.names import ChannelName, FilePath, held_path
from events.schemas import (
    ChannelFollowed,
    DeclineReason,
    FilePublished,
    LossReason,
    ReplicaDeclined,
    ReplicaLost,
    ReplicaReady,
)
from mirror.config import FetchLimits
from mirror.content import parts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import Stage

DOCS = ChannelName("docs")


def random_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - any bytes will do, but the same ones


async def honest(request: web.Request, content: bytes) -> web.StreamResponse:
    start, stop = request.http_range.start or 0, request.http_range.stop or len(content)
    response = partial(start, stop, len(content))
    await response.prepare(request)
    await response.write(content[start:stop])
    return response


async def drops_connection(request: web.Request, content: bytes) -> web.StreamResponse:
    """Begin honestly and drop the connection after 1.5 MB."""
    start, stop = request.http_range.start, request.http_range.stop
    response = partial(start, stop, len(content))
    await response.prepare(request)
    await response.write(content[start : start + 1_500_000])
    assert request.transport is not None
    request.transport.close()
    return response


def partial(start: int, stop: int, size_bytes: int) -> web.StreamResponse:
    response = web.StreamResponse(status=206, headers={"Content-Range": f"bytes {start}-{stop - 1}/{size_bytes}"})
    response.content_length = stop - start
    return response


async def sends_other_bytes(request: web.Request, content: bytes) -> web.StreamResponse:
    del request
    return web.Response(body=content[:-1] + bytes([content[-1] ^ 1]))


async def sends_error_page_as_200(request: web.Request, content: bytes) -> web.StreamResponse:
    del request, content
    return web.Response(text="<h1>Service unavailable</h1>")


async def sends_too_much(request: web.Request, content: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(content + b"!")
    await response.write_eof()
    return response


async def compresses(request: web.Request, content: bytes) -> web.StreamResponse:
    del request
    return web.Response(body=content, headers={"Content-Encoding": "gzip"})


async def knows_nothing(request: web.Request, content: bytes) -> web.StreamResponse:
    del request, content
    return web.Response(status=404, text="no such file")


async def fails(request: web.Request, content: bytes) -> web.StreamResponse:
    del request, content
    return web.Response(status=500, text="out of order")


async def redirects(request: web.Request, content: bytes) -> web.StreamResponse:
    del request, content
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})


async def stalls(request: web.Request, content: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = len(content)
    await response.prepare(request)
    await asyncio.Event().wait()
    return response


async def lies_about_range(request: web.Request, content: bytes) -> web.StreamResponse:
    """Promise another place than was asked for."""
    del request
    return web.Response(
        status=206, body=content[5:], headers={"Content-Range": f"bytes 5-{len(content) - 1}/{len(content)}"}
    )


async def ignores_range(request: web.Request, content: bytes) -> web.StreamResponse:
    del request
    return web.Response(body=content)


async def test_published_file_is_fetched_verified_and_said_to_be_ready(stage: Stage) -> None:
    async with stage.running():
        event = await stage.publish("a/b.iso", random_bytes(3_000_000))
        (ready,) = await stage.log.until(ReplicaReady)
        assert (ready.sha256, ready.size_bytes, ready.path) == (event.sha256, 3_000_000, "a/b.iso")
        path = stage.object_path(event.sha256)
        assert hashlib.sha256(path.read_bytes()).digest() == event.sha256
        assert path.stat().st_mode & 0o777 == 0o440


async def test_an_empty_file_is_a_file(stage: Stage) -> None:
    async with stage.running():
        event = await stage.publish_ready("empty", b"")
        assert stage.object_path(event.sha256).read_bytes() == b""


async def test_a_broken_off_fetch_goes_on_where_it_was(stage: Stage) -> None:
    stage.master.answers += [drops_connection, drops_connection]
    async with stage.running():
        event = await stage.publish_ready("a", random_bytes(4_000_000))
        assert stage.master.ranges == ["bytes=0-3999999", "bytes=1500000-3999999", "bytes=3000000-3999999"]
        assert hashlib.sha256(stage.object_path(event.sha256).read_bytes()).digest() == event.sha256
        assert stage.log.of(ReplicaDeclined) == []
        assert [one["outcome"] for one in stage.master.tracker.results] == ["done"]


@pytest.mark.parametrize("second", [ignores_range, lies_about_range], ids=["sends all", "sends another range"])
async def test_a_source_that_does_not_go_on_where_it_should_is_asked_for_the_whole_piece(
    stage: Stage, second: Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]
) -> None:
    stage.master.answers += [drops_connection, second]
    async with stage.running():
        event = await stage.publish_ready("a", random_bytes(3_000_000))
        assert stage.master.ranges == ["bytes=0-2999999", "bytes=1500000-2999999", "bytes=0-2999999"]
        assert hashlib.sha256(stage.object_path(event.sha256).read_bytes()).digest() == event.sha256


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(sends_other_bytes, DeclineReason.DIGEST_MISMATCH, id="other bytes"),
        pytest.param(sends_error_page_as_200, DeclineReason.DIGEST_MISMATCH, id="error page with 200"),
        pytest.param(sends_too_much, DeclineReason.DIGEST_MISMATCH, id="too many bytes"),
        pytest.param(compresses, DeclineReason.DIGEST_MISMATCH, id="compressed"),
        pytest.param(knows_nothing, DeclineReason.SOURCE_REFUSED, id="404"),
        pytest.param(redirects, DeclineReason.SOURCE_REFUSED, id="redirect"),
        pytest.param(fails, DeclineReason.SOURCE_UNAVAILABLE, id="500"),
        pytest.param(stalls, DeclineReason.SOURCE_UNAVAILABLE, id="stall"),
    ],
)
async def test_a_bad_source_is_declined_with_its_reason_and_tried_again(
    stage: Stage, answer: Callable[[web.Request, bytes], Awaitable[web.StreamResponse]], reason: DeclineReason
) -> None:
    stage.master.answers.append(answer)
    async with stage.running():
        event = await stage.publish("a", random_bytes(200_000))
        (declined,) = await stage.log.until(ReplicaDeclined)
        assert (declined.reason, declined.sha256, declined.path) == (reason, event.sha256, "a")
        assert declined.detail
        assert declined.retry_after_s > 0
        (ready,) = await stage.log.until(ReplicaReady)
        assert ready.sha256 == event.sha256
        assert stage.log.said.index(declined) < stage.log.said.index(ready)


async def test_wrong_bytes_are_deleted_and_never_announced(stage: Stage) -> None:
    stage.master.answers += [sends_other_bytes] * 3
    async with stage.running():
        event = await stage.publish("a", random_bytes(200_000))
        declined = await stage.log.until(ReplicaDeclined, 3)
        assert event.sha256.hex() in declined[0].detail
        await stage.log.until(ReplicaReady)
        assert stage.master.ranges == [""] * 4, "nothing of the wrong bytes was kept"
        assert [one.retry_after_s for one in declined] == sorted(one.retry_after_s for one in declined)


async def test_the_same_content_in_two_channels_is_fetched_once_and_dropped_with_the_last(stage: Stage) -> None:
    stage.master.files[DOCS] = {}
    content = random_bytes(100_000)
    first = stage.master.publish("a", content)
    second = stage.master.publish("b", content, channel=DOCS)
    async with stage.running():
        await stage.log.until(ReplicaReady)
        assert stage.master.ranges == [""]
        assert first.sha256 == second.sha256
        await stage.say(stage.master.withdraw("a"))
        await stage.publish_ready("c", b"another")
        assert stage.log.of(ReplicaLost) == []
        stage.master.withdraw("b", channel=DOCS)
        gone = stage.object_path(first.sha256)
        assert gone.exists()
    async with stage.running():
        (lost,) = await stage.log.until(ReplicaLost)
        assert (lost.sha256, lost.reason) == (first.sha256, LossReason.WITHDRAWN)


async def test_a_withdrawn_file_is_said_to_be_lost_and_its_bytes_go(stage: Stage) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", random_bytes(100_000))
        await stage.say(stage.master.withdraw("a"))
        (lost,) = await stage.log.until(ReplicaLost)
        assert (lost.sha256, lost.reason, lost.path) == (event.sha256, LossReason.WITHDRAWN, "a")
        await stage.until(lambda: not stage.object_path(event.sha256).exists())


async def test_a_fetch_of_what_is_withdrawn_ends_at_once_and_gives_its_lease_back(stage: Stage) -> None:
    going = asyncio.Event()

    async def says_nothing(request: web.Request, content: bytes) -> web.StreamResponse:
        del request, content
        going.set()
        await asyncio.Event().wait()
        raise AssertionError

    stage.reconfigure(limits=FetchLimits(stall_after_s=3600))
    stage.master.answers.append(says_nothing)
    async with stage.running():
        event = await stage.publish("a", random_bytes(3_000_000))
        await going.wait()
        await stage.say(stage.master.withdraw("a"))
        part = stage.config.data_folder / "tmp" / f"{event.sha256.hex()}.part"
        await stage.until(lambda: not part.exists())
        await stage.log.until_true(lambda: any(one.channel_sequence == 2 for one in stage.log.of(ChannelFollowed)))
        assert [one["fault"] for one in stage.master.tracker.results] == ["other"]
        assert event.sha256 not in {ready.sha256 for ready in stage.log.of(ReplicaReady)}
        assert not stage.object_path(event.sha256).exists()


async def test_a_withdrawal_that_overtakes_its_publication_wins(stage: Stage) -> None:
    published = stage.master.publish("a", b"content")
    withdrawn = stage.master.withdraw("a")
    async with stage.running():
        await stage.until(lambda: any("snapshot" in path for path in stage.master.asked))
        await stage.say(withdrawn)
        await stage.say(published)
        await stage.publish_ready("b", b"later")
        assert [ready.path for ready in stage.log.of(ReplicaReady)] == ["b"]


async def test_a_gap_leads_to_the_snapshot(stage: Stage) -> None:
    async with stage.running():
        await stage.publish_ready("a", b"A")
        missed = stage.master.publish("b", b"B")
        await stage.publish("c", b"C")
        await stage.log.until(ReplicaReady, 3)
        assert missed.sha256 in {ready.sha256 for ready in stage.log.of(ReplicaReady)}


async def test_a_held_file_is_read_from_the_snapshot_and_its_release_fetches_and_loses_nothing(stage: Stage) -> None:
    held = held_path(FilePath("a"))
    async with stage.running():
        missed = stage.master.publish(held, b"A")
        await stage.publish_ready("c", b"C")
        await stage.log.until(ReplicaReady, 2)
        await stage.say(stage.master.publish("a", b"A"))
        await stage.say(stage.master.withdraw(held))
        await stage.publish_ready("d", b"D")
        assert sorted(ready.path for ready in stage.log.of(ReplicaReady)) == sorted([held, "c", "d"])
        assert stage.log.of(ReplicaLost) == []
        assert sum(missed.sha256.hex() in asked for asked in stage.master.asked) == 1


async def test_more_than_the_operators_disk_limit_is_declined_until_there_is_room(stage: Stage) -> None:
    stage.reconfigure(disk_bytes_max=250_000)
    async with stage.running():
        await stage.publish_ready("a", random_bytes(200_000, 1))
        await stage.publish("b", random_bytes(200_000, 2))
        (declined, *_) = await stage.log.until(ReplicaDeclined)
        assert declined.reason is DeclineReason.DISK_FULL
        assert "237500 allowed" in declined.detail, "the high watermark"
        await stage.say(stage.master.withdraw("a"))
        ready = await stage.log.until(ReplicaReady, 2)
        assert [one.path for one in ready] == ["a", "b"]


async def test_a_full_disk_is_declined_and_the_mirror_recovers_by_itself(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True
    write = os.pwrite

    def writes_until_full(fd: int, data: bytes, position: int) -> int:
        if full and len(data) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data, position)

    monkeypatch.setattr(parts.os, "pwrite", writes_until_full)
    async with stage.running():
        await stage.publish_ready("small", b"small")
        event = await stage.publish("large", random_bytes(2_000_000))
        (declined, *_) = await stage.log.until(ReplicaDeclined)
        assert (declined.reason, declined.sha256) == (DeclineReason.DISK_FULL, event.sha256)
        full = False
        await stage.log.until(ReplicaReady, 2)


async def test_bytes_that_fsync_refused_are_fetched_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    failures = [errno.EIO]

    def fails_once(fd: int) -> None:
        if failures and os.fstat(fd).st_size == 200_000:
            raise OSError(failures.pop(), "Input/output error")
        fsync(fd)

    monkeypatch.setattr(parts.os, "fsync", fails_once)
    async with stage.running():
        await stage.publish_ready("a", random_bytes(200_000))
        assert stage.master.ranges == ["", ""], "fetched from the beginning: nobody knows what the disk has"


@pytest.mark.parametrize("damaged", [False, True], ids=["intact", "one of them damaged since"])
async def test_pieces_that_came_before_a_stop_are_hashed_and_gone_on_with(stage: Stage, damaged: bool) -> None:
    content = random_bytes(3_000_000)
    asked: list[str] = []

    async def holds_up(request: web.Request, content: bytes) -> web.StreamResponse:
        del content
        asked.append(request.headers["Range"])
        await asyncio.Event().wait()
        raise AssertionError

    stage.reconfigure(limits=stage.config.limits.__class__(stall_after_s=30))
    stage.master.answers += [honest, honest, holds_up]
    part = stage.config.data_folder / "tmp" / f"{hashlib.sha256(content).hexdigest()}.part"
    async with stage.running():
        await stage.publish("a", content, piece_bytes=1_000_000)
        await stage.until(lambda: stage.master.tracker.held[-1:] == [2] and bool(asked))
    before = len(stage.master.ranges)
    if damaged:
        flip_byte(part, stage.master.ranges[0])
    async with stage.running():
        await stage.log.until(ReplicaReady)
        again = {asked[0], stage.master.ranges[0]} if damaged else {asked[0]}
        assert set(stage.master.ranges[before:]) == again
        assert len(stage.master.ranges) == before + len(again)
        assert not part.with_suffix(".map").exists()


def flip_byte(path: Path, asked: str) -> None:
    position = int(asked.removeprefix("bytes=").partition("-")[0])
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


async def test_what_was_damaged_while_the_mirror_was_down_is_not_believed(stage: Stage) -> None:
    """A part with a flipped byte is found by its hash; a verified copy that is gone is said to be lost."""
    async with stage.running():
        gone = await stage.publish_ready("gone", random_bytes(100_000, 1))
        short = await stage.publish_ready("short", random_bytes(100_000, 2))
        intact = await stage.publish_ready("intact", random_bytes(100_000, 3))
    stage.object_path(gone.sha256).unlink()
    os.chmod(stage.object_path(short.sha256), 0o640)  # noqa: PTH101 - beside os.truncate
    os.truncate(stage.object_path(short.sha256), 50_000)
    async with stage.running():
        lost = await stage.log.until(ReplicaLost, 2)
        assert {(one.sha256, one.reason) for one in lost} == {
            (gone.sha256, LossReason.MISSING),
            (short.sha256, LossReason.MISSING),
        }
        await stage.log.until(ReplicaReady, 5)
        for event in (gone, short, intact):
            assert hashlib.sha256(stage.object_path(event.sha256).read_bytes()).digest() == event.sha256


async def test_bytes_that_no_row_vouches_for_are_hashed_before_they_are_announced(stage: Stage) -> None:
    good, bad, unwanted = random_bytes(50_000, 1), random_bytes(50_000, 2), random_bytes(50_000, 3)
    events: list[FilePublished] = [stage.master.publish("good", good), stage.master.publish("bad", bad)]
    stray = {
        events[0].sha256: good,
        events[1].sha256: bad[:-1] + b"!",
        hashlib.sha256(unwanted).digest(): unwanted,
    }
    for sha256, content in stray.items():
        stage.object_path(sha256).parent.mkdir(parents=True, exist_ok=True)
        stage.object_path(sha256).write_bytes(content)
    async with stage.running():
        await stage.log.until(ReplicaReady, 2)
        assert stage.object_path(events[1].sha256).read_bytes() == bad
        await stage.until(
            lambda: (
                not (stage.config.data_folder / "tmp").joinpath(f"{hashlib.sha256(unwanted).hexdigest()}.part").exists()
            )
        )
        assert not stage.object_path(hashlib.sha256(unwanted).digest()).exists()
