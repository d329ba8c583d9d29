"""What is replayed from the archive, many events at once, is what is replayed from the log one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, MirrorName
from events.routing import FILES
from events.schemas import FilePublished, MirrorCameOnline, MirrorJoined, Profile, ReplicaLost, ReplicaReady
from events.schemas.fields import NS_PER_S
from events.schemas.mirrors import LossReason
from history.archive import source
from history.replay.replayer import replay
from history.sources.memory import MemorySource
from selection.view.differences import differences

if TYPE_CHECKING:
    from conftest import Desk

PROFILE = Profile(url="https://ana.example", slots=3)
ANA = MirrorName("ana")


async def tell(desk: Desk) -> None:
    """Let a mirror join and have some files, and one entry be nothing; a second passes after each."""
    await desk.scribe.open_log()
    await desk.scribe.say(MirrorJoined(mirror=ANA, profile=PROFILE), MirrorCameOnline(mirror=ANA, profile=PROFILE))
    path, sha256 = FilePath("0.iso"), Digest(bytes(32))
    for number in range(1, 8):
        path, sha256 = FilePath(f"{number}.iso"), Digest(bytes([number]) * 32)
        for channel in (ORIGIN_CHANNEL, ChannelName("iso")):
            published = FilePublished(
                channel=channel, channel_sequence=number, path=path, generation=1, size_bytes=9, sha256=sha256,
                media_type="application/octet-stream",
            )  # fmt: skip
            await desk.scribe.say(published)
        await desk.scribe.say(ReplicaReady(mirror=ANA, sha256=sha256, size_bytes=9, path=path, generation=1))
        desk.scribe.now_ns += NS_PER_S
    await desk.scribe.put(FILES, "file.iso.published", "master:1:999", "file.published/1", b"\xc1")
    await desk.scribe.say(ReplicaLost(mirror=ANA, sha256=sha256, path=path, reason=LossReason.EVICTED))
    await desk.archive_all()


@pytest.mark.parametrize("at_once", [1, 3, 10_000])
async def test_the_view_is_the_same_up_to_any_place_or_moment(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(source, "BODIES_AT_ONCE", at_once)
    await tell(desk)
    entries = desk.scribe.entries()
    log = MemorySource(entries, vhost=desk.scribe.site.vhost)
    places = [entries[at].position for at in (0, 9, len(entries) - 2, len(entries) - 1)]
    moments = [desk.scribe.now_ns - seconds * NS_PER_S for seconds in (0, 1, 4, 100)]
    for until in (None, *places, *moments):
        archived, logged = await replay(desk.source, until=until), await replay(log, until=until)
        assert list(differences(archived.view, logged.view)) == []
        assert (archived.position, archived.log_time_ns) == (logged.position, logged.log_time_ns)
