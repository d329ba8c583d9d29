"""A snapshot is read as it was written, and nothing else is taken for one; whatever is killed, a whole one is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.names import SelectorName
from selection.following import snapshot_file
from selection.following.child import ChildError, in_child
from selection.following.snapshot import MAGIC, Mark, Part, UnusableSnapshotError, read, site_of, written
from selection.following.snapshot_file import SnapshotFile

SITE = site_of(b"the site's secret, 32 bytes long")
MARK = Mark(
    generation=2, offset=7, message_id="master:1:2", master_epoch=1, master_first=1, heard_s=3.5, taken_at_s=1e9
)
PARTS = {Part.VIEW: b"a view" * 100, Part.LOADS: b"loads" * 3, Part.STATISTICS: b"statistics" * 10}
SELECTOR = SelectorName("s")
DEADLINE_S = 30.0


def snapshot(parts: Mapping[Part, bytes] = PARTS) -> bytes:
    return b"".join(written(MARK, parts, site=SITE))


@given(st.fixed_dictionaries({part: st.binary() for part in Part}))
def test_snapshot_is_read_as_it_was_written(parts: dict[Part, bytes]) -> None:
    assert read(snapshot(parts), site=SITE) == (MARK, parts, "")


def part_at(place: int) -> Part | None:
    """The part that a byte lies in; None for the header."""
    end = len(snapshot())
    for part in reversed(Part):
        end -= len(PARTS[part])
        if place >= end:
            return part
    return None


@given(st.data())
def test_damaged_part_is_told_and_never_used(data: st.DataObject) -> None:
    whole = snapshot()
    damaged = bytearray(whole)
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(damaged), site=SITE)
    except UnusableSnapshotError:
        assert part_at(place) is None
        return
    hit = part_at(place)
    assert hit is not None
    whole_parts = {part: body for part, body in PARTS.items() if part is not hit}
    assert found == (MARK, whole_parts, f"damaged: {hit.value}")


@given(st.integers(0, len(snapshot()) - 1))
def test_half_written_snapshot_gives_no_more_than_its_whole_parts(length: int) -> None:
    try:
        found = read(snapshot()[:length], site=SITE)
    except UnusableSnapshotError:
        return
    assert found.parts.items() <= PARTS.items()
    assert Part.STATISTICS not in found.parts
    assert Part.STATISTICS.value in found.damage


@pytest.mark.parametrize(
    ("data", "because"),
    [
        (b"", "no snapshot"),
        (b"something else", "no snapshot"),
        (snapshot().replace(MAGIC, MAGIC.replace(b"1", b"2")), "another version"),
        (MAGIC + b"\xff\xff\xff\xff", "damaged"),
    ],
    ids=["empty", "another file", "newer", "enormous header"],
)
def test_what_is_no_snapshot_of_ours_is_refused_with_the_reason(data: bytes, because: str) -> None:
    with pytest.raises(UnusableSnapshotError, match=because):
        read(data, site=SITE)


def test_snapshot_of_another_site_is_never_taken_for_ours() -> None:
    with pytest.raises(UnusableSnapshotError, match="another site"):
        read(snapshot(), site=site_of(b"the other site's secret"))


def test_snapshot_of_another_kind_of_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = snapshot()
    monkeypatch.setattr(sys, "byteorder", "little" if sys.byteorder == "big" else "big")
    with pytest.raises(UnusableSnapshotError, match="endian"):
        read(data, site=SITE)


def files_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def contents(file: SnapshotFile) -> list[bytes]:
    return [data for _, data in file.found()]


def test_newest_snapshot_comes_first_and_the_one_before_is_kept(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path / "made", SELECTOR)
    file.prepare()
    for content in (b"1", b"2", b"3"):
        assert file.write([content, b"!"]) == 2
    assert contents(file) == [b"3!", b"2!"]
    assert file.newest.stat().st_mode & 0o077 == 0


def test_selectors_that_share_a_folder_keep_apart(tmp_path: Path) -> None:
    one, other = SnapshotFile(tmp_path, SelectorName("s")), SnapshotFile(tmp_path, SelectorName("s-1"))
    one.write([b"one"])
    other.write([b"other"])
    one.prepare()
    assert (contents(one), contents(other)) == ([b"one"], [b"other"])


def test_writer_that_fails_leaves_what_there_was_and_nothing_else(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path, SELECTOR)
    file.write([b"old"])

    def parts() -> list[bytes]:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        file.write(part for _ in range(1) for part in parts())
    assert files_in(tmp_path) == {file.newest.name}
    assert contents(file) == [b"old"]


def test_writer_whose_parent_is_gone_does_not_replace_what_a_new_one_may_have_written(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path, SELECTOR)
    file.write([b"of the new one"])
    with pytest.raises(ProcessLookupError):
        file.write([b"of the orphan"], while_child_of=os.getpid())  # our parent is somebody else
    assert contents(file) == [b"of the new one"]


def test_what_a_killed_writer_left_is_taken_away_and_never_read(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path, SELECTOR)
    (tmp_path / "s.unfinished.1234").write_bytes(b"half")
    (tmp_path / "s-1.unfinished.99").write_bytes(b"another selector's")
    assert contents(file) == []
    file.prepare()
    assert files_in(tmp_path) == {"s-1.unfinished.99"}


def killed_at(step: int, work: Callable[[], object]) -> Callable[[], None]:
    """Do some work, and be killed before the n-th line of the module that writes."""

    def traced() -> None:
        left = step

        def trace(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401 - itself, which nobody can write
            nonlocal left
            if event == "line" and frame.f_code.co_filename == snapshot_file.__file__:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        work()

    return traced


async def test_writer_that_is_killed_at_any_step_leaves_a_whole_snapshot(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path, SELECTOR)
    file.write([snapshot()])
    steps = 0
    while True:
        later = snapshot({**PARTS, Part.VIEW: str(steps).encode()})
        try:
            await in_child(killed_at(steps, lambda later=later: file.write([later])))
        except ChildError:
            found = [read(data, site=SITE) for data in contents(file)]
            assert found
            assert all(not each.damage for each in found)
            file.prepare()
            assert files_in(tmp_path) <= {file.newest.name, file.before.name}
            steps += 1
        else:
            break
    assert steps > 10
    assert contents(file)[0] == later


async def test_child_sees_the_state_as_it_was_and_the_parent_goes_on(tmp_path: Path) -> None:
    state = ["before"]
    begun = tmp_path / "begun"
    os.mkfifo(begun)

    def work() -> None:
        with begun.open("rb") as fifo:
            fifo.read()
        (tmp_path / "seen").write_text(state[0])

    async with asyncio.timeout(DEADLINE_S):
        child = asyncio.create_task(in_child(work))
        writing = await asyncio.to_thread(begun.open, "wb")  # returns once the child reads
        state[0] = "after"
        writing.close()
        await child
    assert (tmp_path / "seen").read_text() == "before"


async def test_problem_of_a_child_is_told() -> None:
    def fails() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ChildError, match="No space left"):
        await in_child(fails)


async def test_child_that_was_killed_is_told_of() -> None:
    with pytest.raises(ChildError, match=f"signal {int(signal.SIGKILL)}"):
        await in_child(lambda: os.kill(os.getpid(), signal.SIGKILL))


async def test_child_ends_with_the_one_who_waits_for_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def work() -> None:
        with fifo.open("wb") as told:
            told.write(str(os.getpid()).encode())
            told.flush()
            signal.pause()

    async with asyncio.timeout(DEADLINE_S):
        child = asyncio.create_task(in_child(work))
        with await asyncio.to_thread(fifo.open, "rb", buffering=0) as reading:
            pid = int(await asyncio.to_thread(reading.read, 100))
            child.cancel()
            with pytest.raises(asyncio.CancelledError):
                await child
            assert await asyncio.to_thread(reading.read, 1) == b""  # who had it open is gone
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_child_keeps_nothing_open_that_it_inherited(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("")
    with (tmp_path / "open").open() as inherited:

        def work() -> None:
            os.fstat(inherited.fileno())

        with pytest.raises(ChildError, match="Bad file descriptor"):
            await in_child(work)
