"""A store on a real disk with a real database, and a clock that stands still: what room and scrub are tested on."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from events.codec import decode
from events.names import SHA256_BYTES, ChannelName, Digest, FilePath, MirrorName
from events.schemas import FilePublished
from events.schemas.fields import NS_PER_S
from mirror.content.objects import Objects
from mirror.content.parts import Part
from mirror.content.piecemap import PieceLayout
from mirror.keeping.quarantine import Quarantine
from mirror.state.plan import Entry
from mirror.state.store import Store

ISO = ChannelName("iso")
EventT = TypeVar("EventT")


class Disk(Objects):
    """Has as much free as a test says."""

    free = 1 << 40

    def free_bytes(self) -> int:
        return self.free


@dataclass
class Ground:
    """``now_s`` is the time."""

    folder: Path
    executor: ThreadPoolExecutor
    disk: Disk = field(init=False)
    quarantine: Quarantine = field(init=False)
    store: Store = field(init=False)
    now_s: int = 1000

    def __post_init__(self) -> None:
        self.disk = Disk(self.folder)
        self.quarantine = Quarantine(self.folder, self.disk)

    async def tell(self, name: str, content: bytes, *, piece_bytes: int = 0) -> Entry:
        """Tell the mirror of a file."""
        at = range(0, len(content), piece_bytes) if piece_bytes else ()
        published = FilePublished(
            channel=ISO,
            channel_sequence=self.store.catalogue.positions[ISO] + 1,
            path=FilePath(name),
            generation=1,
            size_bytes=len(content),
            sha256=Digest(hashlib.sha256(content).digest()),
            media_type="a/b",
            piece_bytes=piece_bytes,
            piece_digests=b"".join(hashlib.sha256(content[each : each + piece_bytes]).digest() for each in at),
        )
        assert len(published.piece_digests) == len(at) * SHA256_BYTES
        await self.store.fold(lambda catalogue, journal: catalogue.apply(published, journal))
        entry = self.store.catalogue.wanted(published.sha256)
        assert entry is not None
        return entry

    def land(self, entry: Entry, content: bytes) -> list[int]:
        """Put what is missing of a content in its place; give which pieces that was."""
        part = Part(self.disk, PieceLayout.of(entry))
        landed: list[int] = []
        for piece in range(part.layout.count):
            if piece not in part.pieces:
                landing = part.land(piece)
                landing.append([content[landing.span.start : landing.span.stop]])
                assert landing.finish()
                landed.append(piece)
        part.commit()
        part.close()
        return landed

    async def hold(self, name: str, content: bytes, *, piece_bytes: int = 0) -> Entry:
        """Let the mirror hold a file."""
        entry = await self.tell(name, content, piece_bytes=piece_bytes)
        self.land(entry, content)
        assert await self.store.add_replica(entry.sha256, entry.size_bytes)
        return entry

    def flip(self, entry: Entry, position: int) -> None:
        """Change one byte of a copy on the disk."""
        path = self.disk.path(entry.sha256)
        path.chmod(0o640)
        with path.open("r+b") as file:
            file.seek(position)
            (byte,) = file.read(1)
            file.seek(position)
            file.write(bytes([byte ^ 1]))
        path.chmod(0o440)

    async def said(self, kind: type[EventT]) -> list[EventT]:
        """Give the events of a kind that are in the outbox."""
        rows = await self.store.database.pending(1000)
        events = [decode(row.message.body).event for row in rows]
        return [event for event in events if isinstance(event, kind)]

    @asynccontextmanager
    async def reopened(self) -> AsyncGenerator[Store]:
        """Read the database once more, as the next start does."""
        async with Store.opened(self.folder / "state.db", MirrorName("ana"), lambda: self.now_s * NS_PER_S) as store:
            yield store

    async def hear(self) -> None:
        """Take over all that was said, as a broker does."""
        await self.store.database.forget([row.position for row in await self.store.database.pending(1000)])


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    with ThreadPoolExecutor(2) as executor:
        ground = Ground(tmp_path, executor)
        async with ground.reopened() as ground.store:
            await ground.store.fold(lambda catalogue, journal: catalogue.follow(ISO, journal))
            yield ground
