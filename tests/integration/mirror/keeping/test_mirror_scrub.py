"""A byte that changed on the disk is found, said, kept for the operator, and mended."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from events.names import Digest, MirrorName
from events.schemas import LossReason, ReplicaLost, ReplicaReady
from events.trace import TraceContext
from mirror.config import MirrorConfig, MirrorCredentials
from mirror.keeping import quarantine as quarantine_module
from mirror.keeping import scrub as scrub_module
from mirror.keeping.keeper import Keeper
from mirror.keeping.reconcile import reconcile
from mirror.keeping.scrub import Scrubber, Verdict
from mirror.state.plan import Entry
from mirror.state.upkeep import Care

if TYPE_CHECKING:
    from conftest import Ground

PIECE = 64 << 10
CONTENT = Random(1).randbytes(3 * PIECE + 100)  # noqa: S311 - any bytes will do
EVERY_S = 100.0


@dataclass
class Source:
    """Fetches what is missing, and notes which pieces that was."""

    ground: Ground
    contents: dict[Digest, bytes] = field(default_factory=dict[Digest, bytes])
    landed: list[int] = field(default_factory=list[int])

    @asynccontextmanager
    async def fetched(self, entry: Entry, *, trace: TraceContext | None = None) -> AsyncGenerator[None]:
        del trace
        self.landed += self.ground.land(entry, self.contents[entry.sha256])
        yield


@dataclass
class Pauses:
    """Time that passes by waiting alone."""

    total_s: float = 0.0

    async def sleep(self, delay_s: float) -> None:
        self.total_s += delay_s


@dataclass
class Bench:
    """A keeper and a scrubber on one ground."""

    source: Source
    keeper: Keeper
    scrubber: Scrubber
    pauses: Pauses
    cut: list[Digest] = field(default_factory=list[Digest])
    served: set[Digest] = field(default_factory=set[Digest])


@pytest.fixture
def care(ground: Ground) -> Bench:
    config = MirrorConfig(
        name=MirrorName("ana"),
        data_folder=ground.folder,
        credentials=MirrorCredentials(
            mirror=MirrorName("ana"),
            broker_url="amqp://127.0.0.1/x",
            token="t",
            grant_keys={1: bytes(32)},
            master_url="http://127.0.0.1",
            site_url="http://127.0.0.1",
        ),
    )
    source, pauses = Source(ground), Pauses()
    cut: list[Digest] = []
    served: set[Digest] = set()
    keeper = Keeper(
        config,
        ground.store,
        ground.disk,
        source,
        ground.executor,
        Random(1),  # noqa: S311 - jitter
        served=lambda: served,
    )
    scrubber = Scrubber(
        ground.store,
        ground.disk,
        keeper,
        ground.executor,
        bytes_per_second=1 << 20,
        every_s=EVERY_S,
        served=lambda: served,
        cut=cut.append,
        clock_s=lambda: ground.now_s,
        sleep=pauses.sleep,
    )
    return Bench(source, keeper, scrubber, pauses, cut, served)


async def hold(ground: Ground, care: Bench, content: bytes = CONTENT, *, piece_bytes: int = PIECE) -> Entry:
    entry = await ground.hold("a", content, piece_bytes=piece_bytes)
    care.source.contents[entry.sha256] = content
    return entry


async def test_a_flipped_byte_is_found_said_kept_and_mended_by_its_piece_alone(ground: Ground, care: Bench) -> None:
    entry = await hold(ground, care)
    ground.flip(entry, PIECE + 5)
    assert await care.scrubber.examine(entry.sha256) is Verdict.DAMAGED
    assert [(lost.sha256, lost.reason) for lost in await ground.said(ReplicaLost)] == [
        (entry.sha256, LossReason.CORRUPT)
    ]
    assert ground.quarantine.count() == (1, len(CONTENT))
    assert care.cut == [entry.sha256], "nobody is sent wrong bytes to the end"
    await care.keeper.settle(entry.sha256)
    assert care.source.landed == [1]
    assert ground.disk.path(entry.sha256).read_bytes() == CONTENT
    assert len(await ground.said(ReplicaReady)) == 2
    assert ground.quarantine.path(entry.sha256).exists(), "the operator may look at it"
    assert await care.scrubber.examine(entry.sha256) is Verdict.SOUND


async def test_a_content_of_one_piece_is_fetched_anew(ground: Ground, care: Bench) -> None:
    entry = await hold(ground, care, b"short", piece_bytes=0)
    ground.flip(entry, 2)
    assert await care.scrubber.examine(entry.sha256) is Verdict.DAMAGED
    await care.keeper.settle(entry.sha256)
    assert (care.source.landed, ground.disk.path(entry.sha256).read_bytes()) == ([0], b"short")


@pytest.mark.parametrize("size_bytes", [0, len(CONTENT) - 1, len(CONTENT) + 1])
async def test_a_copy_of_another_length_is_damaged(ground: Ground, care: Bench, size_bytes: int) -> None:
    entry = await hold(ground, care)
    path = ground.disk.path(entry.sha256)
    path.chmod(0o640)
    os.truncate(path, size_bytes)
    assert await care.scrubber.examine(entry.sha256) is Verdict.DAMAGED
    await care.keeper.settle(entry.sha256)
    assert path.read_bytes() == CONTENT


async def test_a_copy_that_cannot_be_read_is_damaged_and_what_can_be_read_is_kept(
    ground: Ground, care: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub_module, "BLOCK_BYTES", PIECE)
    monkeypatch.setattr(quarantine_module, "BLOCK_BYTES", PIECE)
    entry = await hold(ground, care)
    bad, real = {ground.disk.path(entry.sha256).stat().st_ino}, os.pread

    def pread(fd: int, length: int, position: int) -> bytes:
        if os.fstat(fd).st_ino in bad and position == 2 * PIECE:
            raise OSError(errno.EIO, "a bad sector")
        return real(fd, length, position)

    monkeypatch.setattr(os, "pread", pread)
    assert await care.scrubber.examine(entry.sha256) is Verdict.DAMAGED
    await care.keeper.settle(entry.sha256)
    assert care.source.landed == [2]
    assert ground.disk.path(entry.sha256).read_bytes() == CONTENT


async def test_a_copy_that_no_descriptor_is_left_for_is_kept_and_looked_at_later(
    ground: Ground, care: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = await hold(ground, care)
    real, path = os.open, ground.disk.path(entry.sha256)

    def exhausted(opened: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        if opened == path:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(opened, flags, mode)

    monkeypatch.setattr(os, "open", exhausted)
    assert await care.scrubber.examine(entry.sha256) is Verdict.UNSEEN
    monkeypatch.undo()
    assert await care.scrubber.examine(entry.sha256) is Verdict.SOUND


async def test_a_copy_that_is_not_there_at_all_is_fetched_again(ground: Ground, care: Bench) -> None:
    entry = await hold(ground, care)
    ground.disk.path(entry.sha256).unlink()
    assert await care.scrubber.examine(entry.sha256) is Verdict.DAMAGED
    await care.keeper.settle(entry.sha256)
    assert ground.disk.path(entry.sha256).read_bytes() == CONTENT


async def test_the_copy_that_was_verified_longest_ago_is_read_first_and_none_before_it_is_due(
    ground: Ground, care: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined: list[Digest] = []

    def note(sha256: Digest, *, now_s: float) -> None:
        assert now_s == ground.now_s
        examined.append(sha256)

    monkeypatch.setattr(ground.store.upkeep, "verified", note)
    second, first = await ground.hold("b", b"second"), await ground.hold("c", b"first")
    ground.store.upkeep.hold(first.sha256, Care(verified_at_s=ground.now_s - 10))
    await care.scrubber.scrub_due()
    assert examined == []
    ground.now_s += int(EVERY_S) - 10
    await care.scrubber.scrub_due()
    assert examined == [first.sha256]
    ground.now_s += 10
    examined.clear()
    await care.scrubber.scrub_due()
    assert examined == [first.sha256, second.sha256]


async def test_what_was_verified_is_not_read_again_until_it_is_due_not_even_after_a_restart(
    ground: Ground, care: Bench
) -> None:
    entry = await hold(ground, care)
    ground.now_s += int(EVERY_S)
    await care.scrubber.scrub_due()
    assert ground.store.upkeep.care(entry.sha256).verified_at_s == ground.now_s
    async with ground.reopened() as store:
        assert store.upkeep.care(entry.sha256).verified_at_s == ground.now_s


async def test_reading_takes_as_long_as_the_rate_says(ground: Ground, care: Bench) -> None:
    entry = await hold(ground, care, bytes(2 << 20), piece_bytes=0)
    await care.scrubber.examine(entry.sha256)
    expected_s = 2.0 + scrub_module.COPY_COST_BYTES / (1 << 20)
    assert 0.5 * expected_s < care.pauses.total_s <= expected_s, "less by what the reading itself took"


async def test_a_copy_that_somebody_works_on_is_left_alone(ground: Ground, care: Bench) -> None:
    entry = await hold(ground, care)
    ground.flip(entry, 0)
    with care.keeper.alone_with(entry.sha256) as alone:
        assert alone
        assert await care.scrubber.examine(entry.sha256) is Verdict.DAMAGED
        assert entry.sha256 in ground.store.replicas
    assert await care.scrubber.examine(entry.sha256) is Verdict.DAMAGED
    assert entry.sha256 not in ground.store.replicas


async def test_the_quarantine_keeps_the_last_ones_alone(
    ground: Ground, care: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_module, "QUARANTINED_MAX", 2)
    entries = [await ground.hold(name, name.encode()) for name in ("a", "b", "c")]
    for entry in entries:
        ground.flip(entry, 0)
        await care.scrubber.examine(entry.sha256)
    assert list(ground.quarantine.listing()) == [entry.sha256 for entry in entries[1:]]


async def test_a_damaged_copy_that_a_crash_kept_from_the_quarantine_is_verified_at_the_start(
    ground: Ground, care: Bench
) -> None:
    entry = await hold(ground, care)
    ground.flip(entry, 5)
    await ground.store.lose_replicas({entry.sha256: LossReason.CORRUPT})
    assert await reconcile(ground.store, ground.disk, ground.executor) == {entry.sha256}
    await care.keeper.settle(entry.sha256)
    assert care.source.landed == [0]
    assert ground.disk.path(entry.sha256).read_bytes() == CONTENT


def test_what_is_nothing_of_ours_is_left_alone(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "quarantine" / "note").write_text("the operator's")
    (tmp_path / "quarantine" / ("z" * 64)).write_text("the operator's, too")
    assert ground.quarantine.count() == (0, 0)
