"""Which entries a filter takes, and when nothing more can come."""

from __future__ import annotations

from broker.relay import message_of
from events.envelope import MASTER_SOURCE, Envelope, mirror_source
from events.names import ChannelName, Digest, FilePath, MirrorName
from events.schemas import (
    ChannelRemoved,
    Event,
    EventUnreadable,
    FilePublished,
    InventoryAnnounced,
    MirrorLeft,
    ReplicaReady,
    SubscriptionGranted,
)
from history.entry import Entry, Position
from history.filters import LATE_NS, Filter, Wanted, is_of_type
from history.telling.told import Told, tell

ANA, BOB = MirrorName("ana"), MirrorName("bob")
ISO = ChannelName("iso")
SHA256 = Digest(bytes(range(32)))


def told(event: Event, *, source: str = MASTER_SOURCE, time_ns: int = 0, offset: int = 0) -> Told:
    envelope = Envelope(source=source, epoch=1, sequence=1, time_ns=time_ns, traceparent="", event=event)
    message = message_of(envelope, persistent=True)
    entry = Entry(
        1, offset, message.exchange, message.routing_key, message.message_id, message.type, "site", message.body
    )
    return tell(entry, vhost="site")


def published(path: str = "dir/a.iso", *, sha256: Digest = SHA256) -> Told:
    return told(
        FilePublished(
            channel=ISO,
            channel_sequence=1,
            path=FilePath(path),
            generation=1,
            size_bytes=1,
            sha256=sha256,
            media_type="application/octet-stream",
        )
    )


def ready(mirror: MirrorName = ANA, *, time_ns: int = 0) -> Told:
    event = ReplicaReady(mirror=mirror, sha256=SHA256, size_bytes=1, path=FilePath("dir/a.iso"), generation=1)
    return told(event, source=mirror_source(mirror), time_ns=time_ns)


def inventory(*digests: Digest) -> Told:
    event = InventoryAnnounced(mirror=ANA, as_of=1, page=1, pages=1, sha256s=digests)
    return told(event, source=mirror_source(ANA))


def unreadable(offset: int = 0) -> Told:
    return tell(Entry(1, offset, "fleet", "mirror.ana.ready", "x", "replica.ready/1", "site.ana", b""), vhost="site")


def takes(wanted: Wanted, each: Told) -> bool:
    return Filter(wanted).takes(each)


def test_without_a_wish_everything_is_taken() -> None:
    assert all(takes(Wanted(), each) for each in (published(), ready(), unreadable()))


def test_a_type_is_named_with_or_without_its_version_or_by_a_pattern() -> None:
    assert is_of_type("file.published/1", "file.published")
    assert is_of_type("file.published/1", "file.published/1")
    assert is_of_type("file.published/1", "file.*")
    assert not is_of_type("file.published/1", "file.published/2")
    assert not is_of_type("file.published/1", "published")
    assert takes(Wanted(types=("mirror.*", "replica.ready")), ready())
    assert not takes(Wanted(types=("mirror.*",)), ready())
    assert takes(Wanted(types=("replica.ready",)), unreadable())


def test_a_mirror_is_found_in_what_is_said_about_it_and_by_it() -> None:
    wanted = Wanted(mirrors=(ANA,))
    assert takes(wanted, ready(ANA))
    assert takes(wanted, told(SubscriptionGranted(mirror=ANA, channel=ISO)))
    report = EventUnreadable(reader="mirror/ana", message_id="", exchange="", routing_key="", user_id="", reason="")
    assert takes(wanted, told(report, source="mirror/ana"))
    assert not takes(wanted, ready(BOB))
    assert not takes(wanted, published())
    assert not takes(wanted, unreadable())


def test_a_channel_is_found_in_what_is_said_about_it() -> None:
    wanted = Wanted(channels=(ISO,))
    assert takes(wanted, published())
    assert takes(wanted, told(ChannelRemoved(channel=ISO)))
    assert not takes(wanted, told(ChannelRemoved(channel=ChannelName("docs"))))


def test_a_source_is_named_whole_or_by_a_pattern() -> None:
    assert takes(Wanted(sources=("master",)), published())
    assert takes(Wanted(sources=("mirror/*",)), ready())
    assert not takes(Wanted(sources=("mirror",)), ready())


def test_a_file_is_found_by_its_path_its_folder_and_its_digest() -> None:
    for file in ("dir/a.iso", "dir/", SHA256.hex()):
        assert takes(Wanted(files=(file,)), published()), file
        assert takes(Wanted(files=(file,)), published("-/held/dir/a.iso")), file
    assert not takes(Wanted(files=("dir",)), published())
    assert not takes(Wanted(files=("dir/b.iso", "other/")), published())


def test_a_file_is_found_in_what_names_its_content_alone_once_it_is_known() -> None:
    by_path = Filter(Wanted(files=("dir/a.iso",)))
    assert not by_path.takes(inventory(SHA256))
    assert by_path.takes(published())
    assert by_path.takes(inventory(SHA256))
    assert not by_path.takes(inventory(Digest(bytes(32))))
    assert takes(Wanted(files=(SHA256.hex(),)), inventory(SHA256))


def test_every_heading_must_fit() -> None:
    assert takes(Wanted(mirrors=(ANA,), files=("dir/",), types=("replica.*",)), ready())
    assert not takes(Wanted(mirrors=(ANA,), files=("dir/",), types=("file.*",)), ready())


def test_times_are_inclusive_and_the_event_s_own() -> None:
    wanted = Wanted(from_ns=10, until_ns=20)
    assert [takes(wanted, ready(time_ns=each)) for each in (9, 10, 20, 21)] == [False, True, True, False]


def test_what_has_no_time_of_its_own_has_that_of_what_came_before() -> None:
    filter_ = Filter(Wanted(from_ns=10))
    assert not filter_.takes(unreadable())
    assert filter_.takes(ready(time_ns=10))
    assert filter_.takes(unreadable())


def test_nothing_more_can_come_after_the_last_place() -> None:
    filter_ = Filter(Wanted(last=Position(1, 5)))
    left = told(MirrorLeft(mirror=ANA, reason=""), offset=4)
    assert not filter_.is_past(left)
    assert filter_.is_past(left._replace(entry=left.entry._replace(offset=5)))
    assert filter_.is_past(unreadable(offset=6))


def test_nothing_more_can_come_long_after_the_last_time_by_the_site_s_own_clock() -> None:
    filter_ = Filter(Wanted(until_ns=100))
    late = told(MirrorLeft(mirror=ANA, reason=""), time_ns=100 + LATE_NS)
    later = told(MirrorLeft(mirror=ANA, reason=""), time_ns=101 + LATE_NS)
    assert not filter_.is_past(late)
    assert filter_.is_past(later)
    assert not filter_.is_past(ready(time_ns=101 + LATE_NS))
