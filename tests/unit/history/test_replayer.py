"""The replayed view is the one that a selector had, at any entry and at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from events.codec import decode
from events.envelope import MASTER_SOURCE
from events.names import Digest, FilePath, MirrorName
from events.schemas import LossReason, ReplicaLost
from history.entry import Position
from history.replay.replayer import Replayer, replay
from history.sources.memory import VHOST, MemorySource
from selection.view.differences import differences
from selection.view.fleet import FleetView

if TYPE_CHECKING:
    from conftest import Log


def make_busy(log: Log) -> None:
    """Two files and a mirror that has one of them, told by three sources."""
    log.came_online()
    log.published("a.iso", channel="origin")
    log.published("a.iso")
    log.serving("ana")
    log.ready("ana", "a.iso")
    log.published("b.iso", channel="origin")
    log.came_online("two")


async def test_replayed_view_is_that_of_whoever_read_the_same_entries(log: Log) -> None:
    make_busy(log)
    for count, entry in enumerate(log.entries, start=1):
        replayed = await replay(log.source, until=entry.position)
        view = FleetView()
        for read in log.entries[:count]:
            view.apply(decode(read.body), heard_s=0.0)
        assert list(differences(replayed.view, view)) == []
        assert (replayed.position, replayed.message_id, replayed.entries) == (entry.position, entry.message_id, count)


def test_view_is_the_same_where_no_more_is_read_of_sound_events_than_it_needs(log: Log) -> None:
    make_busy(log)
    whole, needed = Replayer(vhost=VHOST), Replayer(vhost=VHOST)
    for entry in log.entries:
        whole.fold(entry)
        needed.fold(entry, is_sound=True)
    published = needed.view.file(FilePath("a.iso"))
    assert published is not None
    assert needed.view.holders(published.sha256)
    assert list(differences(whole.view, needed.view)) == []


async def test_replay_until_a_moment_ends_before_the_first_entry_that_the_site_wrote_later(log: Log) -> None:
    make_busy(log)
    last = log.published("late.iso", channel="origin")
    replayed = await replay(log.source, until=log.now_ns - 1)
    assert replayed.view.file(FilePath("late.iso")) is None
    assert replayed.position == log.entries[-2].position
    assert (await replay(log.source, until=log.now_ns)).position == last.position


async def test_clock_of_a_mirror_moves_no_moment(log: Log) -> None:
    log.serving("ana")
    lost = ReplicaLost(
        mirror=MirrorName("ana"), sha256=Digest(b"x" * 32), path=FilePath("x"), reason=LossReason.CORRUPT
    )
    log.say("mirror/ana", lost, time_ns=log.now_ns * 2)
    log.published("a.iso", channel="origin")
    replayed = await replay(log.source, until=log.now_ns)
    assert (replayed.entries, replayed.log_time_ns) == (len(log.entries), log.now_ns)


async def test_place_beyond_the_end_is_the_end_and_one_before_the_beginning_is_nothing(log: Log) -> None:
    make_busy(log)
    assert (await replay(log.source, until=Position(2, 0))).position == log.entries[-1].position
    assert (await replay(log.source, until=Position(0, 0))).position is None


async def test_what_selectors_refuse_is_refused(log: Log) -> None:
    log.serving("ana")
    true = log.published("a.iso", channel="origin")
    log.put(true._replace(routing_key="file.other.published"))
    log.put(true._replace(body=b"\xc1"))
    log.put(true._replace(user_id=f"{VHOST}.ana", exchange="files"))
    before = await replay(log.source)
    assert (before.refused, before.entries) == (3, len(log.entries))
    assert before.view.file(FilePath("a.iso")) is not None


async def test_event_that_a_newer_version_knows_is_counted(log: Log) -> None:
    body = msgspec.msgpack.encode([MASTER_SOURCE, 0, 1, 0, "", ["file.dreamt/1", 5]])
    log.put(log.published("a.iso")._replace(body=body, message_id="master:0:9"))
    assert (await replay(log.source)).unknown_types == 1


async def test_progress_is_told_after_each_batch(log: Log) -> None:
    make_busy(log)
    told: list[int] = []

    def note(replayer: Replayer) -> None:
        told.append(replayer.entries)

    await replay(MemorySource(log.entries, batch_max=4), progress=note)
    assert told == [*range(4, len(log.entries), 4), len(log.entries)]
