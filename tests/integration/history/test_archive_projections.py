"""The archive's small tables: what they count, that they can be made anew, and the questions that the docs ask them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Table, select, text

from events.names import ORIGIN, ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName, SelectorName
from events.schemas import (
    Download,
    DownloadOutcome,
    DownloadsGranted,
    DownloadsReported,
    FilePublished,
    Granted,
    ReplicaReady,
)
from events.schemas.fields import NS_PER_S
from history.archive.store import projecting, tables
from history.archive.store.projecting import Projection, begin_anew, progress, step

if TYPE_CHECKING:
    from conftest import Desk

ANA, ISO, SHA = MirrorName("ana"), FilePath("a.iso"), Digest(b"1" * 32)
QUESTIONS = re.findall(r"```sql\n(.*?)```", (Path(__file__).parents[3] / "docs" / "archive.md").read_text(), re.DOTALL)
DAY_S = 86_400


def published(desk: Desk, channel: ChannelName = ORIGIN_CHANNEL) -> FilePublished:
    return FilePublished(
        channel=channel, channel_sequence=1, path=ISO, generation=1, size_bytes=9, sha256=SHA,
        media_type="application/octet-stream", published_at_ns=desk.scribe.now_ns,
    )  # fmt: skip


def granted(desk: Desk, number: int, *, country: str = "PT") -> Granted:
    now_s = desk.scribe.now_ns // NS_PER_S
    return Granted(
        grant_id=number.to_bytes(16), path=ISO, generation=1, sha256=SHA, size_bytes=9, address="192.0.2.77",
        country=country, granted_at_ns=desk.scribe.now_ns, start_by_s=now_s + 60, finish_by_s=now_s + 3600,
    )  # fmt: skip


def notice(*grants: Granted, mirror: MirrorName = ANA) -> DownloadsGranted:
    return DownloadsGranted(selector=SelectorName("one"), mirror=mirror, grants=grants)


def ended(desk: Desk, number: int, sent_bytes: int, outcome: DownloadOutcome = DownloadOutcome.FINISHED) -> Download:
    return Download(
        grant_id=number.to_bytes(16), sha256=SHA, outcome=outcome, at_ns=desk.scribe.now_ns, wanted_bytes=9,
        sent_bytes=sent_bytes,
    )  # fmt: skip


def report(*downloads: Download, mirror: MirrorName = ANA) -> DownloadsReported:
    return DownloadsReported(mirror=mirror, downloads=downloads)


async def tell(desk: Desk) -> None:
    """Let a file be published, fetched, granted on one day and downloaded until the next."""
    await desk.scribe.open_log()
    await desk.scribe.say(published(desk), published(desk, ChannelName("iso")))
    desk.scribe.now_ns += 5 * NS_PER_S
    await desk.scribe.say(ReplicaReady(mirror=ANA, sha256=SHA, size_bytes=9, path=ISO, generation=1))
    notices = desk.scribe.enveloped(notice(granted(desk, 1), granted(desk, 2, country="")))
    await desk.scribe.publish(notices)
    await desk.scribe.publish(notices)  # the log tells at least once
    await desk.scribe.say(notice(granted(desk, 3), mirror=ORIGIN))
    desk.scribe.now_ns += DAY_S * NS_PER_S
    await desk.scribe.fill(1)  # mirrors' clocks date nothing
    await desk.scribe.say(
        report(
            ended(desk, 1, 0, DownloadOutcome.STARTED),
            ended(desk, 1, 4, DownloadOutcome.ABORTED),
            ended(desk, 1, 5),
            ended(desk, 99, 9),  # a link of a list: no notice told of it
        )
    )
    await desk.scribe.say(notice(granted(desk, 4, country="ES")))
    await desk.archive_all()


async def make(desk: Desk) -> None:
    for projection in Projection:
        while (place := await step(desk.database, projection)).number < place.events:
            pass


async def rows(desk: Desk, table: Table) -> Sequence[Any]:
    async with desk.database.reading() as connection:
        return (await connection.execute(select(table).order_by(*table.primary_key))).all()


async def test_downloads_count_on_the_day_of_their_grant_and_once(desk: Desk) -> None:
    await tell(desk)
    await make(desk)
    assert await rows(desk, tables.downloads) == [
        ("2023-11-14", "ana", "", "a.iso", 1, 0, 0, 0),
        ("2023-11-14", "ana", "PT", "a.iso", 1, 1, 1, 9),
        ("2023-11-14", "origin", "PT", "a.iso", 1, 0, 0, 0),
        ("2023-11-15", "ana", "", "a.iso", 0, 1, 0, 9),
        ("2023-11-15", "ana", "ES", "a.iso", 1, 0, 0, 0),
    ]


async def test_readiness_is_from_the_publication_to_a_mirrors_word(desk: Desk) -> None:
    await tell(desk)
    await make(desk)
    ((path, generation, sha256, size_bytes, published_at_ns),) = await rows(desk, tables.publications)
    ((_, mirror, ready_at_ns),) = await rows(desk, tables.readiness)
    assert (path, generation, sha256, size_bytes, mirror) == (ISO, 1, SHA, 9, ANA)
    assert ready_at_ns - published_at_ns == 5 * NS_PER_S


async def test_what_is_made_event_by_event_or_anew_is_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await tell(desk)
    await make(desk)
    at_once = [await rows(desk, table) for table in (tables.downloads, tables.publications, tables.readiness)]
    monkeypatch.setattr(projecting, "STEP", 1)
    for projection in Projection:
        await begin_anew(desk.database, projection)
    assert await rows(desk, tables.downloads) == []
    await make(desk)
    assert [await rows(desk, each) for each in (tables.downloads, tables.publications, tables.readiness)] == at_once
    assert {place.number for place in (await progress(desk.database)).values()} == {len(desk.scribe.entries())}


async def test_a_grant_is_remembered_for_as_long_as_something_may_be_told_of_it(desk: Desk) -> None:
    await tell(desk)
    await make(desk)
    assert len(await rows(desk, tables.open_grants)) == 4
    desk.scribe.now_ns += projecting.GRANT_REMEMBERED_S * NS_PER_S
    await desk.scribe.fill(1)
    await desk.scribe.say(notice(granted(desk, 5)))
    await desk.archive_all()
    await make(desk)
    assert [row.grant_id[-1] for row in await rows(desk, tables.open_grants)] == [4, 5]


@pytest.mark.parametrize("question", QUESTIONS, ids=[" ".join(each.split())[:60] for each in QUESTIONS])
async def test_each_question_of_the_docs_has_an_answer(desk: Desk, question: str) -> None:
    await tell(desk)
    await make(desk)
    async with desk.database.reading() as connection:
        answer = (await connection.execute(text(question))).all()
    table = re.search(r"FROM (\w+)", question)
    assert table is not None
    expects_nothing = any(each in question for each in ("missing", "<> 'sound'", "FROM gaps", "BETWEEN"))
    assert bool(answer) is not expects_nothing, answer


async def test_the_docs_ask_questions() -> None:
    assert len(QUESTIONS) >= 10
