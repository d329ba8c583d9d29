"""Whether a content fits on the disk and within the operator's limit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from events.names import ChannelName, Digest, FilePath
from mirror.objects import DiskFullError, Objects
from mirror.parts import Part
from mirror.piecemap import PieceLayout
from mirror.plan import Entry
from mirror.room import DISK_FREE_BYTES_MIN, Room

MB = 1_000_000


class Disk(Objects):
    """Has as much free as a test says."""

    free = 1000 * MB

    def free_bytes(self) -> int:
        return self.free


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def entry(name: str, size_bytes: int) -> Entry:
    sha256 = Digest(hashlib.sha256(name.encode()).digest())
    return Entry(
        channel=ChannelName("iso"),
        path=FilePath(name),
        sequence=1,
        generation=1,
        sha256=sha256,
        size_bytes=size_bytes,
    )


def begin(disk: Disk, wanted: Entry, *, have_bytes: int = 0) -> None:
    """Leave a part behind, as a fetch that broke off does."""
    part = Part(disk, PieceLayout.of(wanted))
    part.land(0).append([bytes(have_bytes)])
    part.close()


def make(disk: Disk, wanted: Entry, *, disk_bytes_max: int | None = None, held_bytes: int = 0) -> None:
    Room(disk, disk_bytes_max).make(wanted, held_bytes=held_bytes, busy={wanted.sha256: wanted.size_bytes})


def test_what_was_set_aside_for_a_fetch_that_broke_off_is_not_asked_for_again(disk: Disk) -> None:
    wanted = entry("a", 6 * MB)
    begin(disk, wanted, have_bytes=MB)
    disk.free = DISK_FREE_BYTES_MIN + MB
    make(disk, wanted)


def test_a_content_that_does_not_fit_on_the_disk_is_refused(disk: Disk) -> None:
    disk.free = DISK_FREE_BYTES_MIN + MB
    with pytest.raises(DiskFullError, match="6000000 bytes to come"):
        make(disk, entry("a", 6 * MB))


@pytest.mark.parametrize("held_bytes", [0, 3 * MB])
def test_the_operators_limit_is_kept(disk: Disk, held_bytes: int) -> None:
    make(disk, entry("a", 6 * MB), held_bytes=held_bytes, disk_bytes_max=held_bytes + 6 * MB)
    with pytest.raises(DiskFullError, match="allowed"):
        make(disk, entry("a", 6 * MB), held_bytes=held_bytes, disk_bytes_max=held_bytes + 6 * MB - 1)


def test_parts_that_nobody_works_on_count_and_make_room(disk: Disk) -> None:
    idle, wanted = entry("idle", 6 * MB), entry("wanted", 6 * MB)
    begin(disk, idle)
    make(disk, wanted, disk_bytes_max=13 * MB)
    assert disk.parts() == [idle.sha256]
    make(disk, wanted, disk_bytes_max=11 * MB)
    assert disk.parts() == []


def test_parts_are_not_removed_in_vain(disk: Disk) -> None:
    begin(disk, entry("idle", 6 * MB))
    with pytest.raises(DiskFullError):
        make(disk, entry("wanted", 6 * MB), disk_bytes_max=5 * MB)
    assert len(disk.parts()) == 1


def test_a_part_that_is_worked_on_stays(disk: Disk) -> None:
    other, wanted = entry("other", 6 * MB), entry("wanted", 6 * MB)
    begin(disk, other)
    busy = {other.sha256: other.size_bytes, wanted.sha256: wanted.size_bytes}
    with pytest.raises(DiskFullError):
        Room(disk, 11 * MB).make(wanted, held_bytes=0, busy=busy)
    assert disk.parts() == [other.sha256]
